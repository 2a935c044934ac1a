"""The methods paragraph: true for every kind of run, of the right length, and with the sources that were used."""

from __future__ import annotations

from typing import Any

import pytest

from frostline.base.records import StageInfo
from frostline.bundle.schema import RunResult
from frostline.data.views import Policy
from frostline.recipe.catalogue import CATALOGUE, Choices
from frostline.recipe.from_file import RecipeFile, recipe_as_file, recipe_from_file
from frostline.recipe.recipe import Recipe
from frostline.recipe.selection import make_recipe
from frostline.record.facts import Facts
from frostline.record.methods import hardware_class, network_name, with_methods
from frostline.report.tables import methods_text
from helpers.report_records import record, strategy

NAMES = ("stem", "s1", "s2", "s3")
STAGES = [
    StageInfo(index=i, name=n, parameters=10, output_shape=(4,), stored_bytes=16, operations=1.0, cuttable=True)
    for i, n in enumerate(NAMES, 1)
]
STAGE_RECORDS = [
    {
        "index": s.index,
        "name": s.name,
        "parameters": 10,
        "cuttable": True,
        "output_shape": [4],
        "operations": 1.0,
        "why_not": None,
    }
    for s in STAGES
]
FOLDS = [{"index": k, "repeat": k // 5, "fold": k % 5, "n_train": 80, "n_validation": 20} for k in range(10)]
PAIR = {
    "a": "probe",
    "b": "finetune",
    "difference": 0.0,
    "ci": [-0.1, 0.1],
    "ci_samples": [-0.1, 0.1],
    "p": 1.0,
    "outcome": "undecided",
}
HASH = "0123456789abcdef" * 4


def facts(recipe: Recipe, **changed: Any) -> Facts:
    values: dict[str, Any] = {
        "recipe": recipe,
        "random": False,
        "self_loading": False,
        "batchnorm": True,
        "hidden": 64,
        "reads": "224 x 160 pixels",
        "batch_size": 16,
        "policy": Policy(name="standard", area=(0.35, 1.0), flip=True, light=0.2, saturation=0.2),
        "views": 6,
        "given_validation": False,
    }
    return Facts(**{**values, **changed})


def finished(
    name: str = "probe", *, blocks: int = 5, settings: Any = None, row: Any = None, **changed: Any
) -> RunResult:
    """A record whose verdict is `name`, raced against `other` and the baseline on `blocks` blocks (0: alone)."""
    values = {
        "l2": 0.03,
        "rate": 1e-4,
        "steps": 120,
        "epochs": 7.5,
        "rates_tried": [tried(r) for r in (1e-5, 1e-4, 1e-3)],
    }
    rows = [strategy(name, **{**values, **(row or {})})]
    rows += [strategy("other"), strategy("baseline")] if blocks else []
    packages = {"torch": "2.11.0+cpu", "timm": "1.0.25"}
    made = record(
        strategies=rows,
        blocks=FOLDS[:blocks],
        pairs=[PAIR] if blocks else [],
        packages=packages,
        settings={"metric": "accuracy", "margin": 0.01, "prefer": "cheapest", **(settings or {})},
        machine={"device": "cpu", "processor": "x86_64", "precision": "fp32"},
        model={
            "spec": "timm:resnet18",
            "weights_sha256": HASH,
            "parameters": 11_700_000,
            "class_map": None,
            "stages": STAGE_RECORDS,
        },
        verdict={"strategy": name, "best": name, "reason": "", "runner_up": None, "samples_needed": None},
    )
    return RunResult.model_validate({**made, **changed})


def tried(rate: float) -> dict[str, float]:
    return {"rate": rate, "steps": 300, "log_loss": 0.3, "accuracy": 0.9, "splits": 2}


def told(result: RunResult, known: Facts) -> str:
    methods = with_methods(result, known).methods
    assert methods is not None
    return methods.paragraph


def sources(result: RunResult, known: Facts) -> str:
    methods = with_methods(result, known).methods
    assert methods is not None
    return "; ".join(f"{s.what}: {s.source}" for s in methods.sources)


def recipe(name: str, **choices: Any) -> Recipe:
    return make_recipe(name, STAGES, Choices(**choices))


EVERY = [n.replace("K", "2") for n in CATALOGUE if n != "baseline"]


@pytest.mark.parametrize("blocks", [0, 1, 5, 10])
@pytest.mark.parametrize("name", EVERY)
def test_every_strategy_gets_a_paragraph_of_120_to_230_words(name: str, blocks: int) -> None:
    text = told(finished(name, blocks=blocks), facts(recipe(name)))
    assert 120 <= len(text.split()) <= 230
    assert "None" not in text
    assert ".." not in text
    assert "  " not in text


def test_network_stages_and_head_are_told_by_name() -> None:
    text = told(finished("freeze@2"), facts(recipe("freeze@2")))
    assert text.startswith(
        "The network was resnet18 (timm) (11.7 million parameters, 4 stages, 224 x 160 pixels), "
        "with pre-trained weights (SHA-256 0123456789ab)."
    )
    assert "Stages stem to s1 (1-2) were kept frozen, stages s2 to s3 (3-4) were trained and a new linear head" in text
    assert "The term for this is partial fine-tuning." in text


def test_what_was_thrown_away_is_told() -> None:
    text = told(finished("probe@2"), facts(recipe("probe@2")))
    assert "Stages stem to s1 (1-2) were kept frozen, stages s2 to s3 (3-4) were thrown away and a new linear" in text


def test_a_head_of_the_network_s_own_is_told_by_whether_it_moved() -> None:
    assert "its own head was left as it was" in told(finished("as-is"), facts(recipe("as-is")))
    assert "its own head was trained" in told(finished("continue"), facts(recipe("continue")))
    assert "hidden layer of 64 units" in told(finished("probe"), facts(recipe("probe", head="mlp")))


def test_weights_that_are_random_or_loaded_by_code_are_told() -> None:
    model = {**finished().model.model_dump(), "weights_sha256": None}
    assert "with random weights." in told(finished(model=model), facts(recipe("probe"), random=True))
    own = told(finished(model=model), facts(recipe("probe"), self_loading=True))
    assert "with the weights that its own code loads." in own


def test_a_solved_head_takes_no_steps_and_a_stepped_one_has_no_penalty() -> None:
    solved = told(finished("probe"), facts(recipe("probe")))
    assert "its penalty (0.03) was chosen from 10 values by log loss on inner folds" in solved
    assert "AdamW" not in solved
    stepped = told(finished("finetune"), facts(recipe("finetune")))
    assert "AdamW with weight decay 0.0001 on matrices, batches of up to 16, 120 steps (7.5 epochs)" in stepped
    assert "at a rate of 0.0001 (times 10 for the head)" in stepped
    assert "logistic" not in stepped
    both = told(finished("lp-ft"), facts(recipe("lp-ft")))
    assert "First the head was solved" in both
    assert "times" not in both  # the head is no longer new


def test_as_is_is_neither_trained_nor_refitted() -> None:
    text = told(finished("as-is"), facts(recipe("as-is")))
    assert "Nothing was trained." in text
    assert "Used as it was, it reached a sealed accuracy of 0.880 (95 % Wilson interval 0.760 to 0.940)" in text
    assert not any(word in text for word in ("Refitted", "AdamW", "Augmentation", "BatchNorm"))


@pytest.mark.parametrize(
    ("settings", "row", "said"),
    [
        (
            {},
            {},
            "Rate (of 3) and length (up to 300 steps) were chosen by log loss on the held-out samples of 2 blocks.",
        ),
        ({"lr": 1e-4}, {"rates_tried": []}, "The rate was set by hand"),
        (
            {"epochs": 5},
            {},
            "The rate was chosen (of 3) by log loss on the held-out samples of 2 blocks; the length was set",
        ),
        ({}, {}, "with warm-up and cosine decay, the weights averaged over the last third, at a rate"),
        (
            {"lr": 1e-4},
            {"rates_tried": [tried(1e-4)]},
            "; log loss on held-out samples chose the length (up to 300 steps",
        ),
        ({}, {"rates_tried": []}, "The rate is the middle one of 3 and was not tuned"),
        ({}, {"undertrained": True}, "(the loss was still falling)"),
        ({"class_weights": True}, {}, "class-balanced loss"),
    ],
)
def test_who_chose_rate_and_length_is_told(settings: Any, row: Any, said: str) -> None:
    assert said in told(finished("finetune", settings=settings, row=row), facts(recipe("finetune")))


def test_a_strategy_alone_was_compared_with_nothing() -> None:
    result = finished("finetune", blocks=0)
    text = told(result, facts(recipe("finetune")))
    assert "No other strategy was compared." in text
    assert "were chosen by log loss on the held-out samples of 2 inner folds." in text
    assert "block" not in text.replace("BatchNorm", "")
    assert not any(name in sources(result, facts(recipe("finetune"))) for name in ("Nadeau", "Holm", "Breiman"))


def test_a_mix_that_could_not_be_tuned_is_not_called_tuned() -> None:
    alone = told(finished("wise-ft", blocks=0, row={"mix": 0.5}), facts(recipe("wise-ft")))
    assert "lie at 0.5 (not tuned) between the solved and the trained network." in alone
    raced = told(finished("wise-ft", row={"mix": 0.7}), facts(recipe("wise-ft")))
    assert "lie at 0.7 (chosen on inner samples) between" in raced


@pytest.mark.parametrize(
    ("blocks", "given", "said"),
    [
        (1, True, "the given validation part (20 samples)"),
        (1, False, "one held-out block (20 samples)"),
        (5, False, "5 paired blocks (folds of stratified cross-validation)"),
        (10, False, "10 paired blocks (folds of stratified cross-validation, 2 repeats)"),
    ],
)
def test_what_the_comparison_ran_on_is_told(blocks: int, given: bool, said: str) -> None:
    text = told(finished(blocks=blocks), facts(recipe("probe"), given_validation=given))
    assert f"2 strategies and an SVM on raw pixels were compared by accuracy on {said}; " in text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {},
            "within one standard error and 1 point (or one sample) of the best, log loss included.",
        ),
        ({"margin": 0.02}, "2 points (or one sample) of the best"),
        ({"metric": "log-loss", "margin": 0.02}, "by log loss on 5 paired"),
        ({"metric": "log-loss", "margin": 0.02}, "and 0.02 nats of the best."),
        ({"metric": "f1-macro"}, "compared by macro F1"),
        ({"prefer": "accuracy"}, "probe had the best mean and was taken."),
    ],
)
def test_the_rule_of_the_verdict_is_told(settings: Any, said: str) -> None:
    assert said in told(finished(settings=settings), facts(recipe("probe")))


def test_a_budget_and_a_temperature_are_told_where_there_are_any() -> None:
    budget = {"seconds": 60.0, "forecast_seconds": 50.0, "left_out": []}
    part = {"n": 50, "log_loss": 0.3, "ece": 0.1, "reliability": []}
    calibration = {
        "temperature": 1.31,
        "reason": "",
        "out_of_fold_before": part,
        "out_of_fold_after": part,
        "sealed_before": part,
        "sealed_after": part,
    }
    result = finished(budget=budget, calibration=calibration)
    text = told(result, facts(recipe("probe")))
    assert "within a time budget; " in text
    assert "its probabilities were calibrated at temperature 1.31." in text
    assert "temperature scaling: Guo et al. 2017" in sources(result, facts(recipe("probe")))
    plain = finished()
    assert "temperature scaling" not in sources(plain, facts(recipe("probe")))
    assert "temperature" not in told(plain, facts(recipe("probe")))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"batchnorm": "statistics"},
            "BatchNorm stayed unchanged (inference mode) in stages "
            "stem to s1 (1-2) and adapted its statistics only in stages s2 to s3 (3-4).",
        ),
        ({}, "BatchNorm stayed unchanged (inference mode)."),
    ],
)
def test_the_policy_of_batchnorm_is_told_by_stages(changed: Any, said: str) -> None:
    made = recipe("freeze@2", **changed)
    assert said in told(finished("freeze@2"), facts(made))
    assert "BatchNorm" not in told(finished("freeze@2"), facts(made, batchnorm=False)).partition("The term")[0]


def test_labels_that_were_drawn_are_told() -> None:
    drawn = told(finished(settings={"labels_per_class": 30}), facts(recipe("probe")))
    assert "100 (drawn, 30 per class) served development and 50 (val/) stayed sealed." in drawn
    data = {**finished().data.model_dump(), "groups": 120}
    assert "Of 150 labelled samples (120 groups, never divided), 100 served" in told(
        finished(data=data), facts(recipe("probe"))
    )


def test_augmentation_is_told_as_it_was() -> None:
    text = told(finished(), facts(recipe("probe")))
    assert "Augmentation (crops, mirroring, colour) gave 6 random views per sample." in text
    assert "No augmentation was used." in told(finished(), facts(recipe("probe"), policy=Policy(name="none")))


def test_an_own_recipe_is_called_one_with_its_nearest_term() -> None:
    value = recipe_as_file("finetune").model_dump()
    part = value["phases"][0]["stages"][0]
    value["phases"][0] |= {
        "stages": [{**part, "stages": "1"}, {**part, "stages": "2-", "trained": False}],
        "optimiser": "sgd",
        "label_smoothing": 0.1,
    }
    made = recipe_from_file(RecipeFile.model_validate({**value, "name": "mine", "rates": [1e-3]}), STAGES)
    text = told(finished("mine", row={"rates_tried": []}), facts(made))
    assert "This is a recipe of our own (mine); the nearest term is surgical fine-tuning." in text
    assert "Stage stem (1) was trained, stages s1 to s3 (2-4) were kept frozen" in text
    assert "SGD with momentum 0.9" in text
    assert "label smoothing 0.1" in text
    assert "The rate was given in the recipe" in text
    assert "AdamW" not in sources(finished("mine"), facts(made))


def test_a_long_paragraph_leaves_the_dispute_to_its_own_field() -> None:
    made = recipe("lp-ft", layer_decay=0.7, batchnorm="statistics")
    result = finished("lp-ft", blocks=10, budget={"seconds": 60.0, "forecast_seconds": 50.0, "left_out": []})
    methods = with_methods(result, facts(made)).methods
    assert methods is not None
    assert methods.disputed
    assert methods.disputed not in methods.paragraph


@pytest.mark.parametrize(
    ("name", "blocks", "there", "absent"),
    [
        (
            "probe",
            5,
            ["Kornblith", "Nadeau", "Holm", "Breiman", "Wilson"],
            ["AdamW", "Jaeckel", "Northcutt", "Jamieson"],
        ),
        ("probe", 1, ["Holm", "Breiman"], ["Nadeau"]),
        ("finetune", 5, ["AdamW", "SGDR", "Izmailov", "Jamieson", "BiT"], ["L-BFGS", "Kumar", "Clark"]),
        ("lp-ft", 5, ["Kumar", "AdamW", "L-BFGS"], ["BiT"]),
        ("as-is", 0, ["Wilson"], ["AdamW", "L-BFGS", "Breiman"]),
        ("l2sp", 0, ["Li, Grandvalet"], ["Nadeau"]),
    ],
)
def test_sources_are_those_of_the_methods_used(name: str, blocks: int, there: list[str], absent: list[str]) -> None:
    text = sources(finished(name, blocks=blocks), facts(recipe(name)))
    assert all(word in text for word in there)
    assert not any(word in text for word in absent)


def test_a_rate_set_by_hand_is_not_credited_to_a_search() -> None:
    text = sources(finished("finetune", row={"rates_tried": []}), facts(recipe("finetune")))
    assert "Jamieson" not in text
    assert "SGDR" in text


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("timm:resnet18", "resnet18 (timm)"),
        ("torch:/home/me/secret/net.py:make", "make (own code)"),
        ("glyphs", "glyphs (frostline)"),
        ("run:/home/me/runs/a-1/", "the network of the earlier run a-1"),
    ],
)
def test_no_path_of_the_machine_gets_into_the_paragraph(spec: str, name: str) -> None:
    assert network_name(spec) == name


def test_hardware_is_told_by_its_class() -> None:
    assert hardware_class({"device": "cpu", "processor": "x86_64", "precision": "bf16"}) == "CPU (x86_64), bf16"
    assert hardware_class({"device": "cuda:0", "gpu": "NVIDIA H200", "precision": "bf16"}) == "NVIDIA H200, bf16"


def test_the_text_for_the_screen_holds_all_of_it_within_the_width() -> None:
    methods = with_methods(finished("finetune"), facts(recipe("finetune"))).methods
    assert methods is not None
    text = methods_text(methods, 80)
    flat = " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines())
    for part in (methods.paragraph, methods.disputed, *methods.also_called, *(s.source for s in methods.sources)):
        assert part.split("; ")[0] in flat

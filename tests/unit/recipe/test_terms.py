"""The literature's terms: every strategy and every shape of a user's own recipe has the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frostline.base.records import StageInfo
from frostline.recipe.catalogue import CATALOGUE, Choices
from frostline.recipe.from_file import RecipeFile, recipe_as_file, recipe_from_file
from frostline.recipe.literature import ADDED, CITATIONS, TERMS
from frostline.recipe.recipe import Part, Phase, Recipe
from frostline.recipe.selection import make_recipe
from frostline.recipe.terms import key_by_effect, literature

STAGES = [
    StageInfo(index=i, name=n, parameters=10, output_shape=(4,), stored_bytes=16, operations=1.0, cuttable=True)
    for i, n in enumerate("abcd", 1)
]
RIGHT = {
    "baseline": "a classical classifier without a network",
    "as-is": "direct use of a pre-trained model",
    "probe": "linear probing",
    "probe@2": "feature extraction from an intermediate layer",
    "probe@4": "linear probing",  # nothing is thrown away
    "freeze@2": "partial fine-tuning",
    "freeze@4": "linear probing",  # nothing but the head is left to train
    "finetune": "full fine-tuning",
    "lp-ft": "linear probing then fine-tuning (LP-FT)",
    "continue": "continued training",
    "scratch": "training from scratch",
    "wise-ft": "weight-space ensembling (WiSE-FT)",
    "l2sp": "fine-tuning with an L2-SP penalty",
}
T, F = Part(trained=True), Part(trained=False)
AFFINE, STATISTICS = Part(trained=False, batchnorm="affine"), Part(trained=False, batchnorm="statistics")
P, R = "pretrained", "reinitialised"


def phase(*parts: Part, solver: Any = "stepped", **more: Any) -> Phase:
    return Phase(name="train", solver=solver, stages=parts, head=T, **more)


def own(*phases: Phase, origins: str = "PPPP", head_origin: Any = "new", **more: Any) -> Recipe:
    kinds: Any = tuple({"P": P, "R": R}[letter] for letter in origins)
    return Recipe(
        name="mine",
        kind="own",
        origins=kinds,
        head_origin=head_origin,
        keep=more.pop("keep", 4),
        phases=phases,
        rates=(1e-3,),
        **more,
    )


SOLVED = phase(F, F, F, F, solver="solved")
HEAD = phase(F, F, F, F)
ALL = phase(T, T, T, T)
SHAPES: list[tuple[str, Recipe]] = [
    ("as-is", own(phase(F, F, F, F, solver="untrained"), head_origin="pretrained", head_kind="mapped")),
    ("probe", own(SOLVED)),
    ("probe", own(HEAD)),
    ("probe@K", own(SOLVED, keep=2)),
    ("freeze@K", own(phase(F, F, T, T))),
    ("freeze@K", own(SOLVED, phase(F, F, T, T))),
    ("freeze@K", own(HEAD, phase(F, F, T, T))),
    ("finetune", own(ALL)),
    ("lp-ft", own(SOLVED, ALL)),
    ("lp-ft", own(HEAD, ALL)),
    ("wise-ft", own(SOLVED, ALL, interpolated=True)),
    ("l2sp", own(phase(T, T, T, T, pull=0.1))),
    ("continue", own(ALL, head_origin="pretrained", head_kind="mapped")),
    ("last-layer", own(HEAD, head_origin="pretrained", head_kind="mapped")),
    ("scratch", own(ALL, origins="RRRR")),
    ("random-features", own(phase(F, F, F, T), origins="RRRR")),
    ("surgical", own(phase(T, F, F, F))),
    ("surgical", own(phase(F, T, F, T))),
    ("adabn", own(phase(STATISTICS, STATISTICS, STATISTICS, STATISTICS))),
    ("norm", own(phase(AFFINE, AFFINE, AFFINE, AFFINE))),
    ("gradual", own(HEAD, phase(F, F, F, T), phase(F, F, T, T), ALL)),
    ("multi-stage", own(phase(T, F, F, F), ALL)),
    ("multi-stage", own(ALL, phase(F, F, F, T))),
    ("reinit@K", own(ALL, origins="PPRR")),
    ("reinit-freeze@K", own(phase(F, F, T, T), origins="PPRR")),
    ("reinit-part", own(ALL, origins="RRPP")),
    ("reinit-part", own(phase(F, T, T, T), origins="PPRR")),
]


def test_every_strategy_of_the_catalogue_has_an_entry() -> None:
    missing = sorted(set(CATALOGUE) - set(TERMS))
    assert not missing, f"recipe/literature.py has no term for {', '.join(missing)}"


@pytest.mark.parametrize(("name", "term"), RIGHT.items())
def test_each_strategy_has_the_right_term(name: str, term: str) -> None:
    assert literature(make_recipe(name, STAGES)).words == term


@pytest.mark.parametrize(("key", "recipe"), SHAPES, ids=[f"{i}-{key}" for i, (key, _) in enumerate(SHAPES)])
def test_each_shape_of_an_own_recipe_has_the_right_term(key: str, recipe: Recipe) -> None:
    assert key_by_effect(recipe) == key
    assert literature(recipe).term is TERMS[key]


@pytest.mark.parametrize("name", [n.replace("K", "3") for n in CATALOGUE if n != "baseline"])
def test_an_own_copy_of_a_strategy_has_the_strategy_s_term(name: str) -> None:
    copy = recipe_from_file(RecipeFile.model_validate(recipe_as_file(name).model_dump()), STAGES)
    assert literature(copy).words == literature(make_recipe(name, STAGES)).words


@pytest.mark.parametrize(
    ("recipe", "added"),
    [
        (own(SOLVED, phase(F, F, T, T)), "a head solved first (LP-FT)"),
        (own(phase(F, F, T, T, pull=0.1)), "an L2-SP penalty"),
        (own(SOLVED, phase(F, F, T, T), interpolated=True), "weight interpolation (WiSE-FT)"),
        (own(phase(Part(trained=True, lr_factor=0.1), T, T, T)), "layer-wise learning rates"),
        (own(phase(STATISTICS, T, T, T)), "adapting BatchNorm statistics (AdaBN-like)"),
        (make_recipe("finetune", STAGES, Choices(layer_decay=0.7)), "layer-wise learning rates"),
        (make_recipe("finetune", STAGES, Choices(batchnorm="statistics")), "adapting BatchNorm statistics"),
    ],
)
def test_what_comes_on_top_of_a_strategy_is_named_too(recipe: Recipe, added: str) -> None:
    assert added in literature(recipe).words


def test_a_head_that_is_not_linear_makes_no_linear_probe() -> None:
    for name in ("probe", "probe@2"):
        assert literature(make_recipe(name, STAGES, Choices(head="mlp"))).key == "probe-mlp"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("probe", "random-features"),
        ("freeze@2", "random-features"),
        ("finetune", "scratch"),
        ("scratch", "scratch"),
        ("as-is", "untrained"),
        ("baseline", "baseline"),
    ],
)
def test_random_weights_are_never_called_a_transfer(name: str, key: str) -> None:
    assert literature(make_recipe(name, STAGES), random=True).key == key


def test_every_source_that_is_named_is_known_and_a_dispute_is_one_sentence() -> None:
    for key, term in {**TERMS, **ADDED}.items():
        assert set(term.sources) <= set(CITATIONS), key
        assert term.disputed == "" or term.disputed.endswith("."), key
        assert term.disputed.replace("et al. ", "").count(". ") == 0, key
        assert len(term.disputed.split()) <= 30, key


def test_fine_tuning_says_who_means_what() -> None:
    told = TERMS["finetune"].disputed
    assert "top layers (TensorFlow's tutorial)" in told
    assert "all layers (PyTorch's tutorial" in told


def test_the_pages_hold_every_term_dispute_and_source() -> None:
    docs = Path(__file__).resolve().parents[3] / "docs"
    concepts, methods = ((docs / name).read_text(encoding="utf-8") for name in ("concepts.md", "methods.md"))
    for key, term in TERMS.items():
        if key not in ("baseline", "untrained"):
            assert term.term in concepts, key
            assert term.disputed in concepts, key
    for key, source in CITATIONS.items():
        assert f"- {source}\n" in methods, key

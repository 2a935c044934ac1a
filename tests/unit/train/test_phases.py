"""Several phases, mixed origins, parts of a stage and adapters on the small network: each against something by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.base.errors import AuditError, RecipeError
from frostline.base.records import ClassMap
from frostline.base.seeds import derive_seed
from frostline.models.adapters import rank_of
from frostline.models.trainable import trained_parameters
from frostline.planning.choose import check_applicable, skip_reasons
from frostline.planning.plan_race import partial_counts, want_features
from frostline.recipe.catalogue import CATALOGUE, Choices
from frostline.recipe.from_file import recipe_as_file, recipe_from_file
from frostline.recipe.recipe import Adapter, BatchNorm, Part, Phase, Recipe
from frostline.recipe.schedule import Length
from frostline.recipe.selection import make_recipe
from frostline.train import loop
from frostline.train import trial as trial_module
from frostline.train.audit import check_base
from frostline.train.ledger import make_ledger
from frostline.train.refit import REFIT, TunedValues, refit
from frostline.train.start import start_adapters, start_network
from frostline.train.study import Study
from frostline.train.trial import SteppedTraining, phase_ends, run_trial, train_stepped, training_length
from helpers.train_studies import SETTINGS, Net, mapped, recipe, study, trial

MAP = ClassMap(source=("s0", "s1", "s2", "s3", "s4"), groups=((0, 3), (1,)))
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def training(made: Study, rate: float, block: int) -> SteppedTraining:
    """A training on all development samples."""
    rows = made.development
    return SteppedTraining(rate=rate, rows=rows, block=block, length=training_length(made, len(rows), None))


class Biased(Net):
    """The convolutions have a bias, and a layer of another norm stands in the last stage."""

    def __init__(self) -> None:
        super().__init__()
        for stage in (self.a, self.b, self.c, self.d):
            old: Any = stage[0]
            stage[0] = nn.Conv2d(old.in_channels, old.out_channels, 3, old.stride, 1)
        self.d[2] = nn.GroupNorm(2, 8)


def made_study(**changed: Any) -> Study:
    return replace(study(make=Biased, **changed), class_map=MAP)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in (*model.named_parameters(), *model.named_buffers())}


def changed_tensors(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {n for n, t in values(model).items() if not torch.equal(t, before[n])}


STEPPED = [
    "freeze@2",
    "finetune",
    "lp-ft",
    "gradual",
    "continue",
    "reinit@2",
    "reinit-freeze@2",
    "scratch",
    "norm",
    "bias",
    "lora",
    "l2sp",
]
PRETRAINED = {"freeze@2": "cd", "reinit@2": "ab", "reinit-freeze@2": "", "scratch": ""}  # stages that follow the policy
DRAWN = {"reinit@2": "cd", "reinit-freeze@2": "cd", "scratch": "abcd"}


@pytest.mark.parametrize("policy", get_args(BatchNorm))
@pytest.mark.parametrize("name", STEPPED)
def test_every_policy_changes_what_it_says_in_every_stepped_strategy(name: str, policy: BatchNorm) -> None:
    made = made_study()
    used = make_recipe(name, made.stages.stages, Choices(batchnorm=policy))
    want_features(made, [used])
    before = values(start_network(made, used, REFIT))
    done = train_stepped(made, used, training(made, 1e-3, REFIT))
    batchnorm = {n for n in changed_tensors(before, done.model) if n[2:4] == "1."}
    statistics = PRETRAINED.get(name, "abcd") if policy in ("statistics", "all") else ""
    affine = PRETRAINED.get(name, "abcd") if policy in ("affine", "all") else ""
    expected = {f"{s}.1.{n}" for s in statistics + DRAWN.get(name, "") for n in STATISTICS}
    assert done.audit.moving_on_purpose == len(expected)
    expected |= {f"{s}.1.{n}" for s in affine + DRAWN.get(name, "") for n in ("weight", "bias")}
    assert batchnorm == expected


def test_a_gradual_run_unfreezes_at_the_steps_that_it_says_and_keeps_its_moments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, seen = made_study(epochs=5), list[tuple[int, frozenset[str]]]()
    used = recipe(made, "gradual")
    honest, states = loop.Stepper.step, list[Any]()

    def noting(self: loop.Stepper, batch: Any, epoch: int) -> float:
        known = {id(p): n for n, p in network[0].named_parameters()}
        held = frozenset(known[id(p)][0] for g in self.optimiser.param_groups for p in g["params"])
        seen.append((epoch, held))
        states.append((self.optimiser, network[0]))
        return honest(self, batch, epoch)

    network: list[nn.Module] = []

    def started(*arguments: Any) -> nn.Module:
        network.append(start_network(*arguments))
        return network[-1]

    monkeypatch.setattr(trial_module, "start_network", started)
    monkeypatch.setattr(loop.Stepper, "step", noting)
    done = train_stepped(made, used, training(made, 1e-3, 0)).done
    assert phase_ends(made, used, training(made, 1e-3, 0)) == [
        3,
        6,
        9,
        12,
        None,
    ]  # 4 steps an epoch, but 13 of 20 before the last phase
    expected = ["f"] * 3 + ["fd"] * 3 + ["fcd"] * 3 + ["fbcd"] * 3 + ["fabcd"] * 8
    assert [held for _, held in seen] == [frozenset(e) for e in expected]
    assert [epoch for epoch, _ in seen] == [e for e in range(5) for _ in range(4)]  # batches go on where they were
    optimiser, model = states[-1]
    steps = {n: int(optimiser.state[p]["step"]) for n, p in model.named_parameters() if p in optimiser.state}
    assert (steps["fc.weight"], steps["d.0.weight"], steps["a.0.weight"]) == (20, 17, 8)
    assert (done.steps, len(done.losses)) == (20, 20)


def test_phases_before_the_last_take_an_epoch_each_or_two_thirds_in_all() -> None:
    made = made_study(epochs=None)
    used = recipe(made, "gradual")
    of = training(made, 1e-3, 0)
    assert phase_ends(made, used, of) == [4, 8, 12, 16, None]  # an epoch each
    assert phase_ends(made, used, replace(of, length=Length(12))) == [2, 4, 6, 8, None]
    # an epoch is longer than a quarter of two thirds of 150 steps
    assert phase_ends(made, used, replace(of, rows=np.arange(4000))) == [25, 50, 75, 100, None]
    assert phase_ends(made, recipe(made, "finetune"), of) == [None]
    fitted = refit(made, used, TunedValues(rate=1e-4, steps=30))
    assert (fitted.steps, fitted.curve[-1].step) == (30, 30)


def test_one_epoch_may_be_too_short_for_all_phases_and_ends_all_the_same() -> None:
    made = made_study(epochs=1)  # 4 steps for five phases
    fitted = refit(made, recipe(made, "gradual"), TunedValues(rate=1e-4))
    assert fitted.steps == 4
    assert (fitted.audit.trained_tensors, fitted.audit.trained_changed) == (12, 10)  # stage a was never reached


def test_only_the_whole_curve_says_that_training_was_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    made, falls = made_study(epochs=10), iter(range(40))
    monkeypatch.setattr(loop.Stepper, "step", lambda *_: max(0.2, 0.7 - 0.03 * next(falls)))
    done = train_stepped(made, recipe(made, "gradual"), training(made, 1e-3, 0)).done
    assert done.losses[16] < 0.75 * done.losses[8]  # still falling when the phases before the last end
    assert done.losses[-1] == done.losses[-20]
    assert not done.undertrained


def two_phases(made: Study, **changed: Any) -> Recipe:
    """A recipe of one's own: stages c and d, then a and b, with d frozen again."""
    on, off = Part(trained=True), Part(trained=False)
    head = Part(trained=True)
    phases = (
        Phase(name="late", solver="stepped", stages=(off, off, on, on), head=head, **changed),
        Phase(name="early", solver="stepped", stages=(on, on, on, off), head=head, **changed),
    )
    return replace(recipe(made, "finetune"), name="mine", kind="own", phases=phases)


def test_a_stage_may_be_frozen_again_and_the_ledger_tells_the_phases_apart() -> None:
    made = made_study(epochs=4)
    used = two_phases(made)
    before = values(start_network(made, used, REFIT))
    fitted = refit(made, used, TunedValues(rate=1e-3))
    assert {n[0] for n in changed_tensors(before, fitted.saved.model)} == set("abcdf")
    rows = {row["tensor"]: [p["trained"] for p in row["phases"]] for row in fitted.ledger}
    assert (rows["d.0.weight"], rows["c.0.weight"], rows["a.0.weight"]) == ([True, False], [True, True], [False, True])
    assert rows["fc.weight"] == [True, True]


def test_a_later_phase_still_pulls_towards_the_values_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    made, honest, met = made_study(epochs=4), loop.anchors_of, list[Any]()

    def noting(*args: Any) -> Any:
        met.append(dict(zip(args[1], honest(*args), strict=True)))
        return tuple(met[-1].values())

    monkeypatch.setattr(loop, "anchors_of", noting)
    refit(made, two_phases(made, pull=0.1), TunedValues(rate=1e-2))
    first, second = (phase["c.0.weight"] for phase in met)
    trunk = made.trunk.model.get_parameter("c.0.weight")
    assert torch.equal(first.start, trunk)
    assert torch.equal(second.start, trunk)
    assert not torch.equal(second.parameter, trunk)


@pytest.mark.parametrize("name", ["reinit@2", "reinit-freeze@2"])
def test_reinitialised_stages_are_the_sources_own_draw_of_seed_and_block(name: str) -> None:
    made = study()
    used = recipe(made, name)
    start, drawn = values(start_network(made, used, 3)), values(made.network.build(derive_seed(0, "initialise", 3)))
    scratch = values(start_network(made, recipe(made, "scratch"), 3))
    for stage, source in (("a", made.trunk.model), ("b", made.trunk.model)):
        assert all(torch.equal(start[n], t) for n, t in values(source).items() if n.startswith(stage))
    late = [n for n in start if n[0] in "cd"]
    assert all(torch.equal(start[n], drawn[n]) and torch.equal(start[n], scratch[n]) for n in late)
    assert not torch.equal(start["c.0.weight"], made.trunk.model.get_parameter("c.0.weight"))
    other = values(start_network(made, used, 4))
    assert not torch.equal(start["c.0.weight"], other["c.0.weight"])
    rows = {r["tensor"]: r["origin"] for r in refit(made, used, TunedValues(rate=1e-3)).ledger}
    assert (rows["b.0.weight"], rows["c.0.weight"], rows["fc.weight"]) == ("pretrained", "reinitialised", "new")


class Shared(nn.Module):
    """One weight read in stages c and d."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 2), (6, 2), (6, 1))
        self.a, self.c, self.d = (nn.Sequential(nn.Conv2d(i, 6, 3, s, 1), nn.ReLU()) for i, s in sizes)
        self.d[0].weight = self.c[0].weight
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.pool(self.d(self.c(self.a(x)))).flatten(1))
        return scores


def test_what_a_kept_stage_reads_too_is_not_drawn_again() -> None:
    made = study(make=Shared)
    start, trunk = start_network(made, recipe(made, "reinit@2"), 0), made.trunk.model
    assert torch.equal(start.get_parameter("c.0.weight"), trunk.get_parameter("c.0.weight"))
    assert not torch.equal(start.get_parameter("d.0.bias"), trunk.get_parameter("d.0.bias"))
    drawn = start_network(made, recipe(made, "reinit@1"), 0)
    assert not torch.equal(drawn.get_parameter("c.0.weight"), trunk.get_parameter("c.0.weight"))
    outcome = run_trial(made, trial(made, "lora"))
    assert outcome.ok
    assert outcome.audit.trained_tensors == outcome.audit.trained_changed == 2 + 2  # a and the shared one; the head


def test_partial_strategies_train_the_tensors_counted_by_hand() -> None:
    made = made_study()
    used = [recipe(made, n) for n in ("norm", "bias", "lora")]
    channels = [4, 6, 8, 8]
    matrices = [(4, 27), (6, 36), (8, 54), (8, 72)]
    lora = sum(min(8, m // 2) * (m + n) for m, n in matrices)
    counted = partial_counts(made.trunk.model, made.stages, [*used, recipe(made, "finetune")])
    assert counted == {"norm": 2 * sum(channels) + 2 * 8, "bias": sum(channels) + 8, "lora": lora}
    changed = {
        r.name: {
            n
            for n in changed_tensors(
                values(start_network(made, r, REFIT)), refit(made, r, TunedValues(rate=1e-3)).saved.model
            )
            if not n.startswith("fc")
        }
        for r in used
    }
    assert changed["norm"] == {f"{s}.1.{n}" for s in "abcd" for n in ("weight", "bias")} | {"d.2.weight", "d.2.bias"}
    assert changed["bias"] == {f"{s}.0.bias" for s in "abcd"} | {"d.2.bias"}
    assert changed["lora"] == {f"{s}.0.weight" for s in "abcd"}


def test_the_change_by_an_adapter_has_its_rank_and_the_ledger_says_so() -> None:
    made = made_study()
    used = replace(recipe(made, "lora"), adapter=Adapter(rank=1, alpha=4))
    start = start_network(made, used, REFIT)
    fitted = refit(made, used, TunedValues(rate=1e-2))
    for stage in "abcd":
        weight = fitted.saved.model.get_parameter(f"{stage}.0.weight")
        change = (weight - start.get_parameter(f"{stage}.0.weight")).detach().flatten(1).double()
        singular = torch.linalg.svdvals(change)
        assert singular[0] > 1e-4
        assert singular[1] < 1e-3 * singular[0]
        assert rank_of(weight, used.adapter or Adapter()) == 1
    rows = {r["tensor"]: r["phases"][0] for r in fitted.ledger}
    assert rows["a.0.weight"]["how"] == "adamw on an adapter of rank 1, alpha 4, then merged"
    assert rows["fc.weight"]["how"] == "adamw"
    assert (rows["a.1.weight"]["trained"], rows["a.0.bias"]["trained"]) == (False, False)


def test_a_weight_that_changes_under_its_adapter_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made, honest = made_study(), loop.run_phase

    def careless(study_: Study, model: nn.Module, *rest: Any) -> Any:
        done = honest(study_, model, *rest)
        with torch.no_grad():
            model.get_parameter("c.0.weight").add_(1e-3)
        return done

    monkeypatch.setattr(trial_module, "run_phase", careless)
    with pytest.raises(AuditError, match=r"c\.0\.weight"):
        run_trial(made, trial(made, "lora"))
    with pytest.raises(AuditError, match="x"):
        check_base({"x": "1", "y": "2"}, {"x": "3", "y": "2"}, frozenset({"x"}))


def test_the_optimiser_of_lora_holds_adapters_and_head_alone() -> None:
    made = made_study()
    used = recipe(made, "lora")
    model, phase = start_network(made, used, 0), used.phases[0]
    adapters = start_adapters(made, model, used, 0)
    assert adapters is not None
    names = trained_parameters(model, made.stages, phase.stages, phase.head)
    job = loop.Job(phase=phase, rate=0.5, rows=made.development, length=Length(20), block=0, adapters=adapters)
    held = {id(p) for g in loop.make_optimiser(made, model, names, job).param_groups for p in g["params"]}
    expected = {id(p) for n in adapters.factors for p in adapters.parameters_of(n)}
    assert held == expected | {id(model.get_parameter("fc.weight")), id(model.get_parameter("fc.bias"))}
    assert start_adapters(made, model, recipe(made, "finetune"), 0) is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["gradual", "reinit@2", "reinit-freeze@2", "norm", "bias", "lora"])
def test_equal_trials_give_equal_bits_with_and_without_a_store(name: str, precision: str, tmp_path: Any) -> None:
    outcomes = []
    for store in (None, tmp_path / "store"):
        made = made_study(store=store, precision=precision)
        outcomes.append(run_trial(made, trial(made, name)))
        assert outcomes[-1].ok, outcomes[-1].error
    assert outcomes[0].probabilities == outcomes[1].probabilities
    assert np.isfinite(np.array(outcomes[0].probabilities)).all()


OWN = [n.replace("K", "2") for n in CATALOGUE if n not in ("baseline", "as-is")]


@pytest.mark.parametrize("name", OWN)
def test_a_shown_recipe_gives_the_bits_of_its_strategy(name: str) -> None:
    made = made_study()
    stages = made.stages.stages
    mine = recipe_from_file(recipe_as_file(name, len(stages) if name == "gradual" else None), stages)
    asked = trial(made, name)
    want_features(made, [mine, asked.recipe])
    expected = run_trial(made, asked)
    actual = run_trial(made, replace(asked, recipe=mine))
    assert actual.ok, actual.error
    assert actual.probabilities == expected.probabilities
    assert actual.audit == expected.audit


@pytest.mark.parametrize(
    ("name", "make", "changed", "message"),
    [
        ("bias", Net, {}, r"bias can't run: the network has no bias .* Use norm"),
        ("norm", Shared, {}, r"norm can't run: the network has no normalisation layer .* Use bias"),
        ("norm", Net, {"batchnorm": "frozen"}, "no normalisation layer but BatchNorm, which --batchnorm frozen fixes"),
    ],
)
def test_a_network_without_such_tensors_is_refused(name: str, make: Any, changed: Any, message: str) -> None:
    made = study(make=make)
    settings = replace(SETTINGS, **changed)
    used = make_recipe(name, made.stages.stages, Choices(batchnorm=settings.batchnorm))
    with pytest.raises(RecipeError) as refused:
        check_applicable(settings, [used], made.trunk.model, made.stages)
    assert re.search(message, f"{refused.value.message} {refused.value.hint}")


def test_a_network_that_loads_its_own_weights_has_nothing_to_draw_again() -> None:
    network, _, stages = mapped()
    used = [make_recipe(n, stages.stages) for n in ("reinit@2", "reinit-freeze@2", "scratch", "reinit@4", "finetune")]
    reasons = skip_reasons(replace(network, self_loading=True), stages.stages, used)
    assert set(reasons) == {"reinit@2", "reinit-freeze@2", "scratch"}  # nothing is drawn after the last stage
    assert skip_reasons(network, stages.stages, used) == {}


def test_the_ledger_of_a_solved_head_still_says_that_it_was_solved() -> None:
    made = made_study()
    used = recipe(made, "lp-ft")
    want_features(made, [used])
    start = start_network(made, used, REFIT)
    rows = {r["tensor"]: r["phases"] for r in make_ledger(start, start, made.stages, used, 1e-3)}
    assert [p["how"] for p in rows["fc.weight"]] == ["solved", "adamw"]
    assert [p["how"] for p in rows["a.0.weight"]] == [None, "adamw"]

"""The protocol on planted truth: it finds a gap where one was put, and none where there can be none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from frostline.base.events import Event
from frostline.curve.full import HALVES, Direction, FullPlan, base_study, half_study, run_full, train_arms, train_bases
from frostline.curve.gaps import gap_estimate
from frostline.curve.measured import ChosenRate, Measured
from frostline.curve.protocol import OTHER, Unit, arms_of
from frostline.curve.splits import ClassSplit, Halves
from frostline.curve.training import Given, arm_trials, load_base
from frostline.train.audit import tensor_hashes
from frostline.train.start import reinitialised, start_network
from helpers.curve_worlds import CLASSES, bench, given

RATE = 1e-2
SELF = ClassSplit(number=1, a=CLASSES, b=CLASSES)
DEPTHS = (1, 2, 3, 4)


def measured() -> Measured:
    return Measured(rate=ChosenRate(rate=RATE))


def specificity(found: Measured) -> list[float]:
    return [gap_estimate(found.at("BnB", k), found.at("AnB", k), None).mean for k in DEPTHS]


def to_b(split: ClassSplit = SELF) -> Direction:
    return Direction(split=split, target="B", seed=1)


@pytest.fixture(scope="module")
def made() -> Given:
    return given(steps=60)


@pytest.fixture(scope="module")
def bases(made: Given, tmp_path_factory: pytest.TempPathFactory) -> dict[Halves, Path]:
    return train_bases(made, SELF, 1, bench(tmp_path_factory.mktemp("bases")), measured())


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def transferred(
    made: Given, bases: dict[Halves, Path], events: list[Event], tmp_path_factory: pytest.TempPathFactory
) -> Measured:
    found = measured()
    where = bench(tmp_path_factory.mktemp("self"), events.append)
    for half in HALVES:
        train_arms(made, Direction(split=SELF, target=half, seed=1), bases, where, found)
    return found


def test_a_self_transfer_has_no_gap_at_any_stage(transferred: Measured) -> None:
    assert specificity(transferred) == [0.0] * 4
    assert min(judged.accuracy for judged in transferred.at("BnB", 4).values()) > 0.6  # the bases have learnt something


def test_frozen_stages_stay_and_every_arm_takes_the_same_steps(
    transferred: Measured, made: Given, events: list[Event]
) -> None:
    trials = [event.data for event in events if event.kind == "trial"]
    assert len(trials) == 2 * 4 * 4  # directions, arms, stages
    assert {trial["steps"] for trial in trials} == {made.steps}
    assert {trial["rate"] for trial in trials} == {RATE}
    # per training a stage has a weight, BatchNorm's scale, shift, mean, variance and counter
    assert transferred.audit.frozen_tensors == transferred.audit.frozen_unchanged == 2 * 2 * 6 * (1 + 2 + 3 + 4)
    assert transferred.audit.trained_changed == transferred.audit.trained_tensors


def test_late_stages_of_noise_show_their_gap_there_and_not_before(
    made: Given, bases: dict[Halves, Path], tmp_path: Path
) -> None:
    noisy = load_file(bases["A"])
    generator = torch.Generator().manual_seed(0)
    for name, tensor in noisy.items():
        if name[0] in "cd" and tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(drawn.abs() if name.endswith("var") else drawn)
    save_file(noisy, tmp_path / "noisy.safetensors")
    found = measured()
    train_arms(made, to_b(), {"A": tmp_path / "noisy.safetensors", "B": bases["B"]}, bench(tmp_path), found)
    gaps = specificity(found)
    assert gaps[:2] == [0.0, 0.0]
    assert min(gaps[2:]) > 0.1


def test_another_seed_of_the_base_gives_an_interval_around_zero(made: Given, tmp_path: Path) -> None:
    found = measured()
    where = bench(tmp_path)
    for number in (4, 5, 6):
        split = ClassSplit(number=number, a=CLASSES, b=CLASSES)
        own = train_bases(made, split, 1, where, measured())
        others = train_bases(made, split, 2, where, measured())
        train_arms(made, to_b(split), {"A": others["A"], "B": own["B"]}, where, found)
    for k in DEPTHS:
        estimate = gap_estimate(found.at("BnB", k), found.at("AnB", k), None)
        low, high = estimate.ci or (1.0, -1.0)
        assert low < 0 < high


def test_arms_of_a_unit_share_their_random_values_and_no_base_has_them(made: Given, bases: dict[Halves, Path]) -> None:
    unit = Unit(split=1, direction="A->B", seed=1)
    arms = arms_of(made.stages.stages, OTHER)
    drawn: dict[str, set[str]] = {}
    for source in ("A", "B"):
        study = half_study(made, SELF, "B", 1, load_base(made, bases[source], 4))
        for arm in arms:
            (trial,) = arm_trials(made, study, [arm], unit, RATE).values()
            hashes = tensor_hashes(start_network(study, trial.recipe, trial.block))
            for name in reinitialised(study.stages, arm.recipe):
                drawn.setdefault(name, set()).add(hashes[name])
    weights = [name for name in drawn if name.endswith("0.weight")]
    assert weights
    assert {len(drawn[name]) for name in weights} == {1}
    start = base_study(made, SELF, "B", 1)
    base = tensor_hashes(start.network.build(0))
    assert all(base[name] not in drawn[name] for name in weights)


def test_bases_of_both_halves_begin_alike_and_seeds_differ(made: Given) -> None:
    split = ClassSplit(number=1, a=CLASSES[:2], b=CLASSES[2:])
    seeds = {(half, seed): base_study(made, split, half, seed).seed for half in HALVES for seed in (1, 2)}
    assert seeds["A", 1] == seeds["B", 1] != seeds["A", 2]


def test_taken_up_again_it_gives_the_same_and_trains_only_what_is_missing(tmp_path: Path) -> None:
    short = given(steps=6, train=4, held_out=4)
    plan = FullPlan(splits=(ClassSplit(number=1, a=CLASSES[:2], b=CLASSES[2:]),), seeds=1)
    rate = ChosenRate(rate=RATE)

    class StoppedError(Exception):
        pass

    seen: list[str] = []

    def stop(event) -> None:
        if event.kind == "trial":
            seen.append(event.data["strategy"])
            if len(seen) == 9:
                raise StoppedError

    whole = run_full(short, plan, bench(tmp_path / "whole"), rate)
    with pytest.raises(StoppedError):
        run_full(short, plan, bench(tmp_path / "part", stop), rate)
    begun: list[str] = []

    def note(event) -> None:
        if event.data.get("state") == "begin":
            begun.append(event.data["strategy"])

    again = run_full(short, plan, bench(tmp_path / "part", note), rate)
    assert len(begun) == 2 + 2 * 4 * 4 - 9
    assert not set(begun) & set(seen)
    assert again.scores.keys() == whole.scores.keys()
    for place, scores in whole.scores.items():
        for unit, judged in scores.items():
            assert judged.accuracy == again.scores[place][unit].accuracy
            assert np.array_equal(judged.right, again.scores[place][unit].right)
    assert again.audit == whole.audit


def test_stored_prefixes_give_the_same_bits(tmp_path: Path) -> None:
    plan = FullPlan(splits=(ClassSplit(number=1, a=CLASSES[:2], b=CLASSES[2:]),), seeds=1)
    rate = ChosenRate(rate=RATE)
    without = run_full(given(steps=6, train=4, held_out=4), plan, bench(tmp_path / "a"), rate)
    stored = run_full(given(steps=6, train=4, held_out=4, store=tmp_path / "store"), plan, bench(tmp_path / "b"), rate)
    for place, scores in without.scores.items():
        assert [j.accuracy for j in scores.values()] == [j.accuracy for j in stored.scores[place].values()]
    assert list((tmp_path / "store").rglob("*.bin"))

"""The diagnosis: tests and estimates on two sides, and the name of the situation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from frostline.base.records import FloatArray, IntArray
from frostline.base.seeds import numpy_generator
from frostline.shift.classes import HeadTest, counted_proportions, estimated_proportions, head_test, shares_test
from frostline.shift.findings import Diagnosis, Level, Proportions, Situation, Test
from frostline.shift.remedies import remedies_for
from frostline.shift.sentences import blind_spots, sentences_of
from frostline.shift.sides import Side
from frostline.shift.situations import LEVEL, PValues, situation_of
from frostline.shift.two_sample import Design, TwoSample, two_sample_test

FEWEST = 10  # samples of a side, below which nothing is tested
OUTPUTS = -1  # stands for the outputs among the depths
LEAST = 1e-6
INPUT_SHARE = 0.8  # of the last stage's effect, which an early stage has to reach for a shift at the input
Progress = Callable[[float, str], None]


def _quiet(share: float, text: str) -> None:
    pass


def diagnose(
    source: Side,
    target: Side,
    *,
    classes: Sequence[str],
    seed: int,
    permutations: int = 199,
    progress: Progress = _quiet,
) -> Diagnosis:
    """Say how the target differs from the source, as far as these samples show it.

    Args:
        source, target: with features at the same stages; labels and probabilities where they are known.
        classes: the source's classes, then those that only the target's labels name.
        seed: of the permutations and folds.
        permutations: of each test; the smallest p-value is 1 / (permutations + 1).
        progress: is told the share done, and what is done.
    """
    if min(len(source), len(target)) < FEWEST:
        return _too_few(source, target)
    known = len(classes) if source.probabilities is None else source.probabilities.shape[1]
    work = _Work(source, target, known, seed, permutations)
    progress(0.0, "features")
    whole = work.features()
    progress(0.4, "classes")
    p = work.p_values(whole, progress)
    new = _new_classes(target, known)
    situation = situation_of(p, new_classes=bool(new))
    proportions = _proportions(source, target, known, numpy_generator(seed, "shift-proportions"))
    level = _level(whole, situation)
    tests = (*_tests(whole, p), *work.noted)
    count = len(source)
    return Diagnosis(
        situation=situation,
        tests=tests,
        proportions=proportions,
        new_classes=new,
        missing_classes=_missing_classes(target, known),
        level=level,
        sentences=sentences_of(situation, level, p, [classes[i] for i in new]),
        cannot_see=blind_spots(labelled=p.labels is not None, predicted=p.predicted is not None),
        remedies=remedies_for(situation, level),
        typical=(-whole.scores[:count], whole.scores[count:]),
    )


def _too_few(source: Side, target: Side) -> Diagnosis:
    count, side = min((len(source), "source"), (len(target), "target"))
    text = f"The {side} has {count} samples; below {FEWEST} a side no difference could be told from chance."
    return Diagnosis(
        situation="cannot-tell",
        tests=(),
        proportions=(),
        new_classes=(),
        missing_classes=(),
        level=None,
        sentences=(text,),
        cannot_see=(),
        remedies=remedies_for("cannot-tell", None),
    )


@dataclass
class _Work:
    """Lives for one diagnosis: the two sides under each other, and what the tests found besides their p-values."""

    source: Side
    target: Side
    known: int
    seed: int
    permutations: int
    noted: list[Test] = field(default_factory=list)

    def features(self) -> TwoSample:
        """Test the features at all depths, and the outputs."""
        everything = np.arange(len(self.source) + len(self.target))
        return self._test("features", everything, np.zeros(len(everything), dtype=np.int64))

    def _test(self, purpose: str, rows: IntArray, strata: IntArray, *, apart: bool = False) -> TwoSample:
        side = np.concatenate([np.zeros(len(self.source)), np.ones(len(self.target))]).astype(np.int64)
        own = self.source.groups
        groups = np.concatenate([own, self.target.groups + int(own.max()) + 1])
        features = {
            stage: np.concatenate([self.source.features[stage], self.target.features[stage]])[rows]
            for stage in self.source.features
        }
        if self.source.probabilities is not None and self.target.probabilities is not None:
            both = np.concatenate([self.source.probabilities, self.target.probabilities])[rows]
            features[OUTPUTS] = np.log(np.maximum(both, LEAST))
        return two_sample_test(
            features,
            Design(side=side[rows], groups=groups[rows], strata=strata, apart=apart),
            rng=numpy_generator(self.seed, "shift", purpose),
            permutations=self.permutations,
        )

    def p_values(self, whole: TwoSample, progress: Progress) -> PValues:
        """Return the p-values of all tests that these sides allow."""
        within_predicted, predicted = self._by_predictions()
        progress(0.7, "labels")
        labels, within_labels, head = self._by_labels()
        return PValues(
            features=whole.p,
            within_predicted=within_predicted,
            predicted=predicted,
            labels=labels,
            within_labels=within_labels,
            head=head,
        )

    def _by_predictions(self) -> tuple[float | None, float | None]:
        source, target = self.source.probabilities, self.target.probabilities
        if source is None or target is None:
            return None, None
        first, second = source.argmax(axis=1), target.argmax(axis=1)
        strata = np.concatenate([first, second]).astype(np.int64)
        statistic, predicted = self._shares("predicted", first, second)
        within = self._test("within-predicted", np.arange(len(strata)), strata)
        self._note("predicted-classes", statistic, predicted)
        self._note_largest("within-predicted-classes", within)
        return within.p, predicted

    def _shares(self, purpose: str, first: IntArray, second: IntArray) -> tuple[float, float]:
        rng = numpy_generator(self.seed, "shift", purpose)
        return shares_test(first, second, rng=rng, permutations=self.permutations)

    def _by_labels(self) -> tuple[float | None, float | None, HeadTest | None]:
        if self.source.labels is None or self.target.labels is None:
            return None, None, None
        every = np.concatenate([self.source.labels, self.target.labels])
        rows = np.flatnonzero((every >= 0) & (every < self.known))
        count = len(self.source)
        own = rows[rows < count]
        other = rows[rows >= count] - count
        if min(len(own), len(other)) < FEWEST:
            return None, None, None
        statistic, labels = self._shares("labels", self.source.labels[own], self.target.labels[other])
        within = self._test("within-labels", rows, every[rows], apart=True)
        head = head_test(self.source, self.target, other, rng=numpy_generator(self.seed, "shift", "head"))
        self._note("label-shares", statistic, labels)
        self._note_largest("within-classes", within)
        if head is not None:
            detail = {"refitted_accuracy": head.refitted, "source_accuracy": head.source}
            test = Test(name="refitted-head", statistic=head.refitted - head.source, p=head.p, shown=head.p <= LEVEL)
            self.noted.append(
                Test(**{**{f: getattr(test, f) for f in ("name", "statistic", "p", "shown")}, "detail": detail})
            )
        return labels, within.p, head

    def _note(self, name: str, statistic: float, p: float) -> None:
        self.noted.append(Test(name=name, statistic=statistic, p=p, shown=p <= LEVEL))

    def _note_largest(self, name: str, found: TwoSample) -> None:
        largest = max(found.tests, key=lambda test: test.statistic)
        stage = None if largest.stage == OUTPUTS else largest.stage
        detail = {"by": largest.name, "effect": largest.effect}
        self.noted.append(
            Test(name=name, statistic=largest.statistic, p=found.p, shown=found.p <= LEVEL, stage=stage, detail=detail)
        )


def _tests(whole: TwoSample, p: PValues) -> tuple[Test, ...]:
    """Return the one test over all depths, and those of each, corrected for their number (Westfall & Young 1993)."""
    rows = [
        Test(
            name="all-depths", statistic=max(t.statistic for t in whole.tests), p=p.features, shown=p.features <= LEVEL
        )
    ]
    for test in whole.tests:
        name, stage = test.name, test.stage
        rows.append(
            Test(
                name=f"outputs-{name}" if stage == OUTPUTS else name,
                statistic=test.effect,
                p=test.corrected,
                shown=test.corrected <= LEVEL,
                stage=None if stage == OUTPUTS else stage,
                detail={"deviations": test.statistic},
            )
        )
    return tuple(rows)


def _level(whole: TwoSample, situation: Situation) -> Level | None:
    """Say where the sides differ: at the input, in the features, or at the output alone."""
    if situation in ("none-shown", "cannot-tell", "new-classes"):
        return None
    if situation in ("label", "concept"):
        return "output"
    effects = {
        test.stage: max(test.effect - 0.5, 0.0) for test in whole.tests if test.name == "c2st" and test.stage != OUTPUTS
    }
    if not effects:
        return "output"
    stages = sorted(effects)
    early = [effects[stage] for stage in stages[: max(1, len(stages) // 3)]]
    largest = max(effects.values())
    if max(early) >= INPUT_SHARE * largest:
        return "input"
    return "feature"


def _new_classes(target: Side, known: int) -> tuple[int, ...]:
    if target.labels is None:
        return ()
    return tuple(int(label) for label in np.unique(target.labels) if label >= known)


def _missing_classes(target: Side, known: int) -> tuple[int, ...]:
    if target.labels is None:
        return ()
    there = set(target.labels.tolist())
    return tuple(label for label in range(known) if label not in there)


def _proportions(source: Side, target: Side, known: int, rng: np.random.Generator) -> tuple[Proportions, ...]:
    counted = counted_proportions(source, target, known)
    estimated = estimated_proportions(source, target, rng=rng)
    if counted is None:
        return estimated
    return (counted, *estimated)


def seen_shares(proportions: Sequence[Proportions]) -> FloatArray | None:
    """Return the target's shares of the classes by the best source of them: counted, or else by EM; None for none."""
    for one in proportions:
        return one.target
    return None

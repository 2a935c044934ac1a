"""What the scorers say of every arm: its marks, the estimate of its accuracy, and later what opened labels say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from frostline.adapt import scorers
from frostline.adapt.choice import AS_IS, PRIMARY, PRIOR_ARMS, Marks, fault, interval_level, unsuited
from frostline.adapt.world import Adapted, World
from frostline.base.records import FloatArray, IntArray
from frostline.base.seeds import numpy_generator
from frostline.shift.findings import Situation
from frostline.stats.intervals import Interval, wilson
from frostline.stats.paired import paired_samples
from frostline.stats.proportions import corrected
from frostline.train.study import Study

FEWEST_NETWORKS = 3  # whose mean is worth more than one of them
OWN_STATISTICS = ("adabn",)  # arms under which each data set is normalised by its own statistics (Li et al. 2016)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a diagnosis says that matters here; `situation` None: there was none.

    `covariate_left`: the features still differ once the classes' proportions are made up for. `nothing`: why no arm has
    to run at all, as a clause.
    """

    situation: Situation | None = None
    covariate_left: bool = True
    nothing: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmResult:
    """One arm: what it gave, or the reason why it didn't run.

    Attributes:
        marks: what the scorers say; None for an arm that didn't run, and for the network as it is in `scores` alone.
        estimate: accuracy on the target, estimated without labels; None where that can't be done.
    """

    arm: str
    adapted: Adapted | None = None
    reason: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    marks: Marks | None = None
    estimate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Accuracy of an arm on the target's true labels, with Wilson's interval."""

    accuracy: float
    ci: Interval


def mark_arms(world: World, results: Sequence[ArmResult], found: Found) -> list[ArmResult]:
    """Return the results with scores, estimated accuracies and marks."""
    ran = {one.arm: one.adapted for one in results if one.adapted is not None}
    as_is = ran[AS_IS]
    why = {
        name: unsuited(name, found.situation, covariate_left=found.covariate_left) or _fault(world, adapted, as_is)
        for name, adapted in ran.items()
    }
    fitting = [adapted for name, adapted in ran.items() if not why[name]]
    agreement = {}
    if len(fitting) >= FEWEST_NETWORKS:
        shares = scorers.ensemble_agreement([adapted.target for adapted in fitting])
        agreement = {adapted.arm: share for adapted, share in zip(fitting, shares, strict=True)}
    judge = _Judge(
        world=world,
        as_is=as_is,
        agreement=agreement,
        level=interval_level(len(fitting) - 1),
    )
    return [judge.marked(one, why.get(one.arm, "")) for one in results]


def _fault(world: World, adapted: Adapted, as_is: Adapted) -> str:
    """Return why an arm's estimates can't be trusted; nothing where they can, and for the network as it is."""
    if adapted.arm == AS_IS or adapted.arm in PRIOR_ARMS:
        return ""
    shares = source_shares(world)
    distances = [0.0, 0.0]
    noise = 0.0
    if shares is not None:
        distances = [scorers.share_distance(one.target.argmax(axis=1), shares) for one in (adapted, as_is)]
        noise = scorers.share_noise(len(as_is.target), shares)
    lost = None
    if adapted.arm not in OWN_STATISTICS and adapted.held is not None and as_is.held is not None:
        rights = [_right_on_held(world, one) for one in (as_is, adapted)]
        lost = paired_samples(*rights)
    return fault(lost, distances[0], distances[1], noise)


def _right_on_held(world: World, adapted: Adapted) -> FloatArray:
    assert world.held is not None
    assert adapted.held is not None
    labels = world.held.dataset.labels[world.held.development]
    right: FloatArray = (adapted.held.argmax(axis=1) == labels).astype(np.float64)
    return right


def source_shares(world: World) -> FloatArray | None:
    """Return the classes' shares (C,) among the source's labels; None where no label is known."""
    if world.source is not None:
        labels = world.source.dataset.labels[world.source.development]
    elif world.outputs is not None:
        labels = world.outputs.labels
    elif world.held is not None:
        labels = world.held.dataset.labels[world.held.development]
    else:
        return None
    counts = np.bincount(labels, minlength=world.classes)
    return np.asarray(counts / counts.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judge:
    """What all arms are marked by: agreement with the mean of all networks, and the level of intervals."""

    world: World
    as_is: Adapted
    agreement: Mapping[str, float]
    level: float

    def marked(self, one: ArmResult, why: str) -> ArmResult:
        """Return a result with its scores, estimate and marks; one that didn't run as it is."""
        adapted = one.adapted
        if adapted is None:
            return one
        plain = self._scores(self.as_is)
        if one.arm == AS_IS:
            return replace(one, scores=plain, estimate=plain.get(PRIMARY))
        scores = self._scores(adapted)
        of_as_is = plain
        if one.arm in PRIOR_ARMS:
            of_as_is = self._scores(self.as_is, prior=adapted.prior)
            for name in (
                "infomax",
                "dev",
            ):  # they take the classes' proportions, or the labels' meaning, to be the same
                scores.pop(name, None)
        gain = self._gain(adapted)
        marks = Marks(arm=one.arm, scores=scores, of_as_is=of_as_is, gain=gain, unsuited=why)
        estimate = None
        if gain is not None:
            estimate = float(np.clip(plain[PRIMARY] + gain.difference, 0.0, 1.0))
        return replace(one, scores=scores, marks=marks, estimate=estimate)

    def _gain(self, adapted: Adapted) -> scorers.EstimatedGain | None:
        new = self._reference(adapted, prior=adapted.prior)
        old = self._reference(self.as_is, prior=adapted.prior)
        if new is None or old is None or len(new.labels) != len(old.labels):
            return None
        return scorers.estimated_gain(
            scorers.Read(reference=new, target=adapted.target, most=self._most(adapted)),
            scorers.Read(reference=old, target=self.as_is.target),
            groups_of(self.world.target),
            rng=numpy_generator(self.world.seed, "adapt-gain"),
            level=self.level,
        )

    def _most(self, adapted: Adapted) -> float:
        """Return the highest accuracy that an arm's answers allow, if the classes have the source's proportions.

        Whether they do can't be seen without labels, so the network as it is isn't bounded by it.
        """
        shares = source_shares(self.world)
        if shares is None or adapted.arm in PRIOR_ARMS:
            return 1.0
        return 1.0 - scorers.share_distance(adapted.target.argmax(axis=1), shares)

    def _reference(self, adapted: Adapted, *, prior: FloatArray | None) -> scorers.Reference | None:
        if adapted.arm in OWN_STATISTICS:  # the source is then read with its own statistics: by the network as it is
            adapted = self.as_is
        return reference(self.world, adapted, prior=prior)

    def _scores(self, adapted: Adapted, *, prior: FloatArray | None = None) -> dict[str, float]:
        """Return what each scorer says of a network, without those that can't say anything. `prior` stands in for its
        own."""
        target = adapted.target
        rng = numpy_generator(self.world.seed, "adapt-snd")
        scores = {
            "infomax": scorers.information(target),
            "snd": scorers.neighbourhood_density(target, rng=rng),
        }
        found = self._reference(adapted, prior=adapted.prior if prior is None else prior)
        if found is not None:
            scores[PRIMARY] = scorers.atc(found, target)
            scores["atc-confidence"] = scorers.atc(found, target, scorers.confidence)
        accuracy = self._weighted(adapted)
        if accuracy is not None:
            scores["dev"] = accuracy
        if adapted.arm in self.agreement:
            scores["ensv"] = self.agreement[adapted.arm]
        return {name: scores[name] for name in scorers.SOURCES if name in scores}

    def _weighted(self, adapted: Adapted) -> float | None:
        """Return deep embedded validation; None without held-out source samples, or where these hardly resemble the
        target."""
        held, features = adapted.held, adapted.held_features
        if held is None or features is None or self.world.held is None or adapted.arm in OWN_STATISTICS:
            return None
        if min(len(features), len(adapted.target_features)) < scorers.FOLDS:
            return None
        rng = numpy_generator(self.world.seed, "adapt-dev")
        weights = scorers.density_ratio(features, adapted.target_features, rng=rng)
        return scorers.weighted_accuracy(weights, _right_on_held(self.world, adapted))


def reference(world: World, adapted: Adapted, *, prior: FloatArray | None) -> scorers.Reference | None:
    """Return source samples that a network didn't learn from, as it reads them; None where there are none.

    These are the run's sealed samples, or, for a network that wasn't changed, its out-of-fold predictions. With `prior`
    every sample counts as much as its class is more frequent in the target: then the labels' shares are those of the
    target, and a correction for these shares is judged where it belongs.
    """
    if adapted.held is not None and world.held is not None:
        labels = world.held.dataset.labels[world.held.development]
        probabilities = adapted.held
        groups = groups_of(world.held)
    elif adapted.model is None and world.outputs is not None:
        labels = world.outputs.labels
        probabilities = world.outputs.probabilities
        if adapted.prior is not None:
            probabilities = corrected(probabilities, adapted.prior)
        groups = np.arange(len(labels))
    else:
        return None
    weights = None
    if prior is not None:
        weights = prior[labels]
    return scorers.Reference(probabilities=probabilities, labels=labels, groups=groups, weights=weights)


def groups_of(study: Study) -> IntArray:
    """Number the groups (N,) of a study's samples."""
    names = np.array([study.dataset.samples[i].group for i in study.development])
    numbers: IntArray = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return numbers


# -- the target's labels, once the choice is made


def open_labels(arms: Sequence[ArmResult], labels: IntArray, classes: int) -> dict[str, Opened]:
    """Return each arm's accuracy on the target samples (N,) whose label is one of the classes; empty where none is."""
    rows = np.flatnonzero((labels >= 0) & (labels < classes))
    if not len(rows):
        return {}
    opened = {}
    for one in arms:
        if one.adapted is not None:
            right = int((one.adapted.target[rows].argmax(axis=1) == labels[rows]).sum())
            opened[one.arm] = Opened(accuracy=right / len(rows), ci=wilson(right, len(rows)))
    return opened

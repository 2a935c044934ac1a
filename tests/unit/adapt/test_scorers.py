"""Label-free scorers against formulas worked by hand, scipy, and skada 0.6 where it has the same one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy

from frostline.adapt import scorers
from frostline.adapt.scorers import Read, Reference

RNG = np.random.default_rng(0)


def probabilities(n: int, classes: int = 3, sure: float = 1.0, seed: int = 0) -> np.ndarray:
    logits = sure * np.random.default_rng(seed).normal(0, 2, (n, classes))
    values = np.exp(logits)
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def reference(p: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Reference:
    return Reference(probabilities=p, labels=labels, groups=np.arange(len(labels)), weights=weights)


def drawn_labels(p: np.ndarray, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(p.shape[1], p=row) for row in p])


def test_atc_by_hand() -> None:
    """Four source samples, one wrong: the threshold is the second lowest score, and half of the target reaches it."""
    source = np.array([[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]])
    target = np.array([[0.65, 0.35], [0.1, 0.9], [0.7, 0.3], [0.55, 0.45]])
    found = reference(source, np.array([0, 1, 0, 0]))
    assert scorers.thresholds(scorers.confidence(source), found.right, np.ones((1, 4))).tolist() == [0.7]
    assert scorers.atc(found, target, scorers.confidence) == 0.5


def test_atc_is_the_source_accuracy_on_the_source_itself() -> None:
    p = probabilities(400)
    labels = drawn_labels(p)
    for score in (scorers.negative_entropy, scorers.confidence):
        assert scorers.atc(reference(p, labels), p, score) == pytest.approx((p.argmax(axis=1) == labels).mean())


def test_weights_count_as_copies() -> None:
    p, target = probabilities(30), probabilities(50, seed=5)
    labels = drawn_labels(p)
    times = RNG.integers(1, 4, 30)
    copied = reference(np.repeat(p, times, axis=0), np.repeat(labels, times))
    weighed = reference(p, labels, times.astype(float))
    assert scorers.atc(weighed, target) == scorers.atc(copied, target)


def test_negative_entropy_is_that_of_scipy() -> None:
    p = np.vstack([probabilities(20), [[1.0, 0.0, 0.0]]])
    assert scorers.negative_entropy(p) == pytest.approx(-entropy(p, axis=1))


def test_gain_counts_changed_answers_alone_by_hand() -> None:
    old, new = probabilities(60, seed=2), probabilities(60, seed=3)
    held = [probabilities(40, seed=4), probabilities(40, seed=6)]
    labels = drawn_labels(held[0])
    gain = scorers.estimated_gain(
        Read(reference=reference(held[1], labels), target=new),
        Read(reference=reference(held[0], labels), target=old),
        np.arange(60),
        rng=np.random.default_rng(0),
        level=0.95,
    )
    above = []
    for p, target in ((held[1], new), (held[0], old)):
        scores = sorted(scorers.negative_entropy(p))
        wrong = int((p.argmax(axis=1) != labels).sum())
        above.append(scorers.negative_entropy(target) >= scores[wrong])
    changed = new.argmax(axis=1) != old.argmax(axis=1)
    expected = sum(int(above[0][i]) - int(above[1][i]) for i in range(60) if changed[i]) / 60
    assert gain.difference == pytest.approx(expected)
    assert gain.changed == pytest.approx(changed.mean())
    assert gain.ci[0] <= gain.difference <= gain.ci[1]


def test_becoming_surer_of_the_same_answers_is_no_gain() -> None:
    target, held = probabilities(80, sure=0.5), probabilities(50, sure=0.5, seed=7)
    labels = drawn_labels(held)
    surer = target**4 / (target**4).sum(axis=1, keepdims=True)
    known = reference(held, labels)
    assert scorers.atc(known, surer) > scorers.atc(known, target)
    gain = scorers.estimated_gain(
        Read(reference=known, target=surer),
        Read(reference=known, target=target),
        np.arange(80),
        rng=np.random.default_rng(0),
        level=0.95,
    )
    assert (gain.difference, gain.ci, gain.changed) == (0.0, (0.0, 0.0), 0.0)
    assert not gain.shown


def test_an_estimate_stays_below_its_bound() -> None:
    target = np.tile([0.98, 0.01, 0.01], (90, 1))
    held = probabilities(50)
    known = reference(held, drawn_labels(held))
    old = Read(reference=known, target=probabilities(90, seed=8))
    gain = scorers.estimated_gain(
        Read(reference=known, target=target, most=1 / 3), old, np.arange(90), rng=np.random.default_rng(0), level=0.95
    )
    assert gain.difference == pytest.approx(1 / 3 - scorers.atc(known, old.target))


def test_groups_are_drawn_together() -> None:
    counts = scorers.drawn_again(np.array([4, 4, 7, 9, 9]), 50, np.random.default_rng(0))
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 3] == counts[:, 4]).all()
    assert (counts[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_the_interval_of_a_gain_holds_as_often_as_it_says() -> None:
    """200 data sets from one law, whose true gain of ATC is known from a large one."""

    def world(n: int, m: int, seed: int) -> scorers.EstimatedGain:
        rng = np.random.default_rng(seed)
        base, noise = rng.normal(0, 1.5, (n + m, 3)), rng.normal(0, 1, (n + m, 3))
        two = [np.exp(base), np.exp(base + noise)]
        p = [v / v.sum(axis=1, keepdims=True) for v in two]
        labels = np.array([rng.choice(3, p=row) for row in p[0][:m]])
        reads = [Read(reference=reference(one[:m], labels), target=one[m:]) for one in p]
        return scorers.estimated_gain(reads[1], reads[0], np.arange(n), rng=rng, level=0.9, draws=200)

    truth = world(6000, 6000, 999).difference
    held = [low <= truth <= high for low, high in (world(100, 100, seed).ci for seed in range(200))]
    assert 0.83 <= np.mean(held) <= 0.99


def test_information_is_the_mutual_information_of_sample_and_class() -> None:
    p = probabilities(25, classes=4)
    joint = p / len(p)
    expected = float((joint * np.log(joint / (joint.sum(axis=0) / len(p)))).sum())
    assert scorers.information(p) == pytest.approx(expected)
    assert scorers.information(np.eye(4)) == pytest.approx(math.log(4))
    assert scorers.information(np.tile([1.0, 0.0], (9, 1))) == 0


class _Answers:
    """An estimator, as skada asks one, that knows its probabilities by the number of a sample."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def predict_proba(self, x: np.ndarray, **_: object) -> np.ndarray:
        return self.table[x[:, 0].astype(int)]


def test_the_mean_entropy_in_it_is_that_of_skada() -> None:
    metrics = pytest.importorskip("skada.metrics")
    p = probabilities(40)
    x = np.arange(40.0)[:, None]
    domain = np.repeat([1, -2], [10, 30])
    skada = metrics.PredictionEntropyScorer(greater_is_better=True, reduction="sum")._score(
        None, _Answers(p), x, np.zeros(40, dtype=int), sample_domain=domain
    )
    target = p[10:]
    ours = float(entropy(target.mean(axis=0))) - scorers.information(target)
    assert ours == pytest.approx(skada / 30, rel=1e-5)  # skada adds 1e-7 within its logarithm


def test_neighbourhood_density_by_hand() -> None:
    """Row by row as the paper has it; skada 0.6 normalises over the whole matrix instead, so it is no reference."""
    p = probabilities(12)
    unit = [row / math.sqrt(sum(v * v for v in row)) for row in p]
    total = 0.0
    for i in range(12):
        weights = [math.exp(float(unit[i] @ unit[j]) / 0.05) for j in range(12) if j != i]
        shares = [w / sum(weights) for w in weights]
        total -= sum(s * math.log(s) for s in shares)
    assert scorers.neighbourhood_density(p, rng=RNG) == pytest.approx(total / 12)


def test_density_ratio_follows_the_true_one() -> None:
    rng = np.random.default_rng(3)
    source, target = rng.normal(0, 1, (600, 2)), rng.normal([1.0, 0], 1, (600, 2))
    ratio = scorers.density_ratio(source, target, rng=np.random.default_rng(0))
    true = np.exp(source[:, 0] - 0.5)
    assert np.corrcoef(np.log(ratio), np.log(true))[0, 1] > 0.97
    assert ratio.mean() == pytest.approx(1.0, abs=0.15)
    same = scorers.density_ratio(source, rng.normal(0, 1, (600, 2)), rng=np.random.default_rng(0))
    assert np.abs(np.log(same)).mean() < 0.2


def test_weighted_accuracy_is_deep_embedded_validation_of_skada() -> None:
    metrics = pytest.importorskip("skada.metrics")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    rng = np.random.default_rng(4)
    x = np.concatenate([rng.normal(0, 1, (120, 3)), rng.normal(0.5, 1, (90, 3))])
    y = (x[:, 0] + rng.normal(0, 0.7, 210) > 0).astype(int)
    domain = np.repeat([1, -2], [120, 90])
    fitted = make_pipeline(FunctionTransformer(), LogisticRegression()).fit(x[:120], y[:120])

    class Takes:
        named_steps = fitted.named_steps

        def predict_proba(self, rows: np.ndarray, **_: object) -> np.ndarray:
            return np.asarray(fitted.predict_proba(rows))

    train, held, _, held_labels = train_test_split(
        x[:120], y[:120], test_size=0.33, random_state=np.random.RandomState(0)
    )
    sides = LogisticRegression().fit(np.concatenate([train, x[120:]]), np.repeat([1, 0], [len(train), 90]))
    pair = sides.predict_proba(held)
    weights = len(train) / 90 * pair[:, 0] / pair[:, 1]
    right = (fitted.predict(held) == held_labels).astype(float)

    def wrong(labels: np.ndarray, found: np.ndarray) -> np.ndarray:
        return (found.argmax(axis=1) != labels).astype(float)[:, None]

    dev = metrics.DeepEmbeddedValidation(loss_func=wrong, random_state=0, greater_is_better=True)
    risk = _dev_score(dev, fitted, x, y, domain)
    assert scorers.weighted_accuracy(weights, right) == pytest.approx(1 - risk)


def _dev_score(dev: object, fitted: object, x: np.ndarray, y: np.ndarray, domain: np.ndarray) -> float:
    """skada asks its estimators for further arguments, which scikit-learn's pipeline doesn't take."""
    import sklearn.pipeline

    class Pipeline(sklearn.pipeline.Pipeline):
        def predict_proba(self, rows: np.ndarray, **_: object) -> np.ndarray:
            return np.asarray(super().predict_proba(rows))

    asked = Pipeline(fitted.steps)  # type: ignore[attr-defined]
    return float(dev._score(None, asked, x, y, sample_domain=domain))  # type: ignore[attr-defined]


def test_equal_weights_give_the_plain_accuracy_and_few_give_none() -> None:
    right = np.array([1.0, 0, 1, 1] * 5)
    assert scorers.weighted_accuracy(np.ones(20), right) == pytest.approx(0.75)
    assert scorers.effective_samples(np.ones(20)) == 20
    assert scorers.weighted_accuracy(np.array([1.0] * 4 + [1e-9] * 16), right) is None
    assert scorers.effective_samples(np.zeros(3)) == 0


def test_agreement_with_the_mean_of_all_networks() -> None:
    a, b, c = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 2, 1]], np.eye(3)[[0, 1, 1, 1]]
    assert scorers.ensemble_agreement([a, b, c]) == [0.75, 1.0, 0.75]


def test_no_answers_are_righter_than_their_shares_allow() -> None:
    """Exact shares: total variation is a bound of the accuracy, whatever the answers."""
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.2])
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    for _ in range(200):
        answers = np.where(rng.random(100) < rng.random(), labels, rng.integers(0, 3, 100))
        counted = np.bincount(answers, minlength=3) / 100
        assert (answers == labels).mean() <= 1 - 0.5 * np.abs(counted - shares).sum() + 1e-12
        assert scorers.share_distance(answers, shares) <= 0.5 * np.abs(counted - shares).sum()


def test_luck_alone_is_no_distance_of_shares() -> None:
    rng = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    drawn = [rng.choice(10, 300, p=shares) for _ in range(200)]
    plain = [0.5 * np.abs(np.bincount(d, minlength=10) / 300 - shares).sum() for d in drawn]
    assert np.mean(plain) == pytest.approx(scorers.share_noise(300, shares), rel=0.05)
    assert scorers.share_distance(np.zeros(300, dtype=np.int64), shares) == pytest.approx(0.9, abs=0.08)

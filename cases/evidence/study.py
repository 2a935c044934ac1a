"""One simulated study, judged with the package's own functions, and what came of it against the known truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from cases.evidence import rivals as rivals_module
from cases.evidence.features import Floats, Ints
from cases.evidence.learners import Bools, out_of_fold, tested, train
from cases.evidence.rivals import rivals
from cases.evidence.worlds import ROWS, World, tunable
from frostline import race
from frostline.base.records import Comparison
from frostline.base.seeds import numpy_generator
from frostline.data.split import assign_folds, draw_fraction
from frostline.race.compare import compare, compare_all, one_sample, score_interval, versus_best
from frostline.race.eliminate import beyond_doubt
from frostline.race.standing import BlockScore, Standing, best_of, complete
from frostline.race.verdict import decide
from frostline.stats.intervals import bootstrap_interval
from frostline.stats.paired import PairedResult

FOLDS, REPEATS, MARGIN = 5, 3, 0.01
DESIGNS = {"hold-out": 1, "1 repeat": FOLDS, "3 repeats": FOLDS * REPEATS}
COUNTS = (3, 6, 12)
DEFICITS = (0.0, 0.01, 0.02, 0.05, 0.10, 0.20, 1.0)
CHUNK, FRESH = 10, 2000  # training sets that share so many fresh rows, where the truth is measured
MANY_FRESH = 8000
NEAR = 0.02  # a strategy this close to the best should not be dropped early


@dataclass(frozen=True, slots=True)
class Truth:
    """Expected accuracy (12,) on new rows, trained on as many rows as a block has (`block`) and on all (`whole`);
    `tuned`: of each penalty; `error`: the largest Monte Carlo error of these."""

    block: Floats
    whole: Floats
    tuned: Floats
    error: float


def measure_truth(world: World, n: int, sets: int, seed: int) -> Truth:
    """The truth by `sets` independent training sets."""
    size = n - n // FOLDS
    block, tuned = _accuracies(world, size, sets, seed), _accuracies(world, size, sets, seed + 1, tuning=True)
    whole = _accuracies(world, n, sets // 2, seed + 2)
    error = float(block.std(axis=1, ddof=1).max() / np.sqrt(sets))
    return Truth(_shared(world, block.mean(axis=1)), _shared(world, whole.mean(axis=1)), tuned.mean(axis=1), error)


def _shared(world: World, found: Floats) -> Floats:
    """Twins have one truth: the mean of theirs."""
    kinds = np.array([p.twins or p.name for p in world.strategies])
    return np.array([found[kinds == kind].mean() for kind in kinds])


def _accuracies(world: World, n: int, sets: int, seed: int, *, tuning: bool = False) -> Floats:
    """(strategies, sets) accuracies on fresh rows."""
    rng, columns = np.random.default_rng([seed, n]), []
    for _ in range(sets // CHUNK):
        drawn = [world.draw_pair(rng, n, FRESH) for _ in range(CHUNK)]
        x, y = np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn])
        procedures = tunable(world) if tuning else world.strategies
        if world.name == ROWS:  # what is left over differs from set to set
            parts = [
                np.array([tested(p, a[None], b[None], f, t, classes=world.classes, rng=rng)[0] for p in procedures])
                for a, b, f, t in drawn
            ]
            columns.append(np.stack(parts, axis=1))
        else:
            fresh, truth = drawn[0][2:]
            columns.append(
                np.stack([tested(p, x, y, fresh, truth, classes=world.classes, rng=rng) for p in procedures])
            )
    return np.concatenate(columns, axis=1)


@contextmanager
def remembered() -> Iterator[None]:
    """While it lasts, the package's `compare` is worked out once for each pair of a study: outcomes, verdict and
    elimination all ask for it again, and it takes most of the time."""
    known: dict[tuple[Any, ...], PairedResult] = {}

    def ask(a: Standing, b: Standing, *, n_train: float, n_test: float, level: float = 0.95) -> PairedResult:
        key = (a.name, b.name, len(a.blocks), n_train, n_test, round(level, 9))
        if key not in known:
            known[key] = compare(a, b, n_train=n_train, n_test=n_test, level=level)
        return known[key]

    modules: tuple[Any, ...] = (race.compare, race.verdict, race.eliminate, rivals_module)
    for module in modules:
        module.compare = ask
    try:
        yield
    finally:
        for module in modules:
            module.compare = compare


@dataclass(frozen=True, slots=True)
class Study:
    """`standings` after all blocks, 0/1 scores underneath; folds (REPEATS, n)."""

    standings: list[Standing]
    folds: Ints
    x: Floats
    y: Ints


def run_study(world: World, n: int, rng: np.random.Generator) -> Study:
    """Draw n rows, split them as the package does, train every strategy on every block."""
    x, y = world.draw(rng, n)
    names = [str(i) for i in range(n)]
    folds = np.stack([assign_folds(y, names, FOLDS, generator=rng) for _ in range(REPEATS)])
    used = np.concatenate([folds != f for f in range(FOLDS)], axis=1).reshape(-1, n)  # repeat by repeat
    right = [out_of_fold(p, x, y, used, classes=world.classes, rng=rng) for p in world.strategies]
    costs = rng.permutation(len(right))
    made = [_standing(f"s{k}", r, used, cost=float(c)) for k, (r, c) in enumerate(zip(right, costs, strict=True))]
    return Study(made, folds, x, y)


def _standing(name: str, right: Floats, used: Bools, *, cost: float) -> Standing:
    """From 0/1 scores (J, N) of all rows, of which those not `used` were held out."""
    held = [np.flatnonzero(~u) for u in used]
    keys = np.concatenate([np.column_stack([np.full(len(h), j), h]) for j, h in enumerate(held)])
    parts = [right[j, h] for j, h in enumerate(held)]
    blocks = tuple(
        BlockScore(index=j, score=float(p.mean()), log_loss=1 - float(p.mean()), n=len(p)) for j, p in enumerate(parts)
    )
    correct = np.concatenate(parts)
    return Standing(
        name=name, cost=cost, trained_parameters=0, blocks=blocks, keys=keys, correct=correct, values=correct
    )


def first_blocks(standing: Standing, count: int, *, eliminated: bool = False) -> Standing:
    """The standing after `count` blocks."""
    seen = standing.keys[:, 0] < count
    return replace(
        standing,
        blocks=standing.blocks[:count],
        keys=standing.keys[seen],
        correct=standing.correct[seen],
        values=standing.values[seen],
        eliminated=eliminated,
    )


def judge(
    world: World, n: int, truth: Truth, rng: np.random.Generator, *, samples: bool = False
) -> dict[tuple[str, ...], float]:
    """Run one study and put down all that the tables want of it; with `samples` also what takes long: the interval over
    samples, and the race over three repeats."""
    study = run_study(world, n, rng)
    with remembered():
        found = _judged(study, n, truth, rng, often=samples)
    alone = _tuning(world, study, truth, rng)
    if samples and world.name != ROWS:
        alone |= _samples(world, study, rng)
    return found | {("1 repeat", "12", key): value for key, value in alone.items()}


def _judged(
    study: Study, n: int, truth: Truth, rng: np.random.Generator, *, often: bool
) -> dict[tuple[str, ...], float]:
    """All figures of all designs and counts; the race over three repeats only if `often`."""
    found: dict[tuple[str, ...], float] = {}
    for design, count in DESIGNS.items():
        seen = [first_blocks(s, count) for s in study.standings]
        sizes = {"n_train": n - n / FOLDS, "n_test": n / FOLDS}
        for strategies in COUNTS:
            part, true = seen[:strategies], truth.block[:strategies]
            pairs = compare_all(part, **sizes, margin=MARGIN)
            own = _shown(part, pairs, true)
            if strategies == max(COUNTS):
                own |= _coverage(part, pairs, truth, sizes)
            if design == "1 repeat":
                own |= rivals(part, pairs, true, sizes, rng)
            if design == "1 repeat" or (count > FOLDS and strategies == max(COUNTS) and often):
                dropped = _race(study.standings[:strategies], count, sizes)
                own |= _dropping(dropped, count, true)
                part = [replace(s, eliminated=s.name in dropped) for s in part]
            own |= _regret(part, true, sizes)
            found |= {(design, str(strategies), key): value for key, value in own.items()}
    return found


def _coverage(
    part: Sequence[Standing], pairs: Sequence[Comparison], truth: Truth, sizes: Mapping[str, float]
) -> dict[str, float]:
    """Shares of intervals that hold the truth, at the size of a block and at the full size."""
    intervals = [score_interval(s, **sizes) for s in part]
    found = {
        "score covers": np.mean([lo <= t <= hi for (lo, hi), t in zip(intervals, truth.block, strict=True)]),
        "score covers whole": np.mean([lo <= t <= hi for (lo, hi), t in zip(intervals, truth.whole, strict=True)]),
        "score width": np.mean([hi - lo for lo, hi in intervals]),
    }
    for name, true in (("", truth.block), (" whole", truth.whole)):
        difference = [a - b for a, b in combinations(true, 2)]
        found[f"pair covers{name}"] = np.mean([c.ci[0] <= d <= c.ci[1] for c, d in zip(pairs, difference, strict=True)])
    found["pair width"] = np.mean([c.ci[1] - c.ci[0] for c in pairs])
    found["pair wrong side"] = np.mean(
        [c.ci[0] > 0 > d or c.ci[1] < 0 < d for c, d in zip(pairs, difference, strict=True)]
    )
    return {k: float(v) for k, v in found.items()}


def _shown(part: Sequence[Standing], pairs: Sequence[Comparison], true: Floats) -> dict[str, float]:
    """Errors and power of the outcomes; power by the true deficit to the truly best."""
    order = {s.name: k for k, s in enumerate(part)}
    gaps = np.array([true[order[c.a]] - true[order[c.b]] for c in pairs])
    outcome = np.array([c.outcome for c in pairs])
    wrong = ((outcome == "worse") & (gaps >= 0)) | ((outcome == "better") & (gaps <= 0))
    versus = versus_best(pairs, best_of(part).name)
    leader = true[order[best_of(part).name]]
    allowed = max(MARGIN, one_sample(part))
    apart = np.abs(gaps) > allowed
    found = {
        "false worse": float(wrong.any()),
        "false worse than best": float(
            any(c.outcome == "worse" and true[order[s]] >= leader for s, c in versus.items())
        ),
        "false as-good": float(((outcome == "as-good") & apart).any()),
        "as-good": float(np.mean([c.outcome == "as-good" for c in versus.values()])),
        "undecided": float(np.mean([c.outcome == "undecided" for c in versus.values()])),
    }
    top = int(true.argmax())
    to_best = versus_best(pairs, part[top].name)
    for low, high in pairwise(DEFICITS):
        inside = [
            to_best[s.name].outcome == "worse"
            for k, s in enumerate(part)
            if k != top and low < true[top] - true[k] <= high
        ]
        if inside:
            found[f"power {100 * low:g}-{100 * high:g}"] = float(np.mean(inside))
    return found


def _race(standings: Sequence[Standing], count: int, sizes: Mapping[str, float]) -> dict[str, int]:
    """Who is dropped after how many blocks."""
    gone: dict[str, int] = {}
    for seen in range(1, count):
        part = [first_blocks(s, seen, eliminated=s.name in gone) for s in standings]
        gone |= dict.fromkeys(beyond_doubt(part, looks=count - 1, margin=MARGIN, **sizes), seen)
    return gone


def _dropping(dropped: Mapping[str, int], count: int, true: Floats) -> dict[str, float]:
    deficit = {name: true.max() - true[int(name[1:])] for name in dropped}
    return {
        "dropped a near one": float(any(d <= NEAR for d in deficit.values())),
        "dropped the best": float(any(d <= 0 for d in deficit.values())),
        "blocks saved": sum(count - seen for seen in dropped.values()) / (count * len(true)),
    }


def _regret(part: Sequence[Standing], true: Floats, sizes: Mapping[str, float]) -> dict[str, float]:
    """Points lost to the truly best by the verdict (costs at random; costs such that the poorest are cheapest), by the
    best mean, and how much that mean promises too much."""
    best = best_of(complete(part))
    lost = {"best mean": true[int(best.name[1:])]}
    train, test = sizes["n_train"], sizes["n_test"]
    verdict = decide(part, n_train=train, n_test=test, margin=MARGIN)
    lost["verdict"] = true[int(verdict.strategy[1:])]
    if len(best.blocks) == FOLDS and len(part) == max(COUNTS):
        worst = [replace(s, cost=float(true[int(s.name[1:])])) for s in part]
        cheapest = decide(worst, n_train=train, n_test=test, margin=MARGIN)
        lost["verdict, poorest cheapest"] = true[int(cheapest.strategy[1:])]
    found = {f"regret, {key}": float(100 * (true.max() - value)) for key, value in lost.items()}
    found["winner's bias"] = float(100 * (best.score - true[int(best.name[1:])]))
    return found


def _tuning(world: World, study: Study, truth: Truth, rng: np.random.Generator) -> dict[str, float]:
    """Reported mean minus truth, in points, of one of three penalties tuned on inner rows of the first block."""
    n, choices = len(study.y), tunable(world)
    used = np.stack([study.folds[0] != f for f in range(FOLDS)])
    rows = np.flatnonzero(used[0])
    held = draw_fraction(study.y[rows], [str(i) for i in rows], 0.25, keep=1, generator=rng)
    inner = np.zeros((1, n), dtype=bool)
    inner[0, rows[~held]] = True
    scores = [
        out_of_fold(p, study.x, study.y, inner, classes=world.classes, rng=rng)[0, rows[held]].mean() for p in choices
    ]
    k = int(np.argmax(scores))
    right = out_of_fold(choices[k], study.x, study.y, used, classes=world.classes, rng=rng)
    mean = np.mean([right[j, ~u].mean() for j, u in enumerate(used)])
    return {"tuning bias": float(100 * (mean - truth.tuned[k]))}


def _samples(world: World, study: Study, rng: np.random.Generator) -> dict[str, float]:
    """Whether the bootstrap over rows holds the difference of these very models: the five of two strategies."""
    used = np.stack([study.folds[0] != f for f in range(FOLDS)])
    fresh, truth = world.draw(rng, MANY_FRESH)
    rows, new = [], []
    for p in (world.strategies[0], world.strategies[3]):
        fitted = train(p, study.x[None], study.y[None], used, classes=world.classes, rng=rng)
        columns = slice(*p.columns)
        right = fitted.predict(study.x[:, columns]) == study.y
        rows.append(right[study.folds[0], np.arange(len(study.y))].astype(np.float64))
        new.append(float((fitted.predict(fresh[:, columns]) == truth).mean()))
    low, high = bootstrap_interval(rows[0] - rows[1], rng=numpy_generator(0, "sample-interval", "a", "b"))
    return {"samples cover": float(low <= new[0] - new[1] <= high)}

"""Other ways than Holm over all pairs to say which strategies are worse, on the same corrected standard errors.

`max-t` compares all pairs at once against the distribution of the largest |t| (Tukey's, with the pairs' own
correlations); `Hsu` tests of each strategy that it is the best against all others (Hsu 1996, comparison with the best).
Both need the joint law of the differences, a multivariate t that is simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from cases.evidence.features import Floats
from frostline.base.records import Comparison
from frostline.race.compare import compare, versus_best
from frostline.race.standing import Standing, best_of

DRAWS, LEVEL = 1000, 0.05


def rivals(
    part: Sequence[Standing],
    pairs: Sequence[Comparison],
    true: Floats,
    sizes: Mapping[str, float],
    rng: np.random.Generator,
) -> dict[str, float]:
    """False calls and power of the three, each for the statement 'worse than the best mean'."""
    k = len(part)
    mean, se, df = np.zeros((k, k)), np.ones((k, k)), 1.0
    for i, j in combinations(range(k), 2):
        r = compare(part[i], part[j], **sizes)
        mean[i, j], mean[j, i], se[i, j], se[j, i], df = r.mean, -r.mean, r.se, r.se, r.df
    t = mean / se
    simulated = _joint(se, df, rng)
    leader = part.index(best_of(part))
    versus = versus_best(pairs, part[leader].name)
    called = {
        "Holm": np.array([s.name in versus and versus[s.name].outcome == "worse" for s in part]),
        "max-t": t[leader] > np.quantile(np.abs(simulated).max(axis=(1, 2)), 1 - LEVEL),
        "Hsu": t.max(axis=0) > np.quantile(simulated.max(axis=1), 1 - LEVEL, axis=0),
    }
    deficit = true.max() - true
    found = {}
    for name, worse in called.items():
        false = worse & ((true >= true[leader]) if name != "Hsu" else (deficit <= 0))
        found[f"{name}: false"] = float(false.any())
        for low, high in ((0.02, 0.05), (0.05, 0.1), (0.1, 0.2)):
            inside = (deficit > low) & (deficit <= high)
            if inside.any():
                found[f"{name}: {100 * low:g}-{100 * high:g}"] = float(worse[inside].mean())
    return found


def _joint(se: Floats, df: float, rng: np.random.Generator) -> Floats:
    """Draws (DRAWS, K, K) of all t statistics i - j under equal means: the strategies' covariance that gives `se`."""
    k = len(se)
    squared = se**2 * (1 - np.eye(k))
    centre = np.eye(k) - 1 / k
    values, vectors = np.linalg.eigh(-0.5 * centre @ squared @ centre)
    scores = rng.normal(size=(DRAWS, k)) @ (np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)
    chi = np.sqrt(rng.chisquare(df, size=DRAWS) / df)
    return np.asarray((scores[:, :, None] - scores[:, None, :]) / se / chi[:, None, None])

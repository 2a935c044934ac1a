"""How many labelled samples a paired comparison of two models needs."""

from __future__ import annotations

import math

from scipy.special import ndtri


def paired_samples_needed(difference: float, discordance: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Samples that show a true `difference` of two accuracies in a two-sided paired test at `level` with `power`.

    n = (z_{1-level/2} + z_power)^2 (D - delta^2) / delta^2, the constant being 7.85 by default, where D is
    `discordance`: the share of samples that exactly one of the two gets right. At least as many as bring the fewest
    discordant samples with which the exact test can reach `level` (6 at 0.05).
    Sign of `difference` is ignored. Luck of the training set is not covered, so this is a lower bound.
    Raises ValueError unless 0 < |difference| <= discordance <= 1 and power and level lie in (0, 1).
    Source: Connor 1987, "Sample size for testing differences in proportions for the paired-sample design".
    """
    delta = abs(difference)
    _check(discordance, power, level)
    if not 0 < delta <= discordance:
        raise ValueError(f"a difference of {difference} is impossible with a discordance of {discordance}")
    constant = float(ndtri(1 - level / 2) + ndtri(power)) ** 2
    fewest = 1 + math.ceil(math.log2(1 / level))
    return max(math.ceil(constant * (discordance - delta**2) / delta**2), math.ceil(fewest / discordance))


def equivalent_samples_needed(difference: float, discordance: float, *, margin: float, power: float = 0.8,
                              level: float = 0.05) -> int:  # fmt: skip
    """Samples that show two models to be within `margin` of each other when they truly differ by `difference`.

    n = (z_{1-level} + z_power)^2 (D - delta^2) / (margin - |delta|)^2, the one-sided bound of non-inferiority
    (constant 6.18 by default). Raises ValueError unless |difference| < margin and 0 < discordance <= 1.
    """
    delta = abs(difference)
    _check(discordance, power, level)
    if not (delta < margin and delta <= discordance):
        raise ValueError(f"a difference of {difference} doesn't fit margin {margin} and discordance {discordance}")
    constant = float(ndtri(1 - level) + ndtri(power)) ** 2
    return max(1, math.ceil(constant * (discordance - delta**2) / (margin - delta) ** 2))


def _check(discordance: float, power: float, level: float) -> None:
    if not (0 < discordance <= 1 and 0 < power < 1 and 0 < level < 1):
        raise ValueError(f"discordance {discordance}, power {power} and level {level} have to be between 0 and 1")

"""Whether variants differ: means over seeds, and differences to the first variant, seed by seed, with their error.

Runs of one seed share what the seed decides, the order of the rows and most initial weights, so their difference varies
less than their values do. The interval is Student's t over the seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""97.5th percentile of Student's t with 1, 2, ..., 30 degrees of freedom."""


@dataclass(frozen=True)
class Difference:
    """Mean of the differences to another variant over seeds that both have; error: its standard error.

    low, high: a 95 % interval of the mean. error, low and high are NaN for fewer than two seeds.
    """

    mean: float
    error: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`lower` or `higher` where the interval has zero outside, else `none`; `unknown` without an interval."""
        if math.isnan(self.low):
            return "unknown"
        return "lower" if self.high < 0 else "higher" if self.low > 0 else "none"


@dataclass(frozen=True)
class Summary:
    """A variant's values by seed. deviation: over seeds, NaN for one of them; difference: to the first variant."""

    name: str
    values: Mapping[int, float]
    mean: float
    deviation: float
    difference: Difference | None


def summarise(values: Mapping[str, Mapping[int, float]]) -> list[Summary]:
    """Return the summary of each variant, from its values by seed; those without a value are left out."""
    measured = {name: by_seed for name, by_seed in values.items() if by_seed}
    first = next(iter(values.values()), {})
    return [
        Summary(
            name,
            by_seed,
            statistics.fmean(by_seed.values()),
            statistics.stdev(by_seed.values()) if len(by_seed) > 1 else math.nan,
            None if by_seed is first else paired_difference(by_seed, first),
        )
        for name, by_seed in measured.items()
    ]


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Return the difference of two variants over the seeds that both have, or None if they share none."""
    differences = [value - baseline[seed] for seed, value in values.items() if seed in baseline]
    if not differences:
        return None
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Difference(mean, math.nan, math.nan, math.nan)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = student_t(len(differences) - 1) * error
    return Difference(mean, error, mean - half, mean + half)


def student_t(degrees: int) -> float:
    """Return the 97.5th percentile of Student's t; above 30 degrees by its expansion in 1 / degrees (A&S 26.7.5)."""
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)

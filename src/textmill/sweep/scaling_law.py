"""The loss as a law of size and text: L(N, D) = E + A / N^alpha + B / D^beta, fitted to runs by least squares.

The form is that of Hoffmann et al. 2022 (arXiv:2203.15556, eq. 2). For given exponents it is linear in E, A and B,
which are not negative, so only the exponents are searched for. Errors are relative, as in the paper's fit of
logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textmill.errors import DataError
from textmill.sweep.paired_differences import student_t

_LEAST, _MOST = 0.02, 2.0
"""Exponents that are searched."""

_ROUNDS, _PER_ROUND = 14, 15

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """One run. size: parameters without embeddings; tokens: trained on; loss: in nats per token, or another metric."""

    size: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class Law:
    """A fitted law. deviation: standard deviation of the relative errors; degrees: runs beyond the numbers fitted.

    covariance: of the numbers that are above zero, in the order E, A, alpha, B, beta, where A and B are at the
    geometric means of sizes and tokens.
    """

    floor: float
    size_factor: float
    size_exponent: float
    token_factor: float
    token_exponent: float
    deviation: float
    degrees: int
    middle: tuple[float, float]
    covariance: Array

    def loss(self, size: float, tokens: float) -> float:
        """Return the loss that the law says."""
        return float(_model(self._scaled(), np.array([size]), np.array([tokens]), self.middle)[0])

    def interval(self, size: float, tokens: float) -> tuple[float, float]:
        """Return a 95 % interval of a run's loss, by the errors of the fit to first order; NaN without any to spare.

        It tells what noise does to the law, and nothing of a law of another form.
        """
        if self.degrees < 1:
            return math.nan, math.nan
        loss = self.loss(size, tokens)
        _, slopes = _slopes(self._scaled(), np.array([size]), np.array([tokens]), self.middle)
        variance = float(slopes[0] @ self.covariance @ slopes[0]) + (self.deviation * loss) ** 2
        half = student_t(self.degrees) * math.sqrt(max(0.0, variance))
        return loss - half, loss + half

    def _scaled(self) -> Array:
        """Return E, A, alpha, B, beta with A and B at the middle."""
        size, tokens = self.middle
        a = self.size_factor * size**-self.size_exponent
        b = self.token_factor * tokens**-self.token_exponent
        return np.array([self.floor, a, self.size_exponent, b, self.token_exponent])

    def sentence(self) -> str:
        """Return the law as one formula."""
        text = f"{self.floor:.3f} + {self.size_factor:.3g} / N^{self.size_exponent:.3f}"
        return f"{text} + {self.token_factor:.3g} / D^{self.token_exponent:.3f}"


def fit_law(runs: Sequence[Measured]) -> Law:
    """Return the law that fits `runs` best. Raises DataError for fewer than three sizes, or lengths, or five runs."""
    distinct = len({run.size for run in runs}), len({run.tokens for run in runs})
    if min(distinct) < 3 or len(runs) < 5:
        raise DataError(f"a law needs runs of three sizes and three lengths, not {distinct[0]} and {distinct[1]}")
    size, tokens, loss = (np.array([getattr(run, name) for run in runs]) for name in ("size", "tokens", "loss"))
    middle = float(np.exp(np.log(size).mean())), float(np.exp(np.log(tokens).mean()))
    low, high = np.full(2, math.log(_LEAST)), np.full(2, math.log(_MOST))
    for _ in range(_ROUNDS):
        one, other = (np.linspace(*ends, _PER_ROUND) for ends in zip(low, high))
        grid = np.stack(np.meshgrid(one, other), -1).reshape(-1, 2)  # logarithms of alpha and beta
        errors, factors = _linear(np.exp(grid), size / middle[0], tokens / middle[1], loss)
        at = int(errors.argmin())
        error, values, best = float(errors[at]), factors[at], grid[at]
        width = (high - low) / _PER_ROUND * 2
        low, high = np.maximum(best - width, math.log(_LEAST)), np.minimum(best + width, math.log(_MOST))
    alpha, beta = (math.exp(each) for each in best)
    scaled = np.array([values[0], values[1], alpha, values[2], beta])
    used, slopes = _slopes(scaled, size, tokens, middle)
    degrees = len(runs) - int(used.sum())
    deviation = math.sqrt(error / degrees) if degrees > 0 else 0.0
    weighted = slopes[:, used] / loss[:, None]
    covariance = np.zeros((5, 5))
    covariance[np.ix_(used, used)] = deviation**2 * np.linalg.pinv(weighted.T @ weighted, rcond=1e-12)
    a, b = values[1] * middle[0] ** alpha, values[2] * middle[1] ** beta
    return Law(float(values[0]), float(a), alpha, float(b), beta, deviation, degrees, middle, covariance)


def _model(scaled: Array, size: Array, tokens: Array, middle: tuple[float, float]) -> Array:
    floor, a, alpha, b, beta = scaled
    return floor + a * (size / middle[0]) ** -alpha + b * (tokens / middle[1]) ** -beta


def _linear(exponents: Array, size: Array, tokens: Array, loss: Array) -> tuple[Array, Array]:
    """Return for each pair of exponents (G, 2) the least sum of squared relative errors, (G,), and E, A, B, (G, 3).

    size, tokens: as multiples of the middle. None of the three is below zero; where the best would be, it is left out.
    """
    ones = np.ones((len(exponents), len(loss)))
    powers = [size ** -exponents[:, :1], tokens ** -exponents[:, 1:]]
    columns = np.stack([ones, *powers], -1) / loss[:, None]  # (G, runs, 3)
    least, factors = np.full(len(exponents), np.inf), np.zeros((len(exponents), 3))
    for used in ([0, 1, 2], [1, 2], [0, 1], [0, 2], [1], [2], [0]):
        q, r = np.linalg.qr(columns[..., used])
        found = np.linalg.solve(r, np.swapaxes(q, 1, 2) @ np.ones((len(loss), 1)))  # (G, used, 1)
        errors = np.square(columns[..., used] @ found - 1).sum((1, 2))
        better = (found >= 0).all((1, 2)) & (errors < least)
        least = np.where(better, errors, least)
        values = np.zeros_like(factors)
        values[:, used] = found[..., 0]
        factors = np.where(better[:, None], values, factors)
    return least, factors


def _slopes(scaled: Array, size: Array, tokens: Array, middle: tuple[float, float]) -> tuple[NDArray[np.bool_], Array]:
    """Return which of the five numbers matter, and the slope of the loss by each of them, (runs, 5)."""
    floor, a, alpha, b, beta = scaled
    by_size, by_tokens = (size / middle[0]) ** -alpha, (tokens / middle[1]) ** -beta
    columns = [
        np.ones_like(size),
        by_size,
        -a * np.log(size / middle[0]) * by_size,
        by_tokens,
        -b * np.log(tokens / middle[1]) * by_tokens,
    ]
    return np.array([floor > 0, a > 0, a > 0, b > 0, b > 0]), np.stack(columns, 1)

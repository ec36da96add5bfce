"""Trials that are never drawn twice: where all searched settings have a list of values, each combination is tried once.

Optuna's TPE draws every trial anew, so that in a small space it repeats good ones, and a repeated trial of one seed
tells nothing new.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from textmill.sweep.space import Dimension

_DRAWS = 8
"""Draws of the sampler before it is given up: values that are left are then drawn with equal chances."""


def combinations(dimensions: Sequence[Dimension]) -> int | None:
    """Return how many combinations of values there are, or None if a setting has a range of real numbers."""
    sizes = [dimension.size for dimension in dimensions]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def untried(dimensions: Sequence[Dimension], tried: Sequence[Mapping[str, Any]]) -> int | None:
    """Return how many combinations no trial has had, or None if there is no end of them."""
    every = combinations(dimensions)
    return None if every is None else every - len(_distinct(dimensions, tried))


def _distinct(dimensions: Sequence[Dimension], tried: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    names = [dimension.setting for dimension in dimensions]
    return {tuple(values[name] for name in names) for values in tried if all(name in values for name in names)}


class Unrepeated:
    """A sampler of Optuna's that draws as `sampler` does, among the values that lead to an untried combination.

    It is for spaces with an end, with at least one combination left. Dimensions are asked for in their order.
    """

    def __init__(self, sampler: Any, dimensions: Sequence[Dimension], seed: int) -> None:
        self._sampler, self._dimensions = sampler, dimensions
        self._random = random.Random(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        """Return values of all dimensions together that no trial has had, or none: then they are drawn one by one."""
        tried = self._tried(study)
        for _ in range(_DRAWS if search_space else 0):
            values = self._sampler.sample_relative(study, trial, search_space)
            if len(drawn := _distinct(self._dimensions, [values])) == 1 and drawn.isdisjoint(tried):
                return values
        return {}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        """Return a value of one dimension that leads to an untried combination, after those that `trial` has."""
        at = [dimension.setting for dimension in self._dimensions].index(name)
        before = tuple(trial.params[dimension.setting] for dimension in self._dimensions[:at])
        after = math.prod(dimension.size or 1 for dimension in self._dimensions[at + 1 :])
        used = Counter(other[at] for other in self._tried(study) if other[:at] == before)
        for _ in range(_DRAWS):
            value = self._sampler.sample_independent(study, trial, name, distribution)
            if used[value] < after:
                return value
        return self._random.choice([value for value in self._dimensions[at].values() if used[value] < after])

    def _tried(self, study: Any) -> set[tuple[Any, ...]]:
        return _distinct(self._dimensions, [each.params for each in study.get_trials(deepcopy=False)])

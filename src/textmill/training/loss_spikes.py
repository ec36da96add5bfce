"""Loss spikes: steps whose loss is far above that of the steps before them, and the rows that a run skips for it.

The loss of a step is a spike if

    loss > m + max(10 s, 0.5 nats)

    m = the median of the last 64 finite losses
    s = 1.4826 / sqrt(2) x the median of |difference| between neighbours among them

and there are at least 32 of them. s is the standard deviation of normal noise; it is taken from differences because the
loss falls, early in a run by much more than its noise. Steps that follow at once and
are above the bound of their own belong to the same spike. Losses that are not finite are no spikes: see SkippedSteps.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from textmill.engine.world import World

REMEMBERED = 64
"""Losses that a new one is compared with."""

FEWEST = 32
"""Losses without which nothing is called a spike."""

DEVIATIONS = 10.0
LEAST_RISE = 0.5
"""How far above the median a spike is: robust standard deviations, and nats per token."""

_NORMAL = 1.4826 / math.sqrt(2)


@dataclass(frozen=True)
class Spike:
    """Steps `first` to `last`, counted from 1. loss: that of `first`; median, bound: what it was compared with."""

    first: int
    last: int
    loss: float
    median: float
    bound: float

    def sentence(self) -> str:
        """Return what a person is told."""
        lasting = f"; it lasts to step {self.last}" if self.last > self.first else ""
        found = f"{self.loss:.2f}, where {self.median:.2f} is the median and {self.bound:.2f} the bound"
        return f"loss spike at step {self.first}: {found}{lasting}"


@dataclass(frozen=True)
class _Unread:
    """The loss of a step, where it was computed: a sum over this process's targets. before: the steps before it.

    A chain and not a list, so that adding a step costs the same however many there are, and copies share it.
    """

    nats: Tensor | float
    targets: int
    before: _Unread | None

    def all(self) -> list[_Unread]:
        """Return the steps, oldest first."""
        found: list[_Unread] = []
        step: _Unread | None = self
        while step is not None:
            found.append(step)
            step = step.before
        return found[::-1]


@dataclass(frozen=True)
class SpikeWatch:
    """What is remembered of the losses. A value: `add` and `read` return the next one.

    recent: the last finite losses, oldest first. above: whether the last one was above its bound.
    unread: the losses since the last reading, still on the device. found: spikes so far.
    """

    recent: tuple[float, ...] = ()
    above: bool = False
    unread: _Unread | None = None
    found: int = 0

    def add(self, nats: Tensor, targets: int) -> SpikeWatch:
        """Remember the loss of one more step, without waiting for the device."""
        return replace(self, unread=_Unread(nats, targets, self.unread))

    def read(self, step: int, world: World) -> tuple[SpikeWatch, list[Spike]]:
        """Return the watch with every loss up to that of `step` read, and the spikes that began since the last reading.

        All processes call it.
        """
        losses = self._losses(world)
        recent, in_order, above = list(self.recent), sorted(self.recent), self.above
        spikes: list[Spike] = []
        for number, loss in enumerate(losses, step - len(losses) + 1):
            if not math.isfinite(loss):
                continue
            median, bound = _bound(recent, in_order, loss)
            if loss > bound:
                if not above:
                    spikes.append(Spike(number, number, loss, median, bound))
                elif spikes:
                    spikes[-1] = replace(spikes[-1], last=number)
            above = loss > bound
            recent.append(loss)
            insort(in_order, loss)
            if len(recent) > REMEMBERED:
                del in_order[bisect_left(in_order, recent.pop(0))]
        return SpikeWatch(tuple(recent), above, None, self.found + len(spikes)), spikes

    @property
    def num_unread(self) -> int:
        """The steps whose losses were not read yet."""
        return len(self.unread.all()) if self.unread is not None else 0

    def state(self, world: World) -> dict[str, Any]:
        """Return the watch of all processes together as JSON-ready values."""
        sums = self._sums(world)
        targets = [step.targets for step in self.unread.all()] if self.unread is not None else []
        unread = [[nats if math.isfinite(nats) else None, count] for nats, count in zip(sums, targets)]
        return {"recent": list(self.recent), "above": self.above, "unread": unread, "found": self.found}

    @classmethod
    def from_state(cls, state: dict[str, Any], world: World) -> SpikeWatch:
        """Return this process's part of a saved watch: the sums belong to the first process alone."""
        watch = cls(tuple(state["recent"]), state["above"], None, state["found"])
        for nats, targets in state["unread"]:
            own = (math.nan if nats is None else nats) if world.is_first else 0.0
            watch = replace(watch, unread=_Unread(own, targets, watch.unread))
        return watch

    def _losses(self, world: World) -> list[float]:
        """Return the mean loss of each unread step over all processes."""
        steps = self.unread.all() if self.unread is not None else []
        return [nats / step.targets if step.targets else math.nan for nats, step in zip(self._sums(world), steps)]

    def _sums(self, world: World) -> list[float]:
        """Return the summed loss of each unread step over all processes. Waits for the device, once."""
        steps = self.unread.all() if self.unread is not None else []
        tensors = [step.nats for step in steps if isinstance(step.nats, Tensor)]
        read = iter(torch.stack(tensors).tolist() if tensors else [])
        return world.sum_each([next(read) if isinstance(step.nats, Tensor) else step.nats for step in steps])


def _bound(recent: list[float], in_order: list[float], loss: float) -> tuple[float, float]:
    """Return the median of the losses (given as they came, and sorted) and the bound; infinity for no spike at all."""
    if len(in_order) < FEWEST:
        return math.nan, math.inf
    median = _median(in_order)
    if loss <= median + LEAST_RISE:
        return median, math.inf
    deviation = _NORMAL * _median(sorted(abs(later - earlier) for earlier, later in pairwise(recent)))
    return median, median + max(DEVIATIONS * deviation, LEAST_RISE)


def _median(in_order: list[float]) -> float:
    middle = len(in_order) // 2
    return in_order[middle] if len(in_order) % 2 else (in_order[middle - 1] + in_order[middle]) / 2


@dataclass(frozen=True)
class Rollback:
    """A return from a spike to the checkpoint of `step`.

    The rows of `first` to `end` (excluded) are skipped: steps of the order of rows, counted from 0.
    """

    spike_step: int
    loss: float
    bound: float
    step: int
    first: int
    end: int


@dataclass(frozen=True)
class Rollbacks:
    """The returns of a run so far, oldest first, and what they skip of the order of rows.

    skipped: ranges of its steps, ascending and apart, each without its end.
    """

    made: tuple[Rollback, ...] = ()
    skipped: tuple[tuple[int, int], ...] = ()

    def position(self, step: int) -> int:
        """Return the step of the order of rows that the optimizer step `step` (0-based) reads."""
        for first, end in self.skipped:
            if step < first:
                break
            step += end - first
        return step

    def with_one(self, rollback: Rollback) -> Rollbacks:
        """Return these and one more."""
        return Rollbacks((*self.made, rollback), _joined([*self.skipped, (rollback.first, rollback.end)]))

    @property
    def skipped_steps(self) -> int:
        return sum(end - first for first, end in self.skipped)

    def state(self) -> list[dict[str, Any]]:
        """Return the returns as JSON-ready values."""
        return [dict(vars(rollback)) for rollback in self.made]

    @classmethod
    def from_state(cls, state: Iterable[dict[str, Any]]) -> Rollbacks:
        """Return what `state` describes."""
        made = tuple(Rollback(**values) for values in state)
        return cls(made, _joined((rollback.first, rollback.end) for rollback in made))


def _joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return tuple(joined)

"""The learning rate as a pure function of the step: no object to step, no state to save."""

import math
from dataclasses import dataclass
from typing import get_args

from textmill.config.fields.training import ScheduleName

SCHEDULES = get_args(ScheduleName)
WSD_COOLDOWN = 0.4
"""Share of a `wsd` run that is its cool-down, unless `decay_steps` says otherwise."""


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then one of seven shapes. `schedule(step)` is the learning rate of that step.

    kind: `cosine`, `linear` and `polynomial` (power 2) fall from `peak` to `peak * min_ratio`, which they reach at
        `decay_steps` (None: at `total_steps`) and keep; `constant` stays at `peak`; `wsd` (warm-up, stable, decay:
        arXiv:2404.06395) stays at `peak` and then falls linearly over the last `decay_steps` (None: the last
        WSD_COOLDOWN of the run); `step` multiplies by `decay_factor` every `decay_every` steps and `exponential` does
        so smoothly, neither below the floor.
    peak: the learning rate at the end of warm-up.
    total_steps: optimizer steps in the whole run.
    warmup_steps: steps of linear warm-up; step 0 has peak / warmup_steps, step warmup_steps - 1 has the peak.
    min_ratio: the floor as a share of the peak.
    """

    kind: str
    peak: float
    total_steps: int
    warmup_steps: int = 0
    min_ratio: float = 0.1
    decay_steps: int | None = None
    decay_factor: float = 0.1
    decay_every: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.kind!r}; choose one of {', '.join(SCHEDULES)}")

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0; negative steps count as 0."""
        step = max(0, step)
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        return self.peak * self._after_warmup(step)

    def _after_warmup(self, step: int) -> float:
        if self.kind == "constant":
            return 1.0
        if self.kind in ("step", "exponential"):
            every = self.decay_every or max(1, round(self.total_steps / 3))
            decays = (step - self.warmup_steps) / every
            factor = self.decay_factor ** (math.floor(decays) if self.kind == "step" else decays)
            return max(factor, self.min_ratio)
        if self.kind == "wsd":
            length = self.decay_steps or round(WSD_COOLDOWN * self.total_steps)
            start = max(self.warmup_steps, self.total_steps - length)
            done = self._share(step, start, self.total_steps)
            return 1.0 - (1.0 - self.min_ratio) * done
        done = self._share(step, self.warmup_steps, self.decay_steps or self.total_steps)
        left = {
            "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
            "linear": 1.0 - done,
            "polynomial": (1.0 - done) ** 2,
        }[self.kind]
        return self.min_ratio + (1.0 - self.min_ratio) * left

    @staticmethod
    def _share(step: int, start: int, end: int) -> float:
        """Return the fraction of the steps from `start` to `end` that come before `step`, from 0 to 1."""
        return min(1.0, max(0.0, (step - start) / max(1, end - start)))

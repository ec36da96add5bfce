"""The learning rate over a run: from settings and the planned number of steps to a schedule."""

from textmill.config import TrainingConfig
from textmill.optim.learning_rate_schedule import Schedule
from textmill.planning.run_length import plan_warmup

_ENDLESS, _TYPICAL = 1_000_000_000, 1000
"""Steps to assume for the schedule, and for the share of it that is warm-up, while the length is not known."""


def plan_schedule(settings: TrainingConfig, total_steps: int | None) -> Schedule:
    """Return the schedule of a run of `total_steps`; warm-up and a constant rate while they are None."""
    floor = settings.min_learning_rate
    return Schedule(
        kind=settings.lr_schedule if total_steps is not None else "constant",
        peak=settings.learning_rate,
        total_steps=total_steps if total_steps is not None else _ENDLESS,
        warmup_steps=plan_warmup(
            total_steps if total_steps is not None else _TYPICAL,
            warmup_steps=settings.warmup_steps,
            warmup_ratio=settings.warmup_ratio,
        ),
        min_ratio=settings.min_lr_ratio if floor is None else floor / settings.learning_rate,
        decay_steps=settings.decay_steps,
        decay_factor=settings.lr_decay,
        decay_every=settings.lr_decay_every,
    )

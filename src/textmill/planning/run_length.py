"""How long a run is and when it evaluates, saves and logs: pure arithmetic on counts of rows, tokens and steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from textmill.errors import ConfigError

MOST_REPORTS = 20
"""Default number of evaluations and checkpoints of a run, approximately."""

FEWEST_EVALUATIONS = 4
"""Evaluations of a run whose validation set is large compared with its training."""

EVALUATION_SHARE = 0.02
"""Most work that evaluations may add by default, as a share of the training work."""

_ROUNDING = 1e-9
"""Share of a step by which a quotient that is a whole number may be larger."""

KEPT = 3
"""Checkpoints that a run keeps unless it is told how many."""

KEPT_EPOCHS_BYTES = 10**9
"""The checkpoints of all epochs are kept as long as they are estimated to take less than this together."""


@dataclass(frozen=True)
class Cadence:
    """When something periodic is due: every `steps` optimizer steps, at the end of every epoch, or never (`Cadence()`).

    At most one of `steps` and `epoch_rows` is set. first: a step after which it is due besides.
    """

    steps: int | None = None
    epoch_rows: float | None = None
    rows_per_step: int = 1
    first: int | None = None

    def due(self, step: int) -> bool:
        """Return whether it is due after `step` optimizer steps (counted from 1)."""
        if step == self.first:
            return True
        if self.steps is not None:
            return step % self.steps == 0
        if self.epoch_rows is not None:
            rows = step * self.rows_per_step
            return rows // self.epoch_rows > (rows - self.rows_per_step) // self.epoch_rows
        return False


@dataclass(frozen=True)
class Length:
    """The length of a run in optimizer steps, and the setting that limits it.

    total_steps: None while only a time limit is known; set once the speed has been measured.
    limit: the setting that ends the run first, such as `epochs`.
    rows_per_step: rows of the global batch. rows_per_epoch: rows of the training set. row_tokens: targets in one.
    """

    total_steps: int | None
    limit: str
    rows_per_step: int
    rows_per_epoch: int
    row_tokens: int
    max_seconds: float | None = None

    @property
    def tokens_per_step(self) -> int:
        """Targets of a full global batch."""
        return self.rows_per_step * self.row_tokens

    @property
    def epochs(self) -> float | None:
        """Passes over the training set in the whole run."""
        return None if self.total_steps is None else self.total_steps * self.rows_per_step / self.rows_per_epoch

    def planned(self, total_steps: int) -> Length:
        """Return the same length with a known number of steps."""
        return replace(self, total_steps=max(1, total_steps))

    def cadence(self, value: int | str | None, *, default_per_run: int | None = None, soon: bool = False) -> Cadence:
        """Return the cadence that a setting means: a number of steps, `epoch`, or None for the default.

        The default is every epoch when `epochs` sets the length, else about `default_per_run` times over the run;
        0, or None without a default, is never. soon: by default also once after a twentieth of the run.
        """
        if value is None and soon and self.total_steps is not None:
            first = math.ceil(self.total_steps / MOST_REPORTS)
            return replace(self.cadence(value, default_per_run=default_per_run), first=first)
        if value is None and default_per_run is not None:
            if self.limit == "epochs":
                value = "epoch"
            elif self.total_steps is not None:
                value = math.ceil(self.total_steps / default_per_run)
        if value == "epoch":
            return Cadence(epoch_rows=self.rows_per_epoch, rows_per_step=self.rows_per_step)
        return Cadence(steps=int(value)) if value else Cadence()


def plan_length(
    *,
    rows_per_epoch: int,
    rows_per_step: int,
    row_tokens: int,
    flops_per_token: float | None = None,
    **limits: float | None,
) -> Length:
    """Return the length of a run that ends at the first limit reached of those given (at least one).

    limits: the settings of a length. epochs may be fractional; max_tokens counts targets; max_flops is what the model
    computes, at flops_per_token; max_time is in seconds and sets no number of steps.

    Raises:
        ConfigError: max_flops, and what the model computes is not known.
    """
    tokens_per_step = rows_per_step * row_tokens
    given = {name: value for name, value in limits.items() if value is not None and name != "max_time"}
    per_step: dict[str, float] = {
        "epochs": rows_per_step / rows_per_epoch,
        "max_steps": 1,
        "max_tokens": tokens_per_step,
        "max_flops": tokens_per_step * (flops_per_token or 0.0),
    }
    if "max_flops" in given and flops_per_token is None:
        raise ConfigError("max_flops: what a model of your own computes is not known: use max_tokens or max_time")
    steps = {name: max(1, math.ceil(value / per_step[name] - _ROUNDING)) for name, value in given.items()}
    limit = min(steps, key=lambda name: steps[name]) if steps else "max_time"
    return Length(steps.get(limit), limit, rows_per_step, rows_per_epoch, row_tokens, limits.get("max_time"))


def kept_epochs(limit: int | None, length: Length, parameters: int) -> int:
    """Return the number of epochs, if all their checkpoints are kept; 0 if `epochs` sets no length or they are large.

    limit: save_total_limit. A checkpoint is estimated as with AdamW, three float32 numbers per parameter.
    """
    if limit is not None or length.limit != "epochs" or length.epochs is None:
        return 0
    epochs = int(length.epochs)
    return epochs if 12 * parameters * epochs < KEPT_EPOCHS_BYTES else 0


def default_evaluations(length: Length, validation_targets: int) -> int:
    """Return how often to evaluate a run: MOST_REPORTS times, or fewer if that would add too much work.

    Evaluating a token is a forward pass, a third of the work of training on it.
    """
    if length.total_steps is None or validation_targets == 0:
        return MOST_REPORTS
    affordable = EVALUATION_SHARE * 3 * length.total_steps * length.tokens_per_step / validation_targets
    return max(FEWEST_EVALUATIONS, min(MOST_REPORTS, int(affordable)))


def plan_warmup(total_steps: int, *, warmup_steps: int | None, warmup_ratio: float) -> int:
    """Return the number of warm-up steps: the given one, else a share of the run."""
    return round(warmup_ratio * total_steps) if warmup_steps is None else warmup_steps

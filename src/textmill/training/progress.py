"""How far a run has come: everything that changes from step to step besides weights, in one small value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from textmill.engine.world import World
from textmill.machine.memory import peak_memory_gib
from textmill.planning.run_length import Cadence
from textmill.training.layer_statistics import LayerValues
from textmill.training.loss_spikes import Rollbacks, SpikeWatch


@dataclass(frozen=True)
class Window:
    """Sums over the steps since something was last reported; a mean is `nats / targets`.

    nats: summed loss of this process, on the device, so that adding costs no synchronisation.
    targets: counted over all processes. seconds: time spent training.
    objective: what is minimised, summed in the same way, where it is not the loss itself (label smoothing).
    """

    nats: Tensor | float = 0.0
    targets: int = 0
    seconds: float = 0.0
    steps: int = 0
    objective: Tensor | float | None = None

    def add(self, nats: Tensor, targets: int, seconds: float, objective: Tensor | None = None) -> Window:
        """Return this window with one more step in it."""
        total = self.objective if objective is None else objective + (self.objective or 0.0)
        return Window(self.nats + nats, self.targets + targets, self.seconds + seconds, self.steps + 1, total)

    def loss(self, world: World) -> float:
        """Return the mean nats per target over all processes; NaN for an empty window. Waits for the device."""
        return world.sum(float(self.nats)) / self.targets if self.targets else math.nan

    def losses(self, world: World) -> dict[str, float]:
        """Return `train_loss`, and `train_objective` where another mean than the loss is minimised."""
        found = {"train_loss": self.loss(world)}
        if self.objective is not None and self.targets:
            found["train_objective"] = world.sum(float(self.objective)) / self.targets
        return found

    @property
    def tokens_per_second(self) -> float:
        return self.targets / self.seconds if self.seconds > 0 else 0.0

    def state(self, world: World) -> dict[str, Any]:
        """Return the window of all processes together as JSON-ready values."""
        nats = world.sum(float(self.nats))
        state = {
            "nats": nats if math.isfinite(nats) else None,
            "targets": self.targets,
            "seconds": self.seconds,
            "steps": self.steps,
        }
        if self.objective is not None:
            objective = world.sum(float(self.objective))
            state["objective"] = objective if math.isfinite(objective) else None
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any], world: World) -> Window:
        """Return this process's part of a saved window: the sum belongs to the first process alone."""
        sums = {key: math.nan if state[key] is None else state[key] for key in ("nats", "objective") if key in state}
        return cls(**{**state, **{key: value if world.is_first else 0.0 for key, value in sums.items()}})


def sum_dtype(device: torch.device) -> torch.dtype:
    """Return the format in which losses are summed on `device`: float64 wherever it has it."""
    return torch.float32 if device.type == "mps" else torch.float64


WARM_STEPS = 5
"""Steps at the start that do not count for the speed: the first ones choose kernels, fill caches and compile."""

_WINDOWS = ("since_log", "since_evaluation")


@dataclass
class Progress:
    """The moving part of a run. Copies are cheap: every value in it is replaced, never changed in place.

    step: optimizer steps taken. tokens: targets trained on. total_steps: the length the schedule plans for.
    asked_steps, asked_seconds: the limits of the configuration that total_steps was planned from.
    bad_evaluations: evaluations since the validation loss last improved by more than the minimum delta.
    patience_loss: the loss that the next improvement is measured against.
    actions_pending: the state was saved before the periodic actions of this step; a resumed run does them first.
    spikes: the losses of the last steps, and the spikes among all. rollbacks: what was done about them.
    warm_seconds: training_seconds after the first WARM_STEPS steps.
    return_to: the last checkpoint before the first spike that came when no rollbacks were left; it is kept.
    """

    step: int = 0
    tokens: int = 0
    total_steps: int | None = None
    asked_steps: int | None = None
    asked_seconds: float | None = None
    best_val_loss: float | None = None
    best_step: int | None = None
    patience_loss: float | None = None
    bad_evaluations: int = 0
    last_train_loss: float | None = None
    last_val_loss: float | None = None
    training_seconds: float = 0.0
    warm_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    actions_pending: bool = False
    since_log: Window = field(default_factory=Window)
    since_evaluation: Window = field(default_factory=Window)
    spikes: SpikeWatch = field(default_factory=SpikeWatch)
    rollbacks: Rollbacks = field(default_factory=Rollbacks)
    return_to: int | None = None

    def advance(self, nats: Tensor, targets: int, seconds: float, objective: Tensor | None = None) -> None:
        """Count one more step: `nats` summed loss over `targets` targets of all processes, in `seconds`."""
        self.step += 1
        self.tokens += targets
        self.training_seconds += seconds
        if self.step == WARM_STEPS:
            self.warm_seconds = self.training_seconds
        self.since_log = self.since_log.add(nats, targets, seconds, objective)
        self.since_evaluation = self.since_evaluation.add(nats, targets, seconds, objective)
        self.spikes = self.spikes.add(nats, targets)

    @property
    def seconds_per_step(self) -> float:
        """Seconds of training per step, without the first steps if others were taken."""
        if self.step <= WARM_STEPS:
            return self.training_seconds / max(1, self.step)
        return (self.training_seconds - self.warm_seconds) / (self.step - WARM_STEPS)

    @property
    def improved(self) -> bool:
        """Whether the lowest validation loss so far was measured after this very step."""
        return self.best_step == self.step

    def record_val_loss(self, val_loss: float, *, min_delta: float) -> None:
        """Remember a strictly lower validation loss; count evaluations that do not improve it by over `min_delta`."""
        self.last_val_loss = val_loss
        if val_loss == val_loss and (self.best_val_loss is None or val_loss < self.best_val_loss):
            self.best_val_loss, self.best_step = val_loss, self.step
        if self.patience_loss is None or val_loss < self.patience_loss - min_delta:
            self.patience_loss, self.bad_evaluations = val_loss, 0
        else:
            self.bad_evaluations += 1

    def copy(self) -> Progress:
        return replace(self)

    def state(self, world: World) -> dict[str, Any]:
        """Return this progress as JSON-ready values."""
        parts = {name: getattr(self, name).state(world) for name in (*_WINDOWS, "spikes")}
        parts["rollbacks"] = self.rollbacks.state()
        return {name: None if value != value else value for name, value in {**self.__dict__, **parts}.items()}

    @classmethod
    def from_state(cls, state: dict[str, Any], world: World) -> Progress:
        """Return the progress that `state` describes, whichever version wrote it."""
        state = dict(state)
        if "chores_pending" in state:  # the name of this value in format 1
            state["actions_pending"] = state.pop("chores_pending")
        if "early_stopped" in state:  # formats 1 and 2, which did not record what the length was planned from
            del state["early_stopped"]
            state["asked_steps"] = state["total_steps"]
        parts: dict[str, Any] = {name: Window.from_state(state[name], world) for name in _WINDOWS}
        if "spikes" in state:  # not written before spikes were looked for
            parts["spikes"] = SpikeWatch.from_state(state["spikes"], world)
            parts["rollbacks"] = Rollbacks.from_state(state["rollbacks"])
        return cls(**{**state, **parts})


@dataclass(frozen=True)
class Step:
    """One optimizer step that was just taken. Values that live on the device stay there until `measured` asks.

    number: steps taken so far. last: whether the run ends with it by its planned length.
    flops_per_token: what the model computes, where that is known. peak_flops: of all devices together, likewise.
    layers: the measured layers, if this step's were measured (`layer_statistics`).
    """

    number: int
    last: bool
    progress: Progress
    world: World
    learning_rate: float
    grad_norm: Tensor
    epoch: float
    elapsed_seconds: float
    flops_per_token: float | None = None
    peak_flops: float | None = None
    layers: LayerValues | None = None

    def every(self, cadence: Cadence | int) -> bool:
        """Whether an action with this cadence (or number of steps) is due now."""
        return (cadence if isinstance(cadence, Cadence) else Cadence(steps=cadence)).due(self.number)

    def measured(self) -> dict[str, Any]:
        """Return what is known of the steps since the last report, and begin a new report. Waits for the device."""
        window, self.progress.since_log = self.progress.since_log, Window()
        losses = window.losses(self.world)
        self.progress.last_train_loss = losses["train_loss"]
        return {**losses, **self._context(window), **({} if self.layers is None else self.layers.row(self.world))}

    def evaluated(self, result: Mapping[str, float], *, min_delta: float) -> dict[str, Any]:
        """Return the row of an evaluation, after `Progress.record_val_loss`. Waits for the device."""
        progress = self.progress
        window, progress.since_evaluation = progress.since_evaluation, Window()
        progress.last_train_loss = window.loss(self.world)
        row = {"step": self.number, "epoch": self.epoch, "train_loss": progress.last_train_loss}
        row |= {name if name.startswith("val_") else f"val_{name}": value for name, value in result.items()}
        if "val_loss" in row:
            progress.record_val_loss(row["val_loss"], min_delta=min_delta)
            row["best_val_loss"] = progress.best_val_loss
        return row | self._context(window)

    def _context(self, window: Window) -> dict[str, Any]:
        """Return the values every report has, over the steps of `window`."""
        speed, work = window.tokens_per_second, self.flops_per_token
        return {
            "step": self.number,
            "epoch": self.epoch,
            "tokens": self.progress.tokens,
            "flops": self.progress.tokens * work if work else None,
            "learning_rate": self.learning_rate,
            "grad_norm": float(self.grad_norm),
            "tokens_per_second": speed,
            "mfu": speed * work / self.peak_flops if work and self.peak_flops else None,
            "elapsed_time": self.elapsed_seconds,
            "peak_memory_gib": peak_memory_gib(self.grad_norm.device),
            **self._spikes(),
        }

    def _spikes(self) -> dict[str, int]:
        """Return the numbers of spikes and rollbacks of the run so far; nothing where there are none."""
        progress = self.progress
        rollbacks = progress.rollbacks
        found = {
            "loss_spikes": progress.spikes.found,
            "rollbacks": len(rollbacks.made),
            "skipped_batches": rollbacks.skipped_steps,
        }
        return {name: number for name, number in found.items() if number}

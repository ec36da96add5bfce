"""A run: the live objects that the loop works with, and what it does with their results."""

from __future__ import annotations

import hashlib
import math
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.link_model import publish
from textmill.checkpoint.log_file import Log
from textmill.config import Config
from textmill.console.screen import Screen
from textmill.data.batches.loader import Batch, Prefetch, TrainLoader
from textmill.engine.engine import Engine
from textmill.engine.world import World
from textmill.errors import Interrupted, NonFiniteError, WriteFailedError
from textmill.evaluation.metrics import Metric
from textmill.optim.learning_rate_schedule import Schedule
from textmill.planning.run_length import MOST_REPORTS, Cadence, Length, default_evaluations
from textmill.runs import layout
from textmill.tokenizers import Tokenizer
from textmill.tracking.tracker import Trackers
from textmill.training.advice import Advice, Setting
from textmill.training.checkpoint_state import save_checkpoint
from textmill.training.progress import Progress, Step, Window
from textmill.training.signals import SignalFlag
from textmill.training.training_rows import HeldOut

LossFunction = Callable[[nn.Module, Batch], Tensor | tuple[Tensor, Tensor]]
"""From the model and a batch to the summed loss in nats over the batch's counted targets.

A pair is (what is minimised, what is reported as the loss), each such a sum.
"""

SKIPPED_STEPS_ALLOWED = 5
"""Steps in a row that may be skipped for non-finite gradients before the run gives up."""

FAILED_SAVES_ALLOWED = 3
"""Checkpoints in a row that may fail to be written before the run ends."""

CALIBRATION_STEPS = 20
"""Steps after which a run limited by time alone knows its speed and plans its length."""


@dataclass
class Run:
    """The parts of one training run, put together by `assemble`. Any of them may be replaced before the loop starts.

    model: the module itself; `engine.model` is what the loss calls. validation: batches, or None without a split.
    named_validation: the sets that were given names, the main one among them. validation_targets: tokens of all sets.
    log_every, eval_every, sample_every, save_every: when the periodic acts are due.
    """

    config: Config
    folder: Path
    world: World
    model: nn.Module
    engine: Engine
    loss: LossFunction
    loader: TrainLoader | Prefetch
    validation: Iterable[Batch] | None
    validation_bytes: float | None
    tokenizer: Tokenizer | None
    metrics: Mapping[str, Metric]
    schedule: Schedule
    length: Length
    progress: Progress
    checkpoints: CheckpointStore
    plan_schedule: Callable[[int], Schedule]
    identity: dict[str, Any]
    screen: Screen
    signals: SignalFlag
    trackers: Trackers
    advice: Advice
    logs: dict[str, Log]
    log_every: Cadence
    eval_every: Cadence = field(default_factory=Cadence)
    sample_every: Cadence = field(default_factory=Cadence)
    save_every: Cadence = field(default_factory=Cadence)
    validation_targets: int = 0
    max_grad_norm: float = 1.0
    patience: int = 0
    min_delta: float = 0.0
    flops_per_token: float | None = None
    peak_flops: float | None = None
    sample_prompt: str = ""
    answers_prompt: bool = False
    is_own_model: bool = True
    improved: bool = False
    stop_reason: str | None = None
    final_norm: Tensor = field(default_factory=lambda: torch.zeros(()))
    before_chores: Progress = field(default_factory=Progress)
    log_offsets: dict[str, int] = field(default_factory=dict)
    last_saved_step: int | None = None
    failed_saves: int = 0
    named_validation: Mapping[str, HeldOut] = field(default_factory=dict)
    started_at: float = field(default_factory=time.perf_counter)
    elapsed_before: float = 0.0

    # --- what the steps need ---------------------------------------------------------------------------------------

    @property
    def sum_dtype(self) -> torch.dtype:
        """The format that losses are summed in: float64 wherever the device has it."""
        return torch.float32 if self.world.device.type == "mps" else torch.float64

    def seed_dropout(self, step: int, micro_batch: int) -> None:
        """Dropout depends on the seed, the step, the micro-batch and the process, so no generator has to be saved."""
        purpose = f"dropout/{self.config.training.seed}/{step}/{micro_batch}/{self.world.rank}"
        digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
        torch.manual_seed(int.from_bytes(digest, "little") >> 1)

    def finish_step(
        self, nats: Tensor, num_targets: int, grad_norm: Tensor, started: float, objective: Tensor | None = None
    ) -> Step:
        """Count a step that was taken, plan the length once the speed is known, return what is known of the step."""
        progress = self.progress
        number = progress.step + 1
        if self.reports(number) and self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)  # so that the clock sees the work and not only its launch
        progress.advance(nats, num_targets, time.perf_counter() - started, objective)
        progress.elapsed_seconds = self.elapsed_seconds
        self.final_norm = grad_norm
        if number == CALIBRATION_STEPS and self.length.max_seconds is not None:
            self._plan_by_time(self.length.max_seconds)
        speed = progress.since_log.tokens_per_second
        self.screen.stepping(number, progress.total_steps, speed, self.seconds_left())
        self.improved = False
        self.before_chores = progress.copy()
        self.log_offsets = {name: log.offset for name, log in self.logs.items()} | {
            layout.TRAIN_LOG: self.screen.log_size()
        }
        return self.current_step()

    def current_step(self) -> Step:
        """Return the step that was taken last."""
        progress = self.progress
        return Step(
            number=progress.step,
            last=progress.step == progress.total_steps,
            progress=progress,
            world=self.world,
            learning_rate=self.schedule(progress.step - 1),
            grad_norm=self.final_norm,
            epoch=progress.step * self.length.rows_per_step / self.length.rows_per_epoch,
            elapsed_seconds=progress.elapsed_seconds,
            flops_per_token=self.flops_per_token,
            peak_flops=self.peak_flops,
        )

    def owes_sample(self, step: Step) -> bool:
        """Whether the run ends with this step and was given a prompt, which it then answers last."""
        return self.answers_prompt and (step.last or self.progress.early_stopped)

    def may_interrupt(self) -> None:
        """Raises Interrupted if a signal came to any process. All processes must ask equally often."""
        raised = int(self.world.max(self.signals.raised or 0))
        if raised:
            raise Interrupted(raised)

    def may_interrupt_alone(self) -> None:
        """Raises Interrupted if a signal came and this process may stop on its own: not while others wait for it."""
        if self.world.size == 1:
            self.signals.check()

    def reports(self, step: int) -> bool:
        """Whether anything periodic is due after `step` steps."""
        due = (self.log_every, self.eval_every, self.sample_every, self.save_every)
        return step == self.progress.total_steps or any(cadence.due(step) for cadence in due)

    def should_stop(self) -> str | None:
        """Return why the run ends before its next step, or None. All processes return the same."""
        progress, limit = self.progress, self.length.max_seconds
        reasons = {
            "SIGTERM": self.signals.raised == signal.SIGTERM,
            "SIGINT": self.signals.raised == signal.SIGINT,
            "early stopping": progress.early_stopped,
            "max_time": limit is not None and self.elapsed_seconds >= limit,
            "finished": progress.total_steps is not None and progress.step >= progress.total_steps,
        }
        names = list(reasons)
        mine = max((len(names) - names.index(name) for name, holds in reasons.items() if holds), default=0)
        agreed = int(self.world.max(mine))
        return names[len(names) - agreed] if agreed else None

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the run began, time between a stop and a resume not counted."""
        return self.elapsed_before + time.perf_counter() - self.started_at

    def seconds_left(self) -> float | None:
        """Return how long the run will still take at its speed so far, or None while that cannot be known."""
        progress, limit = self.progress, self.length.max_seconds
        left = None
        if progress.total_steps is not None and progress.step:
            left = (progress.total_steps - progress.step) * progress.elapsed_seconds / progress.step
        if limit is not None:
            rest = max(0.0, limit - self.elapsed_seconds)
            left = rest if left is None else min(left, rest)
        return left

    def _plan_by_time(self, limit: float) -> None:
        """The number of steps that fit into `limit` seconds is planned, from the speed measured so far."""
        progress = self.progress
        per_step = progress.training_seconds / progress.step
        fitting = progress.step + int(0.95 * max(0.0, limit - self.elapsed_seconds) / per_step)
        total = int(self.world.max(max(fitting, progress.step + 1)))
        if progress.total_steps is not None and progress.total_steps <= total:
            return
        self.length = self.length.planned(total)
        progress.total_steps = total
        self.schedule = self.plan_schedule(total)
        self.plan_acts()
        self.screen.field("plan", f"{total:,} steps fit into the time limit")

    def plan_acts(self) -> None:
        """Evaluations, samples and checkpoints are spread over the length of the run, unless it was chosen when."""
        settings, length = self.config.training, self.length
        often = default_evaluations(length, self.validation_targets)
        self.eval_every = length.cadence(settings.eval_steps, default_per_run=often)
        self.sample_every = length.cadence(settings.sample_steps if self.tokenizer else 0, default_per_run=often)
        self.save_every = length.cadence(settings.save_steps, default_per_run=MOST_REPORTS)

    # --- what becomes of results -----------------------------------------------------------------------------------

    def track(self, row: dict[str, Any]) -> None:
        """A training report is on the screen, in steps.jsonl and with the trackers. Ends a run that only diverges."""
        if self.world.is_first:
            self.logs["steps"].append(row)
            self.trackers.log(row, row["step"])
        self.screen.training(row, self.progress.total_steps, self.seconds_left())
        self.advice.report(row, self.setting())
        self._refuse_divergence()

    def track_evaluation(self, step: Step, result: Mapping[str, float]) -> None:
        """An evaluation is on the screen, in metrics.jsonl and with the trackers; best and patience are updated."""
        progress = self.progress
        window, progress.since_evaluation = progress.since_evaluation, Window()
        progress.last_train_loss = window.loss(self.world)
        row = {"step": step.number, "epoch": step.epoch, "train_loss": progress.last_train_loss}
        row |= {_validation_name(name): value for name, value in result.items()}
        if "val_loss" in row:
            self._judge(row["val_loss"])
            row["best_val_loss"] = progress.best_val_loss
        row |= step.context(window)
        if self.world.is_first:
            self.logs["metrics"].append(row)
            self.trackers.log(row, row["step"])
        self.screen.evaluation(row, improved=self.improved)
        self.advice.evaluation(row, self.setting())
        if progress.early_stopped:
            self.screen.say(f"the validation loss has not improved in {self.patience} evaluations: stopping early")

    def setting(self) -> Setting:
        """Return what advice about this run depends on beside its reports."""
        vocab_size = self.config.model.vocab_size
        return Setting(
            total_steps=self.progress.total_steps,
            learning_rate=self.config.training.learning_rate,
            warmup_steps=self.schedule.warmup_steps,
            flat_loss=math.log(vocab_size) if vocab_size else None,
            dropout=self.config.model.dropout,
            max_grad_norm=self.max_grad_norm,
        )

    def _judge(self, val_loss: float) -> None:
        """Remember a strictly lower validation loss; count evaluations without an improvement beyond the minimum."""
        progress = self.progress
        progress.last_val_loss = val_loss
        self.improved = val_loss == val_loss and (progress.best_val_loss is None or val_loss < progress.best_val_loss)
        if self.improved:
            progress.best_val_loss, progress.best_step = val_loss, progress.step
        if progress.patience_loss is None or val_loss < progress.patience_loss - self.min_delta:
            progress.patience_loss, progress.bad_evaluations = val_loss, 0
        else:
            progress.bad_evaluations += 1
            progress.early_stopped = 0 < self.patience <= progress.bad_evaluations

    def show(self, text: str) -> None:
        """A sample is on the screen, in samples.jsonl and with the trackers."""
        if self.world.is_first:
            self.logs["samples"].append({"step": self.progress.step, "text": text})
            self.trackers.text("sample", text, self.progress.step)
        self.screen.sample(text)

    def save(self) -> None:
        """A checkpoint of this step exists, and best_model/ is this model if its validation loss is the lowest."""
        if self.last_saved_step == self.progress.step:
            return
        self._refuse_divergence()
        self._save(self.progress, self._current_offsets())
        if self.improved and self.world.is_first and self.last_saved_step == self.progress.step:
            publish(self.checkpoints.path(self.progress.step), self.folder / layout.BEST_MODEL)

    def save_interrupted(self) -> None:
        """A checkpoint of this step exists that lets a resumed run begin with the periodic acts of this step.

        For a stop in the middle of them: what they have changed so far is not part of it.
        """
        if self.progress.step == 0 or self.last_saved_step == self.progress.step:
            return
        progress = self.before_chores.copy()
        progress.chores_pending = True
        self._save(progress, self.log_offsets)

    def _save(self, progress: Progress, offsets: dict[str, int]) -> None:
        """A checkpoint exists, or it was said why not: a full disk ends a run only when it stays full."""
        try:
            save_checkpoint(self, progress, offsets)
        except WriteFailedError as error:
            self.failed_saves += 1
            if self.failed_saves >= FAILED_SAVES_ALLOWED:
                raise
            self.screen.say(f"{error}; training goes on, the next checkpoint is tried in its turn")
            return
        self.failed_saves = 0
        self.last_saved_step = progress.step

    def _refuse_divergence(self) -> None:
        skipped = int(self.engine.skipped.in_row.item())
        if skipped >= SKIPPED_STEPS_ALLOWED and self.engine.scale_is_minimal():
            raise NonFiniteError(
                f"the gradients were not finite in {skipped} steps in a row, up to step {self.progress.step}; nothing "
                "was learned from them. Lower --learning-rate, lengthen --warmup-steps, or use --precision bf16 or fp32"
            )

    def _current_offsets(self) -> dict[str, int]:
        return {name: log.sync() for name, log in self.logs.items()} | {layout.TRAIN_LOG: self.screen.log_size()}


def _validation_name(name: str) -> str:
    """Return the name in metrics.jsonl of a value that an evaluation returns."""
    return name if name.startswith("val_") else f"val_{name}"

"""A run: the live objects that the loop works with."""

import math
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.config import Config, TrainingConfig
from textmill.console.number_format import plural
from textmill.data.batches.loader import Batch, Prefetch, TrainLoader
from textmill.engine.engine import Engine
from textmill.engine.world import World
from textmill.errors import Interrupted, NonFiniteError
from textmill.evaluation.metrics import Metric
from textmill.optim.learning_rate_schedule import Schedule
from textmill.planning.run_length import (
    MOST_REPORTS,
    Cadence,
    Length,
    default_evaluations,
    kept_epochs,
    plan_warmup,
)
from textmill.runs.deleted_folder import OpenFolder
from textmill.tokenizers import Tokenizer
from textmill.training.advice import Setting
from textmill.training.long_lived import LongLived
from textmill.training.loss_spikes import Spike
from textmill.training.progress import Progress, Step
from textmill.training.reporting import Reporting
from textmill.training.signals import SignalFlag
from textmill.training.time_plan import CALIBRATION_STEPS, is_new, is_time_to_plan, steps_that_fit
from textmill.training.training_rows import HeldOut

LossFunction = Callable[[nn.Module, Batch], Tensor | tuple[Tensor, Tensor]]
"""From the model and a batch to the summed loss in nats over the batch's counted targets.

A pair is (what is minimised, what is reported as the loss), each such a sum.
"""

LEFT = "left by the caller"
"""Why a run ended whose `with` block or loop was left before its end."""

SETTLED_SECONDS = 5.0
"""Seconds of training after which the objects that exist are taken for those that live as long as the run."""

SKIPPED_STEPS_ALLOWED = 5
"""Steps in a row that may be skipped for non-finite gradients before the run gives up."""

_ENDLESS, _TYPICAL = 1_000_000_000, 1000
"""Steps to assume for the schedule, and for the share of it that is warm-up, while the length is not known."""


@dataclass
class Saving:
    """The checkpoints of a run, and what saving remembers from one step to the next.

    identity: what a run that resumes from a checkpoint must have in common with this one.
    end_ids: the tokens that end a text, besides the tokenizer's EOS token, in the model that the run started from.
    before_actions: the progress before the periodic actions of the last step. log_sizes: those of the logs then.
    """

    checkpoints: CheckpointStore
    identity: dict[str, Any]
    end_ids: frozenset[int] = frozenset()
    last_saved_step: int | None = None
    failed_in_row: int = 0
    before_actions: Progress = field(default_factory=Progress)
    log_sizes: dict[str, int] = field(default_factory=dict)

    @property
    def has_given_parts(self) -> bool:
        """Whether the run has parts that were given from Python, which no command knows."""
        named = any(self.identity[name] is not None for name in ("model", "loss", "optimizer"))
        return named or self.identity["frozen"] > 0 or self.identity["dtype"] != "float32"


@dataclass
class Run:
    """The parts of one training run, put together by `assemble`. Any of them may be replaced before the loop starts.

    model: the module itself; `engine.model` is what the loss calls.
    held_out: the texts that the model is measured on, the main one first; empty without a validation split.
    grad_norm: the norm of the last step's gradients before clipping. spike: one that was found after the last step.
    ends_early: set it to end the run before its next step, as early stopping does.
    log_every, eval_every, sample_every, save_every: when the periodic actions are due.
    keep_every: of which steps checkpoints are kept, besides the newest and the best.
    """

    config: Config
    folder: Path
    world: World
    signals: SignalFlag
    model: nn.Module
    engine: Engine
    loss: LossFunction
    loader: TrainLoader | Prefetch
    held_out: list[HeldOut]
    metrics: Mapping[str, Metric]
    tokenizer: Tokenizer | None
    sample_prompt: str
    length: Length
    reporting: Reporting
    saving: Saving
    opened_folder: OpenFolder
    flops_per_token: float | None = None
    peak_flops: float | None = None
    long_lived: LongLived = field(default_factory=LongLived)
    progress: Progress = field(default_factory=Progress)
    grad_norm: Tensor = field(default_factory=lambda: torch.zeros(()))
    spike: Spike | None = None
    ends_early: bool = False
    stop_reason: str | None = None
    started_at: float = field(default_factory=time.perf_counter)
    schedule: Schedule = field(init=False)
    log_every: Cadence = field(init=False)
    eval_every: Cadence = field(init=False)
    sample_every: Cadence = field(init=False)
    save_every: Cadence = field(init=False)
    keep_every: Cadence = field(init=False)
    _spread_over: int | None = field(init=False)
    _began: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        length, progress = self.length, self.progress
        progress.asked_steps, progress.asked_seconds = length.total_steps, length.max_seconds
        self.plan(length)

    def plan_resumed(self) -> None:
        """Plan the rest of a run whose progress was restored: as before, unless another length is asked for now."""
        length, progress = self.length, self.progress
        asked, planned = (length.total_steps, length.max_seconds), progress.total_steps
        if asked == (progress.asked_steps, progress.asked_seconds):
            self.plan(length if planned is None else length.planned(planned))
            return
        if self.stopped_early:
            progress.bad_evaluations = 0
            self.reporting.screen.say(
                "the run was stopped early: it has another length now, and the patience begins anew"
            )
        progress.asked_steps, progress.asked_seconds = asked
        self.plan(length)
        if length.max_seconds is not None and progress.step >= CALIBRATION_STEPS:
            self._plan_by_time(length.max_seconds, (0, progress.elapsed_seconds - progress.training_seconds))

    def plan(self, length: Length) -> None:
        """Plan the schedule for `length`, and spread evaluations, samples and checkpoints unless they were chosen."""
        settings = self.config.training
        self._plan_schedule(length)
        often = default_evaluations(length, sum(text.batches.num_targets for text in self.held_out))
        self.log_every = length.cadence(settings.logging_steps)
        self.eval_every = length.cadence(settings.eval_steps, default_per_run=often)
        samples = settings.sample_steps if self.tokenizer else 0
        self.sample_every = length.cadence(samples, default_per_run=often, soon=True)
        self.save_every = length.cadence(settings.save_steps, default_per_run=MOST_REPORTS)
        kept = kept_epochs(settings.save_total_limit, length, self.saving.identity["parameters"])
        self.keep_every = length.cadence("epoch" if kept else None)
        self._spread_over = length.total_steps

    def _plan_schedule(self, length: Length) -> None:
        settings = self.config.training
        self.length, self.progress.total_steps = length, length.total_steps
        self.schedule = _schedule(settings, length.total_steps)
        vocab_size = self.config.model.vocab_size
        self.reporting.setting = Setting(
            total_steps=length.total_steps,
            learning_rate=settings.learning_rate,
            warmup_steps=self.schedule.warmup_steps,
            flat_loss=math.log(vocab_size) if vocab_size else None,
            dropout=self.config.model.dropout,
            max_grad_norm=settings.max_grad_norm,
        )

    # --- what the loop needs ---------------------------------------------------------------------------------------

    def finish_step(
        self, nats: Tensor, num_targets: int, grad_norm: Tensor, started: float, objective: Tensor | None = None
    ) -> Step:
        """Count a step that was taken, plan the length once the speed is known, return what is known of the step."""
        progress = self.progress
        number = progress.step + 1
        if self._action_is_due(number):
            self.opened_folder.refuse_deleted()
            if progress.training_seconds > SETTLED_SECONDS:
                self.long_lived.set_aside()
            if self.world.device.type == "cuda":
                torch.cuda.synchronize(self.world.device)  # so that the clock sees the work and not only its launch
        progress.advance(nats, num_targets, time.perf_counter() - started, objective)
        progress.elapsed_seconds = self.elapsed_seconds
        self.grad_norm = grad_norm
        reads = self.log_every.due(number) or self.eval_every.due(number) or number == progress.total_steps
        self.spike = self._new_spike(number) if reads else None
        if self.length.max_seconds is not None:
            self._began = self._began or (number, progress.elapsed_seconds - progress.training_seconds)
            if is_time_to_plan(number, progress.total_steps, after_evaluation=self.eval_every.due(number - 1)):
                self._plan_by_time(self.length.max_seconds, self._began)
        speed = progress.since_log.tokens_per_second
        self.reporting.screen.stepping(number, progress.total_steps, speed, self.seconds_left())
        self.saving.before_actions = progress.copy()
        self.saving.log_sizes = self.reporting.log_sizes()
        return self.current_step()

    def _new_spike(self, step: int) -> Spike | None:
        """Read the losses since the last report, say what spikes are among them, and return the first one."""
        progress = self.progress
        progress.spikes, spikes = progress.spikes.read(step, self.world)
        for spike in spikes if self.config.training.on_spike != "ignore" else ():
            self.reporting.screen.say(spike.sentence())
        return spikes[0] if spikes else None

    def current_step(self) -> Step:
        """Return the step that was taken last."""
        progress = self.progress
        return Step(
            number=progress.step,
            last=progress.step == progress.total_steps,
            progress=progress,
            world=self.world,
            learning_rate=self.schedule(progress.step - 1),
            grad_norm=self.grad_norm,
            epoch=progress.step * self.length.rows_per_step / self.length.rows_per_epoch,
            elapsed_seconds=progress.elapsed_seconds,
            flops_per_token=self.flops_per_token,
            peak_flops=self.peak_flops,
        )

    @property
    def stopped_early(self) -> bool:
        """Whether the patience, as it is set now, is at its end, or somebody decided that the run ends."""
        return self.ends_early or 0 < self.config.training.early_stopping_patience <= self.progress.bad_evaluations

    def should_stop(self) -> str | None:
        """Return why the run ends before its next step, or None. All processes return the same."""
        progress, limit = self.progress, self.length.max_seconds
        reasons = {
            **{name: self.signals.raised == getattr(signal, name, 0) for name in ("SIGTERM", "SIGINT", "SIGHUP")},
            "early stopping": self.stopped_early,
            "max_time": limit is not None and self.elapsed_seconds >= limit,
            "finished": progress.total_steps is not None and progress.step >= progress.total_steps,
        }
        names = list(reasons)
        mine = max((len(names) - names.index(name) for name, applies in reasons.items() if applies), default=0)
        agreed = int(self.world.max(mine))
        return names[len(names) - agreed] if agreed else None

    def stop_together(self) -> None:
        """Raise Interrupted in all processes when a signal came to any of them. All must ask equally often."""
        raised = int(self.world.max(self.signals.raised or 0))
        if raised:
            raise Interrupted(raised)

    def refuse_divergence(self) -> None:
        """Raises NonFiniteError when too many steps in a row were skipped because their gradients were not finite."""
        skipped = int(self.engine.skipped.in_row.item())
        if skipped >= SKIPPED_STEPS_ALLOWED and self.engine.scale_is_minimal():
            raise NonFiniteError(
                f"the gradients of {skipped} steps in a row were not finite, up to step {self.progress.step}; these "
                "steps changed no weights. Lower --learning-rate, lengthen --warmup-steps, or use --precision bf16 or "
                "fp32"
            )

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended the run, or None."""
        return getattr(signal, self.stop_reason) if self.stop_reason and self.stop_reason.startswith("SIG") else None

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the run began, without the time between a stop and a resume."""
        return time.perf_counter() - self.started_at

    def seconds_left(self) -> float | None:
        """Return how long the run will still take at its speed so far, or None while that is unknown."""
        progress, limit = self.progress, self.length.max_seconds
        left = None
        if progress.total_steps is not None and progress.step:
            left = (progress.total_steps - progress.step) * progress.elapsed_seconds / progress.step
        if limit is not None:
            rest = max(0.0, limit - self.elapsed_seconds)
            left = rest if left is None else min(left, rest)
        return left

    def _action_is_due(self, step: int) -> bool:
        """Whether anything periodic is due after `step` steps."""
        cadences = (self.log_every, self.eval_every, self.sample_every, self.save_every)
        return step == self.progress.total_steps or any(cadence.due(step) for cadence in cadences)

    def _plan_by_time(self, limit: float, began: tuple[int, float]) -> None:
        """Plan as many steps as fit into `limit` seconds at the speed so far; see `steps_that_fit`."""
        progress, before = self.progress, self.progress.total_steps
        total = int(-self.world.max(-steps_that_fit(progress, limit, began)))
        if not is_new(total, before, progress.asked_steps, progress.step):
            return
        total = total if progress.asked_steps is None else min(total, progress.asked_steps)
        if self._spread_over is None or not 0.6 < total / self._spread_over < 1.6:
            self.plan(self.length.planned(total))
        else:
            self._plan_schedule(self.length.planned(total))
        if before is None or not 0.9 < total / before < 1.1:
            self.reporting.screen.field("plan", f"{total:,} steps fit into the time limit")

    # --- where results go ------------------------------------------------------------------------------------------

    def track(self, row: dict[str, Any]) -> None:
        """Report a row of training to the screen, steps.jsonl and the trackers. Raises NonFiniteError on divergence."""
        self.reporting.training(row, self.seconds_left())
        self.refuse_divergence()

    def track_evaluation(self, step: Step, result: Mapping[str, float]) -> None:
        """Report an evaluation to the screen, metrics.jsonl and the trackers; update the best loss and patience."""
        settings, progress = self.config.training, self.progress
        patience = settings.early_stopping_patience
        row = step.evaluated(result, min_delta=settings.early_stopping_min_delta)
        self.reporting.evaluation(row, improved=progress.improved)
        if self.stopped_early:
            self.reporting.screen.say(
                f"the validation loss has not improved in {plural(patience, 'evaluation')}: stopping early"
            )

    def described(self) -> dict[str, Any]:
        """Return what trackers are told of the run when they are opened."""
        step = self.progress.step - int(self.progress.actions_pending)
        return {
            "name": self.config.tracking.run_name or self.folder.name,
            "config": self.config.dump(),
            "step": step,
        }

    def show(self, text: str) -> None:
        """Report a sample to the screen, samples.jsonl and the trackers."""
        self.reporting.sample(text, self.progress.step)


def _schedule(settings: TrainingConfig, total_steps: int | None) -> Schedule:
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

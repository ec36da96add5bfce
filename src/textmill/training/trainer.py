"""Training as one call, and as an object to subclass: thin wrappers around `assemble` and the loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Unpack

from torch import nn
from torch.optim import Optimizer

from textmill.config import Config, load_config
from textmill.config.section import Section
from textmill.config.setting_keywords import TrainKeywords
from textmill.console.screen import Screen
from textmill.data.sources.one_time_texts import are_paths
from textmill.errors import ConfigError
from textmill.evaluation.metrics import Metric
from textmill.optim.optimizer_choice import OptimizerFactory
from textmill.tracking.metric_table import METRICS
from textmill.training.assemble import assemble
from textmill.training.given_parts import shape_of
from textmill.training.loop import run_loop
from textmill.training.progress import Step
from textmill.training.result import TrainingResult, result_of
from textmill.training.run import LossFunction, Run

Settings = Config | Section | Mapping[str, Any] | str | Path


def train(
    config: Settings | None = None,
    *,
    model: nn.Module | str | None = None,
    data: Any = None,
    validation: Any = None,
    optimizer: OptimizerFactory | Optimizer | str | None = None,
    loss: LossFunction | str | None = None,
    metrics: Mapping[str, Metric] | None = None,
    screen: Screen | None = None,
    quiet: bool = False,
    on_signal: Literal["raise", "return"] = "raise",
    **settings: Unpack[TrainKeywords],
) -> TrainingResult:
    """Train a model as `config` and `settings` say, and return how it went.

        result = textmill.train(data="book.txt", tokenizer="char", max_time="5m")
        print(result.best_val_loss, result.output_dir)

    Settings that are not given come from a preset that fits the machine and the text, as on the command line; without
    `data` the text is Python's own source code. The run is written to `output_dir`, by default runs/experiment_N.

    Args:
        config: a Config, one section of it, a mapping, or the path of a YAML, JSON or TOML file.
        settings: further settings by any of their names (`d_model=128`, `lr=1e-3`), over those of `config`.
        data, val_data, optimizer, model, loss: values of the configuration, or objects; see `assemble`.
        validation, metrics: parts of your own; see `assemble`. validation is another name of val_data.
        screen, quiet, on_signal: see `assemble`. With `on_signal="return"` a run that is stopped has a result too.

    Raises:
        TextmillError: naming what to put right.
        KeyboardInterrupt, SystemExit(143 or 129): after Ctrl-C, SIGTERM or SIGHUP, when the last state is saved.
    """
    given: dict[str, Any] = {**settings}
    if are_paths(data):
        given["data"], data = [str(path) for path in ([data] if isinstance(data, str | Path) else data)], None
    if "val_data" in given and not isinstance(given["val_data"], Mapping) and not are_paths(given["val_data"]):
        validation = given.pop("val_data")
    if isinstance(optimizer, str):
        given["optimizer"], optimizer = optimizer, None
    if isinstance(model, str):
        given["model"], model = model, None
    if isinstance(loss, str):
        given["loss"], loss = loss, None
    merged = load_config(*([] if config is None else [config]), **given)
    with assemble(
        merged,
        model=model,
        data=data,
        validation=validation,
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        screen=screen,
        quiet=quiet,
        on_signal=on_signal,
    ) as run:
        run_loop(run)
    return result_of(run)


class MetricsTracker:
    """Collects numbers for the next training report, which is a row of steps.jsonl and goes to all trackers."""

    def __init__(self) -> None:
        self._waiting: dict[str, float] = {}

    def update(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add these numbers to the next report. `step` is ignored: it is that of the report.

        A name such as `custom/margin` keeps its group in the trackers. Raises ConfigError for a built-in metric's name.
        """
        for name, value in metrics.items():
            if name in METRICS:
                raise ConfigError(f"the metric {name} has the name of a built-in one: choose another name")
            self._waiting[name] = float(value)

    def take(self) -> dict[str, float]:
        """Return what was collected, and forget it."""
        taken, self._waiting = self._waiting, {}
        return taken


class Trainer:
    """Trains a model of yours. Subclass it and override `_log_metrics` to report measurements of your own.

        class MarginTrainer(Trainer):
            def _log_metrics(self, loss: float) -> None:
                super()._log_metrics(loss)
                self.metrics_tracker.update({"custom/margin": margin(self.model)}, self.current_step)

    Attributes:
        model: the module in training, with its trained weights after `train`.
        config: the settings, a Config of its own.
        current_step: optimizer steps taken at the latest report.
        metrics_tracker: takes further numbers for the next report.
        run: the live parts while training is under way, and afterwards; None before.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        train_dataset: Any = None,
        val_dataset: Any = None,
        config: Settings | None = None,
        *,
        optimizer: OptimizerFactory | Optimizer | None = None,
        loss: LossFunction | None = None,
        metrics: Mapping[str, Metric] | None = None,
        screen: Screen | None = None,
        quiet: bool = False,
    ) -> None:
        """Nothing is opened or written yet.

        model: any module from ids (B, T) to logits (B, T, V); None for the one that `config` describes.
        train_dataset, val_dataset: what `assemble` takes as data; None for the text that `config` names.
        config: a TrainingConfig, a Config, a mapping, or a configuration file's path.
        The other parts are described at `assemble`.

        Raises:
            ConfigError: a setting is wrong, or the rows of a dataset are longer than the model's context.
        """
        self.model = model
        self.train_dataset = train_dataset
        self.val_dataset = val_dataset
        self.config = load_config(*([] if config is None else [config]), shape_of(model, train_dataset, val_dataset))
        self.current_step = 0
        self.metrics_tracker = MetricsTracker()
        self.run: Run | None = None
        self._parts: dict[str, Any] = {"optimizer": optimizer, "loss": loss, "metrics": metrics}
        self._parts |= {"screen": screen, "quiet": quiet}

    def train(self) -> TrainingResult:
        """Train as configured, and return how it went. Raises TextmillError, as `assemble` does."""
        with assemble(
            self.config, model=self.model, data=self.train_dataset, validation=self.val_dataset, **self._parts
        ) as run:
            self.run, self.model = run, run.model
            run_loop(run, self._report)
        return result_of(run)

    def _log_metrics(self, loss: float) -> None:
        """Called at every training report (see `logging_steps`) with the mean training loss since the last one.

        The report contains the loss and everything else that textmill measures: an override only adds its own numbers.
        """

    def _report(self, step: Step) -> dict[str, Any]:
        """Return the row of a training report with the numbers of the subclass."""
        self.current_step = step.number
        row = step.measured()
        self._log_metrics(row["train_loss"])
        return {**row, **self.metrics_tracker.take()}


def train_model(
    model: nn.Module,
    dataset: Any,
    config: Settings | None = None,
    *,
    val_dataset: Any = None,
    **parts: Any,
) -> TrainingResult:
    """Train `model` on `dataset` as `config` says; the same as `Trainer(...).train()`, whose arguments these are."""
    return Trainer(model, dataset, val_dataset, config, **parts).train()

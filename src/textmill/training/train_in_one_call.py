"""Training as one call: from a configuration to the folder of a trained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from textmill.config import Config, load_config
from textmill.config.section import Section
from textmill.console.screen import Screen
from textmill.data.sources.one_time_texts import are_paths
from textmill.evaluation.metrics import Metric
from textmill.optim.optimizer_choice import OptimizerFactory
from textmill.training.assemble import assemble
from textmill.training.loop import run_loop
from textmill.training.result import TrainingResult, result_of
from textmill.training.run import LossFunction


def train(
    config: Config | Section | Mapping[str, Any] | str | Path | None = None,
    *,
    model: nn.Module | None = None,
    data: Any = None,
    validation: Any = None,
    optimizer: OptimizerFactory | str | None = None,
    loss: LossFunction | None = None,
    metrics: Mapping[str, Metric] | None = None,
    screen: Screen | None = None,
    **settings: Any,
) -> TrainingResult:
    """Train a model as `config` and `settings` say, and return how it went.

        result = textmill.train(data="book.txt", tokenizer="char", max_time="5m")
        print(result.best_val_loss, result.output_dir)

    Settings that are not given come from a preset that fits the machine and the text, as on the command line; without
    `data` the text is Python's own source code. The run is written to `output_dir`, by default runs/experiment_N.

    Args:
        config: a Config, one section of it, a mapping, or the path of a YAML, JSON or TOML file.
        settings: further settings by any of their names (`d_model=128`, `lr=1e-3`), over those of `config`.
        data, val_data, optimizer: values of the configuration, or objects.
        model, validation, loss, metrics: parts of your own; see `assemble`. validation is another name of val_data.
        screen: where progress goes, by default standard output; `Screen(quiet=True)` prints nothing.

    Raises:
        TextmillError: naming what to put right.
    """
    if are_paths(data):
        settings["data"], data = [str(path) for path in ([data] if isinstance(data, str | Path) else data)], None
    if "val_data" in settings and not isinstance(settings["val_data"], Mapping) and not are_paths(settings["val_data"]):
        validation = settings.pop("val_data")
    if isinstance(optimizer, str):
        settings["optimizer"], optimizer = optimizer, None
    merged = load_config(*([] if config is None else [config]), **settings)
    with assemble(
        merged,
        model=model,
        data=data,
        validation=validation,
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        screen=screen,
    ) as run:
        run_loop(run)
    return result_of(run)

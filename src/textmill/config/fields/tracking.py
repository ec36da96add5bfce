"""Who is told about the run besides the files in its folder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from textmill.config.section import Section
from textmill.config.values import MaybeName, MaybePlace, MaybeText, comma_separated, one_of

Reporter = Literal["tensorboard", "wandb", "mlflow"]


class TrackingConfig(Section):
    """Where the metrics go."""

    report_to: Annotated[list[Reporter], BeforeValidator(comma_separated(one_of(Reporter)))] = Field(
        default_factory=list
    )
    """Trackers: tensorboard, wandb, mlflow."""
    log_dir: MaybePlace = None
    """Folder for TensorBoard. Unset: logs in the output folder."""
    wandb_project: MaybeText = None
    """Project on Weights & Biases."""
    run_name: MaybeName = None
    """Name of the run, for trackers and for the output folder runs/NAME."""

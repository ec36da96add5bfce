"""The section `tracking`: where the metrics go besides the files in the run folder."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from textmill.config.field_types import Fields, MaybeName, MaybePath, MaybeText, comma_separated, one_of

Reporter = Literal["tensorboard", "wandb", "mlflow"]


class TrackingFields(Fields):
    """Where the metrics go."""

    report_to: Annotated[list[Reporter], BeforeValidator(comma_separated(one_of(Reporter)))] = Field(
        default_factory=list
    )
    """Trackers: tensorboard, wandb, mlflow."""
    log_dir: MaybePath = None
    """TensorBoard folder. Unset: logs in the run folder."""
    wandb_project: MaybeText = None
    """Weights & Biases project."""
    run_name: MaybeName = None
    """Name of the run, for trackers and for the run folder runs/NAME."""

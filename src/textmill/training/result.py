"""What a finished training run returns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.files import retry_stale
from textmill.runs import layout
from textmill.training.run import LEFT, Run


@dataclass(frozen=True)
class TrainingResult(Mapping[str, Any]):
    """How a run ended. Every value is an attribute and a key; losses are nats per token, None if never measured.

    stop_reason: `finished`, `early stopping`, `max_time`, or a signal's name. exit_code: that of the command.
    training_time: seconds of training, evaluation and saving, over all sessions of the run.
    """

    output_dir: Path
    final_model: Path
    best_model: Path | None
    final_train_loss: float | None
    final_val_loss: float | None
    best_val_loss: float | None
    best_step: int | None
    total_steps: int
    total_epochs: float
    total_tokens: int
    training_time: float
    stop_reason: str
    exit_code: int = 0

    def __repr__(self) -> str:
        shown = {name: str(value) if isinstance(value, Path) else value for name, value in self.items()}
        return "\n".join(["TrainingResult(", *(f"    {name}={value!r}," for name, value in shown.items()), ")"])

    def __getitem__(self, key: str) -> Any:
        return vars(self)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))


def result_of(run: Run) -> TrainingResult:
    """Return how a finished run went."""
    progress = run.progress
    best = run.folder / layout.BEST_MODEL
    return TrainingResult(
        output_dir=run.folder,
        final_model=run.folder / layout.FINAL,
        best_model=best if retry_stale(best.is_dir) else None,
        final_train_loss=progress.last_train_loss,
        final_val_loss=progress.last_val_loss,
        best_val_loss=progress.best_val_loss,
        best_step=progress.best_step,
        total_steps=progress.step,
        total_epochs=progress.step * run.length.rows_per_step / run.length.rows_per_epoch,
        total_tokens=progress.tokens,
        training_time=progress.elapsed_seconds,
        stop_reason=run.stop_reason or LEFT,
        exit_code=128 + run.signal if run.signal is not None else 0,
    )

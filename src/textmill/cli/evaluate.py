"""textmill evaluate: how good a model is on a text."""

from __future__ import annotations

import json as json_format
import math
import sys
from typing import Annotated

from cyclopts import Parameter

_UNITS = {"loss": "nats per token", "bits_per_byte": "bits per byte of text"}


def evaluate(
    model: Annotated[str, Parameter(name=["MODEL", "--model"])],
    *data: Annotated[str, Parameter(name="DATA")],
    batch_size: int = 16,
    eval_batches: int | None = None,
    device: str = "auto",
    text_column: str = "text",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure a model: loss, perplexity, bits per byte, accuracy.

    Parameters
    ----------
    model
        A run, a checkpoint (RUN/best, RUN/step-500), or any Hugging Face folder of a supported architecture.
    data
        Text to measure on: files, folders, patterns. Without it, the validation text of the model's run.
    batch_size
        Rows per batch; the result does not depend on it.
    eval_batches
        Measure on this many batches only.
    device
        auto, cpu, cuda, cuda:N or mps.
    text_column
        Field that holds the text in JSON Lines, CSV and Parquet.
    json
        Print JSON.
    """
    from textmill.engine.world import choose_device
    from textmill.evaluation import evaluate_model
    from textmill.training.signals import SignalFlag

    with SignalFlag() as signals:
        measured = evaluate_model(
            model,
            list(data) or None,
            batch_size=batch_size,
            limit=eval_batches,
            device=choose_device(device),
            text_column=text_column,
            say=lambda sentence: print(sentence, file=sys.stderr),
            interrupted=signals.interrupted,
        )
        signals.check()
    if json:
        finite = {name: value if math.isfinite(value) else None for name, value in measured.items()}
        print(json_format.dumps(finite, indent=2))
        return
    for name, value in measured.items():
        shown = f"{value:,.0f}" if name == "tokens" else f"{value:.4f}"
        print(f"{name.replace('_', ' '):<16} {shown:>12}  {_UNITS.get(name, '')}".rstrip())

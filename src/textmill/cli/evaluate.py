"""textmill evaluate: how good a model is on a text."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from textmill.cli.help_pages import CacheDir, Device, Encoding, FileFormat, Json, Model, RunsSeparator, RunsTextColumn
from textmill.config.fields.training import Precision
from textmill.console.screen import waiting
from textmill.console.standard_streams import write, write_json

_UNITS = {"loss": "nats per token", "bits_per_byte": "of the text"}


def evaluate(
    model: Model,
    /,
    *data: Annotated[str | Path, Parameter(name="DATA")],
    batch_size: int | None = None,
    max_seq_len: int | None = None,
    device: Device = "auto",
    precision: Annotated[str | Precision, Parameter(metavar="NAME", show_choices=False)] = "auto",
    text_column: RunsTextColumn = None,
    min_length: int = 0,
    format: FileFormat = None,
    encoding: Encoding = "utf-8",
    document_separator: RunsSeparator = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Measure a model: loss, perplexity, bits per byte, accuracy.

    Parameters
    ----------
    data
        Text to measure on: files, folders, patterns. Unset: the validation text of the model's run.
    batch_size
        Rows per batch; the result does not depend on it. Unset: about 8,192 tokens.
    max_seq_len
        Tokens that the model sees at once. Unset: as many as it was trained on.
    precision
        auto, fp32, bf16 or fp16.
    min_length
        Leave out shorter documents, in characters.

    Examples
    --------
    textmill evaluate runs/book
    textmill evaluate runs/book other.txt --json
    """
    with waiting("loading the model") as screen:
        from textmill.evaluation import evaluate_model
        from textmill.training.signals import SignalFlag

        with SignalFlag() as signals:
            measured = evaluate_model(
                model,
                list(data) or None,
                batch_size=batch_size,
                max_seq_len=max_seq_len,
                device=device,
                precision=precision,
                **_how(text_column, document_separator, min_length=min_length, format=format, encoding=encoding),
                cache_dir=cache_dir,
                say=screen.say,
                reading=screen.preparing,
                progress=screen.evaluating,
                interrupted=signals.check,
            )
            signals.check()
    if json:
        write_json(measured)
    else:
        _print(measured)


def _print(measured: dict[str, float]) -> None:
    for name, value in measured.items():
        shown = f"{value:,.0f}" if name == "tokens" else f"{value:.4f}"
        write(f"{name.replace('_', ' '):<16} {shown:>12}  {_UNITS.get(name, '')}".rstrip())


def _how(text_column: str | None, document_separator: str | None, **others: Any) -> dict[str, Any]:
    """Return how text is read; what the run has, and was not given, is left out."""
    if text_column is not None:
        others["text_column"] = text_column
    if document_separator is not None:
        others["document_separator"] = None if document_separator == "none" else document_separator
    return others

"""textmill evaluate: how good a model is on a text."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from textmill.cli.help_pages import (
    Builder,
    CacheDir,
    Device,
    Encoding,
    FileFormat,
    Json,
    Model,
    RunsNewlines,
    RunsSeparator,
    RunsTextColumn,
)
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
    newlines: RunsNewlines = None,
    cache_dir: CacheDir = None,
    max_unknown: float = 0.01,
    builder: Builder = None,
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
    max_unknown
        Largest share of the text's characters that the tokenizer may not know; more is refused.

    Examples
    --------
    textmill evaluate runs/book
    textmill evaluate runs/book other.txt --json
    """
    how = _how(text_column, document_separator, newlines)
    how |= {"min_length": min_length, "format": format, "encoding": encoding, "cache_dir": cache_dir}
    how |= {"max_unknown": max_unknown}
    on = {"batch_size": batch_size, "max_seq_len": max_seq_len, "device": device, "precision": precision}
    measured = _measured(model, list(data) or None, builder, how | on)
    if json:
        write_json(measured)
    else:
        _print(measured)


def _measured(
    model: Any, data: list[str | Path] | None, builder: str | None, settings: dict[str, Any]
) -> dict[str, float]:
    """Return the metrics of the model; show what is under way."""
    with waiting("loading the model") as screen:
        from textmill.evaluation import evaluate_model
        from textmill.training.signals import SignalFlag

        with SignalFlag() as signals:
            if builder is not None:
                from textmill.checkpoint.model_folder import load_model
                from textmill.machine.device_choice import choose_device

                model = load_model(model, choose_device(settings["device"]), builder=builder, say=screen.say)
            measured = evaluate_model(
                model,
                data,
                say=screen.say,
                reading=screen.preparing,
                progress=screen.evaluating,
                interrupted=signals.check,
                **settings,
            )
            signals.check()
    return measured


def _print(measured: dict[str, float]) -> None:
    for name, value in measured.items():
        shown = f"{value:,.0f}" if name == "tokens" else f"{value:.4f}"
        write(f"{name.replace('_', ' '):<16} {shown:>12}  {_UNITS.get(name, '')}".rstrip())


def _how(text_column: str | None, document_separator: str | None, newlines: str | None) -> dict[str, Any]:
    """Return how text is read; what the run has, and was not given, is left out."""
    given = {"text_column": text_column, "newlines": newlines}
    others: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if document_separator is not None:
        others["document_separator"] = None if document_separator == "none" else document_separator
    return others

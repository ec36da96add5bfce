"""Measuring a stored model: on the validation text of its run, or on any text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from textmill.checkpoint.model_folder import Loaded, load_model
from textmill.config import load_config
from textmill.data.batches.loader import Rows, eval_batches, separates_documents
from textmill.data.reading.document import Reading
from textmill.data.store.shards import TokenStore
from textmill.errors import ConfigError, DataError
from textmill.evaluation.evaluate_batches import evaluate
from textmill.evaluation.evaluation_text import TextReader
from textmill.evaluation.metrics import Metric
from textmill.machine.device_choice import choose_device
from textmill.machine.precision import choose_precision
from textmill.runs.layout import run_of

_TOKENS_AT_ONCE = 8192
_LOGITS_AT_ONCE = 2**28


def evaluate_model(
    model: str | Path | Loaded,
    data: Any = None,
    *,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    metrics: Mapping[str, Metric] | None = None,
    text_column: str = "text",
    min_length: int = 0,
    encoding_errors: str = "strict",
    cache_dir: str | Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    reading: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], bool | None] | None = None,
) -> dict[str, float]:
    """Return the metrics of a stored model (see `evaluate`) on the whole of `data`.

    Args:
        model: what `load_model` takes or returned.
        data: what `prepare` takes, all of whose text is scored; None for the validation text of the run that the
            model belongs to. Arrays of ids (.npy) need no tokenizer and give no bits per byte.
        batch_size: rows scored at once; None for about 8,192 tokens. It does not change the result.
        device, precision: where and in which number format; see `choose_device` and `choose_precision`.
        metrics: further metrics by name.
        text_column, min_length, encoding_errors, cache_dir: how text is read; see `prepare`.
        say: is told each thing worth knowing, one sentence per call.
        reading: is told (bytes, bytes in all) while text is turned into ids.
        progress: is told (targets, targets in all) while they are scored.
        interrupted: asked before every batch; see `evaluate`.

    Raises:
        ConfigError: `data` is None and the model is not part of a run, or it has no tokenizer for text.
        MissingInputError, DataError: model or data cannot be read, or do not belong together.
    """
    on = choose_device(device)
    loaded = model if isinstance(model, Loaded) else load_model(model, on, say=say)
    reader = TextReader(loaded, Reading(text_column, encoding_errors, min_length), cache_dir, say, reading)
    stores = [reader.validation_of_run()] if data is None else reader.all_of(data)
    batches = _batches(stores, loaded, batch_size)
    total = sum(part.num_targets for part in batches)
    return evaluate(
        loaded.model,
        chain.from_iterable(batches),
        metrics,
        num_bytes=sum(store.num_bytes for store in stores) or None,
        autocast=choose_precision(precision, on).autocast,
        interrupted=interrupted,
        progress=(lambda done: progress(done, total)) if progress is not None else None,
    )


def _batches(stores: Sequence[TokenStore], loaded: Loaded, batch_size: int | None) -> list[eval_batches]:
    """Return the batches of each store, with documents hidden from each other where training hid them."""
    config = loaded.model.config
    vocab_size = config.vocab_size or 0
    for store in stores:
        if store.max_id >= vocab_size:
            raise DataError(f"the data contain the id {store.max_id}, and the model accepts ids 0 to {vocab_size - 1}")
    if batch_size is None:
        length = config.max_seq_len
        batch_size = max(1, min(_TOKENS_AT_ONCE // length, _LOGITS_AT_ONCE // (length * vocab_size)))
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    run = run_of(loaded.path)
    data = load_config(run).data if run is not None else None
    mask = data is not None and (data.mask_documents or not data.pack_sequences)
    return [
        eval_batches(Rows(store, config.max_seq_len, mask_documents=mask and separates_documents(store)), batch_size)
        for store in stores
    ]

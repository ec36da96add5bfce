"""Evaluate a stored model on the validation set of its run, or on any text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from textmill import files
from textmill.checkpoint.model_folder import Loaded, load_model
from textmill.config import load_config
from textmill.data.batches.loader import Rows, eval_batches, separates_documents
from textmill.data.prepare import prepare_corpus
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.tokenizer_choice import LEARNED
from textmill.data.reading.document import Reading
from textmill.data.sources.one_time_texts import Keeper
from textmill.data.store.corpus import Corpus, open_corpus
from textmill.data.store.token_shards import TokenStore
from textmill.errors import ConfigError, DataError
from textmill.evaluation.evaluate_batches import evaluate
from textmill.evaluation.metrics import Metric
from textmill.machine.device_choice import choose_device
from textmill.machine.precision import choose_precision
from textmill.runs import layout
from textmill.runs.layout import is_prepared, run_of

Paths = Sequence[str | Path] | str | Path

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
        model: whatever `load_model` accepts or returned.
        data: whatever `prepare` accepts; all of its text is scored. None for the validation set of the model's run.
            Arrays of ids (.npy) need no tokenizer and have no bits per byte.
        batch_size: rows per batch; None for about 8,192 tokens. Does not change the result.
        device, precision: see `choose_device` and `choose_precision`.
        metrics: additional metrics by name.
        text_column, min_length, encoding_errors, cache_dir: how text is read; see `prepare`.
        say: called with a sentence about anything worth knowing.
        reading: called with (bytes, total bytes) while text is prepared.
        progress: called with (targets, total targets) during evaluation.
        interrupted: called before every batch; see `evaluate`.

    Raises:
        ConfigError: `data` is missing and the model belongs to no run, or it has no tokenizer for text.
        MissingInputError, DataError: model or data cannot be read, or do not fit each other.
    """
    target = choose_device(device)
    loaded = model if isinstance(model, Loaded) else load_model(model, target, say=say)
    run = run_of(loaded.path)
    if data is None:
        stores = [_validation_of_run(run, loaded, say, reading)]
    else:
        items = Keeper(text_column, cache_dir, say).keep(data) or []
        how = Reading(text_column, encoding_errors, min_length)
        stores = _stores_of(items, loaded, how, cache_dir=cache_dir, say=say, progress=reading)
    batches = _batches(stores, loaded, batch_size, run)
    total = sum(part.num_targets for part in batches)
    return evaluate(
        loaded.model,
        chain.from_iterable(batches),
        metrics,
        num_bytes=sum(store.num_bytes for store in stores) or None,
        autocast=choose_precision(precision, target).autocast,
        interrupted=interrupted,
        progress=(lambda done: progress(done, total)) if progress is not None else None,
    )


def _stores_of(
    items: Sequence[str | Path],
    loaded: Loaded,
    reading: Reading,
    *,
    cache_dir: str | Path | None,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None,
) -> list[TokenStore]:
    """Return the token stores of all text in `items`, with the model's tokenizer."""
    if loaded.tokenizer is None and not all(str(i).lower().endswith(".npy") or is_prepared(Path(i)) for i in items):
        raise ConfigError(f"the model in {loaded.path} has no tokenizer: evaluate it on ids (.npy)")
    settings = PrepareSettings(
        data=items, val_split=0.0, tokenizer=loaded.tokenizer or "byte", reading=reading, cache_dir=cache_dir
    )
    corpus = prepare_corpus(settings, say=say, progress=progress)
    _check_same_tokenizer(corpus, loaded)
    return [corpus.train] + ([corpus.validation] if corpus.validation is not None else [])


def _validation_of_run(
    run: Path | None, loaded: Loaded, say: Callable[[str], None], reading: Callable[[int, int], None] | None
) -> TokenStore:
    """Return the run's validation set, from its token store or, if that is gone, from its text."""
    if run is None:
        raise ConfigError(f"{loaded.path} belongs to no run, so it has no validation set: give the data to evaluate on")
    made_with = files.read_json(run / layout.ENVIRONMENT)
    store = Path(str(made_with.get("store", "")))
    if made_with.get("store") and is_prepared(store):
        corpus = open_corpus(store)
    else:
        say("the token store of the run is gone: its text is prepared again")
        corpus = _prepared_again(run, loaded, say, reading)
    fingerprint = made_with.get("identity", {}).get("data")
    if fingerprint is not None and corpus.fingerprint != fingerprint:
        raise DataError(f"the data of {run} has changed since training: give the data to evaluate on")
    _check_same_tokenizer(corpus, loaded)
    if corpus.validation is None:
        raise ConfigError(f"{run} has no validation set: give the data to evaluate on")
    return corpus.validation


def _prepared_again(
    run: Path, loaded: Loaded, say: Callable[[str], None], reading: Callable[[int, int], None] | None
) -> Corpus:
    settings, made = PrepareSettings.of(load_config(run)), loaded.tokenizer
    if made is not None and not (settings.tokenizer in LEARNED and settings.tokenizer == made.kind):
        settings = replace(settings, tokenizer=made, special_tokens=())  # the given folder may be gone
    return prepare_corpus(settings, say=say, progress=reading)


def _check_same_tokenizer(corpus: Corpus, loaded: Loaded) -> None:
    """Raise DataError if the corpus was prepared with another tokenizer than the model's."""
    if corpus.tokenizer is None or loaded.tokenizer is None:
        return
    if corpus.tokenizer.fingerprint != loaded.tokenizer.fingerprint:
        raise DataError(f"{corpus.folder} was prepared with another tokenizer than that of the model in {loaded.path}")


def _batches(
    stores: Sequence[TokenStore], loaded: Loaded, batch_size: int | None, run: Path | None
) -> list[eval_batches]:
    config = loaded.model.config
    vocab_size = config.vocab_size or 0
    for store in stores:
        if store.max_id >= vocab_size:
            raise DataError(f"the data contains the id {store.max_id}, and the model accepts 0 to {vocab_size - 1}")
    if batch_size is None:
        length = config.max_seq_len
        batch_size = max(1, min(_TOKENS_AT_ONCE // length, _LOGITS_AT_ONCE // (length * vocab_size)))
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    data = load_config(run).data if run is not None else None
    mask = data is not None and (data.mask_documents or not data.pack_sequences)  # as training measured it
    return [
        eval_batches(Rows(store, config.max_seq_len, mask_documents=mask and separates_documents(store)), batch_size)
        for store in stores
    ]

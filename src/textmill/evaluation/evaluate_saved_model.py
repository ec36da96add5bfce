"""Evaluate a stored model on the validation set of its run, or on any text."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from textmill.checkpoint.model_folder import Loaded, load_model
from textmill.checkpoint.saved_settings import read_settings_of_model
from textmill.config import Config, DataConfig
from textmill.data.batches.loader import Rows, eval_batches, separates_documents
from textmill.data.batches.text_size import is_tokenized
from textmill.data.prepare import prepare_corpus
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.tokenizer_choice import LEARNED
from textmill.data.preparing.unknown_text import DEFAULT_MAX_UNKNOWN
from textmill.data.reading.document import Reading
from textmill.data.sources.foreign_settings import refuse_code_of_run, settle_cache_dir
from textmill.data.sources.one_time_texts import Keeper, refuse_lost
from textmill.data.store.corpus import Corpus, open_corpus
from textmill.data.store.token_shards import TokenStore
from textmill.errors import ConfigError, DataError, NonFiniteError
from textmill.evaluation.evaluate_batches import Unknown, evaluate
from textmill.evaluation.metrics import Metric
from textmill.machine.device_choice import choose_device
from textmill.machine.kernel_choices import limit_threads
from textmill.machine.precision import choose_precision, float32_products
from textmill.planning.logits import EVALUATION_LOGITS
from textmill.runs import layout
from textmill.runs.layout import is_prepared, run_of
from textmill.runs.read_run import read_environment
from textmill.runs.recorded_files import damage

Paths = Sequence[str | Path] | str | Path

_TOKENS_AT_ONCE = 8192


def evaluate_model(
    model: str | Path | Loaded,
    data: Any = None,
    *,
    batch_size: int | None = None,
    max_seq_len: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    metrics: Mapping[str, Metric] | None = None,
    cache_dir: str | Path | None = None,
    max_unknown: float = DEFAULT_MAX_UNKNOWN,
    say: Callable[[str], None] = lambda sentence: None,
    reading: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], bool | None] | None = None,
    **how: Any,
) -> dict[str, float]:
    """Return the metrics of a stored model (see `evaluate`) on the whole of `data`.

    Args:
        model: what `load_model` accepts or returned.
        data: whatever `prepare` accepts; all of its text is scored. None for the validation set of the model's run.
            Arrays of ids (.npy, .bin) need no tokenizer and have no bits per byte. Where the model belongs to a run, an
            EOS token follows every document exactly if one did in training.
        batch_size: rows per batch; None for about 8,192 tokens. Does not change the result.
        max_seq_len: tokens that the model sees at once, at most those of the text; None: as many as it was trained on.
        device, precision, interrupted: see `choose_device`, `choose_precision` and `evaluate`. metrics: more, by name.
        cache_dir: where prepared text is kept; None: the user's cache. say: called with what is worth knowing.
        max_unknown: the largest share of the characters of `data` that the tokenizer may not know.
        reading, progress: called with (bytes, total bytes) of text prepared, and with (targets, total) evaluated.
        how: text is read, as for `prepare`: see `Reading`. Column, separator and line ends are the run's unless given.

    Raises:
        ConfigError: `data` is missing and the model belongs to no run, or it has no tokenizer for text.
        MissingInputError, DataError, NonFiniteError: model or data cannot be read or used together; the loss is NaN.
    """
    limit_threads()
    target = choose_device(device)
    loaded = model if isinstance(model, Loaded) else load_model(model, target, say=say)
    run = run_of(loaded.path)
    trained_with = _trained_with(run, say) if run else None
    if data is None:
        stores = [_validation_of_run(run, trained_with, loaded, cache_dir, say, reading)]
    else:
        settings = _settings(data, run, loaded, _reading_of(trained_with, how), cache_dir, say)
        stores = _stores_of(replace(settings, max_unknown=max_unknown), loaded, say, reading)
    batches = _batches(stores, loaded, batch_size, max_seq_len, trained_with)
    total = sum(part.num_targets for part in batches)
    with float32_products(chosen := choose_precision(precision, target)):
        measured = evaluate(
            loaded.model,
            chain.from_iterable(batches),
            metrics,
            num_bytes=sum(store.num_bytes for store in stores) or None,
            unknown=Unknown.of(loaded.tokenizer),
            autocast=chosen.autocast,
            interrupted=interrupted,
            progress=(lambda done: progress(done, total)) if progress is not None else None,
        )
    return _finite(measured, loaded.path)


def _trained_with(run: Path, say: Callable[[str], None]) -> Config:
    """Return the settings of the run; say so if what it was made with is not known any more."""
    if changed := damage(run).get(layout.ENVIRONMENT):
        say(f"{changed}, and is not used")
    return read_settings_of_model(run, say)


def _finite(measured: dict[str, float], model: Path) -> dict[str, float]:
    if not math.isfinite(measured["loss"]):
        raise NonFiniteError(
            f"the loss of the model in {model} is {measured['loss']}: its weights are finite but too large"
        )
    return measured


def _settings(
    data: Any,
    run: Path | None,
    loaded: Loaded,
    how: Reading,
    cache_dir: str | Path | None,
    say: Callable[[str], None],
) -> PrepareSettings:
    """Return how `data` is prepared: all for one side, with the model's tokenizer, documents ended as in training."""
    return PrepareSettings(
        data=Keeper(how.text_column, cache_dir, say, format=how.format, encoding=how.encoding).keep(data) or [],
        val_split=0.0,
        tokenizer=loaded.tokenizer or "bpe",
        vocab_size=loaded.model.config.vocab_size if loaded.tokenizer is None else None,
        reading=how,
        cache_dir=cache_dir,
        ends_documents=_ended_documents(run),
    )


def _reading_of(trained_with: Config | None, how: Mapping[str, Any]) -> Reading:
    """Return how text is read: column, separator and line ends are those of the run, unless `how` has them."""
    data = trained_with.data if trained_with is not None else DataConfig()
    named = ("text_column", "document_separator", "newlines")
    return Reading(**{**{name: getattr(data, name) for name in named}, **how})


def _ended_documents(run: Path | None) -> bool | None:
    """Return whether an EOS token followed every document that the run was trained on; None if that is not known."""
    if run is None:
        return None
    made_with = read_environment(run)
    if "ends_documents" in made_with:
        return bool(made_with["ends_documents"])
    store = Path(made_with.get("store", ""))  # of a run before that was recorded
    return open_corpus(store).train.eos_id is not None if is_prepared(store) else None


def _stores_of(
    settings: PrepareSettings, loaded: Loaded, say: Callable[[str], None], reading: Callable[[int, int], None] | None
) -> list[TokenStore]:
    """Return the token stores of all the text, with the model's tokenizer."""
    if loaded.tokenizer is None and not is_tokenized(settings):
        raise ConfigError(f"the model in {loaded.path} has no tokenizer: evaluate it on ids (.npy, .bin)")
    corpus = prepare_corpus(settings, say=say, progress=reading)
    _check_same_tokenizer(corpus, loaded)
    return [corpus.train] + ([corpus.validation] if corpus.validation is not None else [])


def _validation_of_run(
    run: Path | None,
    trained_with: Config | None,
    loaded: Loaded,
    cache_dir: str | Path | None,
    say: Callable[[str], None],
    reading: Callable[[int, int], None] | None,
) -> TokenStore:
    """Return the run's validation set, from its token store or, if that is gone, from its text."""
    if run is None or trained_with is None:
        raise ConfigError(f"{loaded.path} belongs to no run, so it has no validation set: give the data to evaluate on")
    made_with = read_environment(run)
    if not made_with:
        state = "is damaged" if (run / layout.ENVIRONMENT).exists() else "is missing"
        say(f"{run / layout.ENVIRONMENT} {state}: whether the data is still that of the training is not checked")
    store = Path(str(made_with.get("store", "")))
    corpus, state = None, "is gone"
    if made_with.get("store") and is_prepared(store):
        try:
            corpus = open_corpus(store, say=say)
        except DataError:  # one in the cache is made again, one that was named is refused
            state = "is damaged"
    if corpus is None:
        refuse_lost(
            (item for items in (trained_with.data.data, trained_with.data.val_data) for item in items or []),
            "Give the data to evaluate on",
        )
        if made_with.get("store"):
            say(f"the token store of the run {state}: its text is prepared again")
        if cache_dir is None:
            settle_cache_dir(trained_with, run, say)
        else:
            trained_with.data.cache_dir = str(cache_dir)
        refuse_code_of_run(trained_with, run)
        corpus = _prepared_again(trained_with, loaded, say, reading)
    fingerprint = made_with.get("identity", {}).get("data")
    if fingerprint is not None and corpus.fingerprint != fingerprint:
        raise DataError(f"the data of {run} has changed since training: give the data to evaluate on")
    _check_same_tokenizer(corpus, loaded)
    if corpus.validation is None:
        raise ConfigError(f"{run} has no validation set: give the data to evaluate on")
    return corpus.validation


def _prepared_again(
    trained_with: Config, loaded: Loaded, say: Callable[[str], None], reading: Callable[[int, int], None] | None
) -> Corpus:
    settings, made = PrepareSettings.of(trained_with), loaded.tokenizer
    if made is not None and not (settings.tokenizer in LEARNED and settings.tokenizer == made.kind):
        known = {"extend_vocab": False, "max_unknown": 1.0} if settings.extend_vocab else {}  # extended already
        settings = replace(settings, tokenizer=made, special_tokens=(), split_pattern=None, eos_token=None, **known)
    return prepare_corpus(settings, say=say, progress=reading)


def _check_same_tokenizer(corpus: Corpus, loaded: Loaded) -> None:
    """Raise DataError if the corpus was prepared with another tokenizer than the model's."""
    if corpus.tokenizer is None or loaded.tokenizer is None:
        return
    if corpus.tokenizer.fingerprint != loaded.tokenizer.fingerprint:
        raise DataError(f"{corpus.folder} was prepared with another tokenizer than that of the model in {loaded.path}")


def _batches(
    stores: Sequence[TokenStore],
    loaded: Loaded,
    batch_size: int | None,
    max_seq_len: int | None,
    trained_with: Config | None,
) -> list[eval_batches]:
    config = loaded.model.config
    vocab_size = config.vocab_size or 0
    for store in stores:
        if store.max_id >= vocab_size:
            raise DataError(f"the data contains the id {store.max_id}, and the model accepts 0 to {vocab_size - 1}")
    context = config.max_seq_len if max_seq_len is None else max_seq_len
    if not 1 <= context <= config.max_seq_len:
        raise ConfigError(f"max_seq_len is {max_seq_len}: the model in {loaded.path} takes 1 to {config.max_seq_len}")
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    data = trained_with.data if trained_with is not None else None
    on_gpu = next(loaded.model.parameters()).device.type == "cuda"
    mask = data is not None and (data.mask_documents or not data.pack_sequences)  # as training measured it
    batches = []
    for store in stores:
        length = min(context, max(store.num_tokens - 1, 1))
        fitting = max(1, min(_TOKENS_AT_ONCE // length, EVALUATION_LOGITS // (length * vocab_size)))
        rows = Rows(store, length, mask_documents=mask and separates_documents(store))
        batches.append(eval_batches(rows, batch_size or fitting, pin=on_gpu))
    return batches

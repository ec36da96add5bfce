"""From files to a prepared corpus, once: the result is kept under a hash of everything it depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.corpus_cache import already_there, cache_folder, cached, content_key
from textmill.data.preparing.corpus_report import write_report
from textmill.data.preparing.pipeline import build_from_ids, build_from_text
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.read_progress import Watch
from textmill.data.preparing.resume_preparing import Work, unfinished
from textmill.data.preparing.tokenizer_choice import TokenizerChoice
from textmill.data.reading.document import Reading
from textmill.data.reading.formats.bin import open_token_ids
from textmill.data.sources.file_formats import IDS, format_of
from textmill.data.sources.given_once import Keeper
from textmill.data.sources.hub import DEFAULT_VALIDATION
from textmill.data.sources.selection import Files, select_files
from textmill.data.store.corpus import FORMAT, Corpus, Made, describe, open_corpus
from textmill.data.store.mixture import Mixture, Part
from textmill.data.store.shards import TokenStore
from textmill.errors import ConfigError, DataError
from textmill.runs.layout import TOKENIZER, is_prepared
from textmill.tokenizers import Tokenizer


def prepare(
    data: Any,
    *,
    val_data: Any = None,
    val_split: float | None = None,
    tokenizer: str | Path | Tokenizer = "bpe",
    vocab_size: int | None = None,
    special_tokens: Sequence[str] = (),
    text_column: str = "text",
    min_length: int = 0,
    encoding_errors: str = "strict",
    dataset_split: str = "train",
    validation_split: str | None = DEFAULT_VALIDATION,
    cleaning: Cleaning | None = None,
    cache_dir: str | Path | None = None,
    output: str | Path | None = None,
    workers: int | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], None] | None = None,
) -> Corpus:
    """Return the token ids of `data`, from the cache when the same was prepared before.

    Args:
        data: files, folders, patterns, datasets, names of corpora (see `list_files`), `-` for standard input; one
            folder that `output` made earlier, used as it is; None for the source of Python's standard library. Files
            ending in .npy and .bin hold ids and are not mixed with text. Or texts of a program, which are kept in the
            cache: an iterable of strings or Documents (strings in a list or tuple are paths), a function that returns
            one, a torch Dataset, a Hugging Face dataset; or `package.module:attribute`, which names one.
        val_data: text to validate on; without it the datasets' own validation split, or a part of `data`. Several sets
            as `NAME=FILE`, of which the first is the main one.
        val_split: the share to split off, 0 for none. None is a tenth. A tenth, given or not, is enlarged where it
            would be less than two characters.
        tokenizer: "char", "byte", "bpe", a Tokenizer, or what `load_tokenizer` takes.
        vocab_size: for BPE the size to learn (None: by the size of the text); for others an upper bound to check.
        special_tokens: words that never split, for a new tokenizer.
        text_column: the field of JSON lines that holds the text.
        min_length: documents of fewer characters are passed over.
        encoding_errors: "strict", or "replace" for U+FFFD in place of bytes that are not UTF-8.
        dataset_split, validation_split: the splits of datasets to train and to validate on.
        cleaning: what is mended and left out; None for nothing.
        cache_dir: where prepared corpora are kept; None for the user's cache folder.
        output: make the prepared corpus here instead of in the cache.
        workers: threads that encode; None for one per core.
        say: hears each thing worth knowing, one sentence per call.
        progress: hears (bytes done, bytes in all) as files are read; a corpus is read two to four times.
        interrupted: called about every megabyte; to stop, it raises. What Interrupted or a kill ends goes on from where
            it was when it is asked for again.

    Raises:
        ConfigError: a setting is wrong or without effect; as RunExistsError, `output` holds something else.
        MissingInputError: a file is not there.
        DataError: a file cannot be used, or a side would have less than two tokens.
        CannotWriteError: the cache or `output` cannot be written.
    """
    settings = PrepareSettings(
        data=data,
        val_data=val_data,
        val_split=val_split,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        reading=Reading(text_column, encoding_errors, min_length),
        dataset_split=dataset_split,
        validation_split=validation_split,
        cleaning=cleaning or Cleaning(),
        cache_dir=cache_dir,
        workers=workers,
    )
    return prepare_corpus(settings, output=output, say=say, progress=progress, interrupted=interrupted)


def prepare_corpus(
    settings: PrepareSettings,
    *,
    output: str | Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], None] | None = None,
) -> Corpus:
    """Return the corpus that `settings` describe; see `prepare`, whose keywords they are."""
    val_split, cleaning = settings.val_split, settings.cleaning
    keeper = Keeper(settings.reading.text_column, settings.cache_dir, say, interrupted or (lambda: None))
    items, val_data = keeper.keep(settings.data), keeper.keep(settings.val_data, "val_data")
    if val_data and val_split:
        say("val_split has no effect beside val_data")
    if items is not None and len(items) == 1 and is_prepared(Path(items[0]).expanduser()):
        return _as_it_is(Path(items[0]).expanduser(), val_data, output, say)
    chosen = select_files(
        items,
        val_data,
        dataset_split=settings.dataset_split,
        validation_split=settings.validation_split,
        cache_dir=settings.cache_dir,
        say=say,
    )
    if val_split and chosen.validation and not val_data:
        say(f"val_split has no effect: the data have a split called {settings.validation_split}")
    ids = holds_ids(chosen)
    choice = TokenizerChoice(settings.tokenizer, settings.vocab_size, settings.special_tokens, for_ids=ids)
    if ids and chosen.weights:
        raise ConfigError("weights are for text, and the data are token ids: mix them before")
    if ids and cleaning != Cleaning():
        raise ConfigError("the data are token ids: they can be neither repaired nor sorted out")
    passes = 2 if ids else 3 + choice.learns
    watch = Watch(chosen.every(), passes, progress, interrupted)
    described = {"format": FORMAT, "tokenizer": choice.identity, "val_split": None if chosen.validation else val_split}
    described |= vars(settings.reading) | vars(cleaning)
    if chosen.weights:
        described["weights"] = [[weight, count] for _, weight, count in chosen.weights]
    if ids:  # how wide the ids of a .bin file are is not part of its content
        bound = choice.ready.vocab_size if choice.ready is not None else settings.vocab_size
        described["types"] = [open_token_ids(path, bound).dtype.str for path in chosen.every()]
    key = content_key(chosen, described, watch.tick, say)
    if output is not None:
        folder = Path(output).expanduser()
        corpus = already_there(folder, key)
    else:
        folder = cache_folder(settings.cache_dir, key)
        corpus = cached(folder, key, say)
    if corpus is None:
        with unfinished(folder, say) as work:
            made = _build(work, key, chosen, settings, choice, say, watch)
            watch.check_unchanged()
            describe(work.folder, key, described, made)
        corpus = open_corpus(folder)
    watch.finish()
    _check_bound(corpus, settings.vocab_size)
    return replace(corpus, sources=chosen.sources)  # the same content may have been prepared under other names


def _build(
    work: Work,
    key: str,
    chosen: Files,
    settings: PrepareSettings,
    choice: TokenizerChoice,
    say: Callable[[str], None],
    watch: Watch,
) -> Made:
    """The folder of `work` holds stores, tokenizer and report; return what else there is to say of them."""
    folder = work.folder
    notes: list[str] = []
    report: dict[str, Any] = {}
    parts: list[Part] = []

    def note(sentence: str) -> None:
        notes.append(sentence)
        say(sentence)

    if holds_ids(chosen):
        made = choice.ready
        bound = made.vocab_size if made is not None else settings.vocab_size
        build_from_ids(folder, chosen, val_split=settings.val_split, vocab_size=bound, tick=watch.tick)
        if made is None:
            note("the data is token ids without a tokenizer: no samples of text and no bits per byte")
    else:
        made, report, parts = build_from_text(
            work,
            key,
            chosen,
            settings.reading,
            choice,
            cleaning=settings.cleaning,
            val_split=settings.val_split,
            earlier=_earlier(work),
            workers=settings.workers,
            say=note,
            tell=say,
            watch=watch,
        )
        if parts:
            for sentence in Mixture(TokenStore.open(folder / "train"), parts).sentences():
                note(sentence)
        write_report(folder, report, notes)
    if made is not None:
        made.save(folder / TOKENIZER)
    return Made(made, chosen.sources, chosen.main, list(chosen.further), notes, report, parts)


def _earlier(work: Work) -> list[Path]:
    """Return the corpora that may hold text encoded before: what a stopped process left, and those that lie beside."""
    beside = (work.place or work.folder).parent
    found = [entry for entry in beside.iterdir() if is_prepared(entry)]
    return found if work.before is None else [work.before, *found]


def holds_ids(chosen: Files) -> bool:
    """Whether the files are arrays of ids. Raises DataError for a mixture of ids and text."""
    every = chosen.every()
    arrays = [path for path in every if format_of(path)[0] in IDS]
    if arrays and len(arrays) < len(every):
        other = next(path for path in every if format_of(path)[0] not in IDS)
        raise DataError(f"{arrays[0]} holds token ids and {other} does not: train on one kind or the other")
    return bool(arrays)


def _as_it_is(folder: Path, val_data: Any, output: Any, say: Callable[[str], None]) -> Corpus:
    if val_data or output is not None:
        raise ConfigError(f"{folder} is a prepared corpus: it takes neither other validation data nor an output folder")
    corpus = open_corpus(folder)
    for note in corpus.notes:
        say(note)
    return corpus


def _check_bound(corpus: Corpus, vocab_size: int | None) -> None:
    """Raise when the vocabulary of `corpus` is larger than the size that was asked for."""
    if vocab_size is None or corpus.vocab_size <= vocab_size:
        return
    if corpus.tokenizer is None:
        raise DataError(
            f"{corpus.sources[0]} holds id {corpus.vocab_size - 1}, which is outside vocab_size {vocab_size}"
        )
    raise ConfigError(
        f"vocab_size {vocab_size} is smaller than the {corpus.vocab_size:,} tokens of the {corpus.tokenizer.kind} "
        "tokenizer: leave it out"
    )

"""From files to a prepared corpus, once: it is kept under a hash of all that it depends on.

Here the rooms of data meet: files are selected (sources), prepared (preparing) and stored (store).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.copy_token_ids import prepare_ids
from textmill.data.preparing.corpus_cache_key import content_key, key_settings
from textmill.data.preparing.corpus_report import CANNOT_BE_READ, CorpusNotes, write_report
from textmill.data.preparing.pipeline import prepare_text
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.reading_progress import ReadProgress
from textmill.data.preparing.tokenizer_choice import TokenizerChoice
from textmill.data.preparing.train_and_validation import text_sets
from textmill.data.preparing.unknown_text import DEFAULT_MAX_UNKNOWN, refuse_unknown
from textmill.data.reading.document import END_OF_TEXT_LINES, Reading
from textmill.data.sources.file_extensions import IDS, format_of
from textmill.data.sources.file_rules import USUAL_RULES, FileRules
from textmill.data.sources.file_selection import Files, select_files
from textmill.data.sources.hub import DEFAULT_VALIDATION
from textmill.data.sources.one_time_texts import Keeper
from textmill.data.store.corpus import FORMAT, Corpus, Made, describe, open_corpus
from textmill.data.store.corpus_cache import find_corpus
from textmill.data.store.mixture import Mixture, mixture_parts
from textmill.data.store.token_shards import TokenStore
from textmill.data.store.unfinished_corpus import UnfinishedCorpus, one_at_a_time, unfinished
from textmill.errors import ConfigError, DataError
from textmill.files import expand_home
from textmill.files.cache_dir import naming_cache_dir
from textmill.runs.layout import TOKENIZER
from textmill.tokenizers import Tokenizer

Say = Callable[[str], None]


def prepare(
    data: Any,
    *,
    val_data: Any = None,
    val_split: float | None = None,
    split_by: str | None = None,
    tokenizer: str | Path | Tokenizer = "bpe",
    vocab_size: int | None = None,
    special_tokens: Sequence[str] = (),
    split_pattern: str | None = None,
    normalize: str | None = None,
    max_unknown: float = DEFAULT_MAX_UNKNOWN,
    extend_vocab: bool = False,
    fim_rate: float = 0.0,
    eos_token: str | None = None,
    text_column: str = "text",
    min_length: int = 0,
    format: str | None = None,
    encoding: str = "utf-8",
    encoding_errors: str = "strict",
    document_separator: str | None = END_OF_TEXT_LINES,
    newlines: str = "lf",
    rules: FileRules = USUAL_RULES,
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
            ending in .npy and .bin contain ids and cannot be mixed with text. Or texts of a program, which are kept in
            the cache: an iterable of strings or Documents (strings in a list or tuple are paths), a function that
            returns one, a torch or Hugging Face dataset; or `package.module:attribute`, which names one.
        val_data: text to validate on, or sets `NAME=FILE`, the main one first; None: one of the dataset, or a part.
        val_split: the share to split off, 0 for none. None is a tenth, or two characters where that is more.
        tokenizer: "char", "byte", "bpe", "unigram", a Tokenizer, or what `load_tokenizer` takes.
        split_by, vocab_size, fim_rate, special_tokens ... validation_split: see docs/configuration.md.
        cleaning: what is repaired and left out. workers: threads that encode; None for one per core. cache_dir: where
            corpora are kept; output: make it here instead. rules: what is read of folders. say: gets one sentence per
            call. progress: gets (bytes done, in all). interrupted: called each megabyte; raises to stop.

    Raises ConfigError (a setting), MissingInputError, DataError (a file), RunExistsError, CannotWriteError (`output`).
    """
    reading = Reading(text_column, encoding_errors, min_length, format, encoding, document_separator, newlines)
    settings = PrepareSettings(
        data=data, val_data=val_data, val_split=val_split, split_by=split_by, tokenizer=tokenizer,
        vocab_size=vocab_size, special_tokens=special_tokens, split_pattern=split_pattern, normalize=normalize,
        max_unknown=max_unknown, extend_vocab=extend_vocab, fim=fim_rate > 0, eos_token=eos_token, reading=reading,
        dataset_split=dataset_split, workers=workers, rules=rules, validation_split=validation_split,
        cleaning=cleaning or Cleaning(), cache_dir=cache_dir,
    )  # fmt: skip
    return prepare_corpus(settings, output=output, say=say, progress=progress, interrupted=interrupted)


def prepare_corpus(
    settings: PrepareSettings,
    *,
    output: str | Path | None = None,
    say: Say = lambda sentence: None,
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], None] | None = None,
) -> Corpus:
    """Return the corpus that `settings` describe; see `prepare`, whose keywords they are."""
    reading = settings.reading
    keeper = Keeper(
        reading.text_column, settings.cache_dir, say, interrupted or (lambda: None), reading.format, reading.encoding
    )
    kept, val_data = keeper.keep(settings.data), keeper.keep(settings.val_data, "val_data")
    settings = replace(settings, data=kept, val_data=val_data)
    try:
        return _prepare_files(settings, output, say, progress, interrupted)
    finally:
        if settings.cleaning.scrub is not None:
            keeper.forget()


def _prepare_files(
    settings: PrepareSettings,
    output: str | Path | None,
    say: Say,
    progress: Callable[[int, int], None] | None,
    interrupted: Callable[[], None] | None,
) -> Corpus:
    """Return the corpus of text that is in files by now."""
    if (ready := settings.prepared_folder) is not None:
        return _open_prepared(ready, settings, output, say)
    files = select_files(
        settings.data,
        settings.val_data,
        dataset_split=settings.dataset_split,
        validation_split=settings.validation_split,
        cache_dir=settings.cache_dir,
        rules=settings.rules,
        say=say,
    )
    _say_idle_share(settings, files, say)
    choice = _tokenizer_choice(settings, files)
    passes = 2 if choice.for_ids else 3 + choice.learns + settings.compares
    read_progress = ReadProgress(files.every(), passes, progress, interrupted)
    described = key_settings(FORMAT, files, settings, choice)
    key = content_key(files, described, settings.reading, read_progress.tick, say)
    output = None if output is None else expand_home(output)
    folder, corpus = find_corpus(key, output, settings.cache_dir, say)
    if corpus is None:
        found = folder.exists()  # damaged, then
        chosen = settings.cache_dir if output is None else output
        with naming_cache_dir(chosen), one_at_a_time(folder, say, interrupted or (lambda: None)) as turn:
            if turn.waited or folder.exists() > found:
                _, corpus = find_corpus(key, output, settings.cache_dir, say)
            if corpus is None:
                with unfinished(folder, key, turn) as destination:
                    made = _make(destination, files, settings, choice, read_progress, CorpusNotes(say))
                    read_progress.check_unchanged()
                    describe(destination.folder, key, described, made)
                corpus = open_corpus(folder)
    read_progress.finish()
    _check_bound(corpus, settings.vocab_size)
    for text_set in text_sets(files, settings.share):  # a corpus in the cache may have been asked for with more
        if found := corpus.report.get(text_set.name, {}).get("unknown"):
            refuse_unknown(text_set.title(alone=len(corpus.report) == 1), found, settings.max_unknown)
    return replace(corpus, sources=files.sources)  # the same content may have been prepared under other names


def _make(
    destination: UnfinishedCorpus,
    files: Files,
    settings: PrepareSettings,
    choice: TokenizerChoice,
    read_progress: ReadProgress,
    notes: CorpusNotes,
) -> Made:
    """Write stores, tokenizer and report of the corpus to `destination`; return what else describes it."""
    folder, tokenizer, report, parts = destination.folder, choice.ready, {}, []
    skipped = files.skipped.by_reason
    if choice.for_ids:
        prepare_ids(files, settings, choice.bound, destination, read_progress.tick)
        if tokenizer is None:
            notes.add("the data is token ids without a tokenizer: no samples of text and no bits per byte")
    else:
        tokenizer, report, sizes, odd = prepare_text(files, settings, choice, destination, read_progress, notes)
        parts = mixture_parts(files.weights, sizes)
        if parts:
            for sentence in Mixture(TokenStore.open(folder / "train"), parts).sentences():
                notes.add(sentence)
        skipped = {**skipped, **({CANNOT_BE_READ: list(odd.values())} if odd else {})}
        write_report(folder, report, notes.sentences, skipped)
    if tokenizer is not None:
        tokenizer.save_alone(folder / TOKENIZER)
    fingerprint = tokenizer.fingerprint if tokenizer is not None else None
    return Made(fingerprint, files.sources, files.main, list(files.further), report, parts, notes.sentences, skipped)


def _open_prepared(folder: Path, settings: PrepareSettings, output: str | Path | None, say: Say) -> Corpus:
    """Return the prepared corpus that was named instead of text."""
    if settings.val_data or output is not None:
        raise ConfigError(f"{folder} is a prepared corpus: it takes neither other validation data nor an output folder")
    corpus = open_corpus(folder, say=say)
    refuse_other_form(corpus, settings.normalize)
    for note in corpus.notes:
        say(note)
    return corpus


def refuse_other_form(corpus: Corpus, normalize: str | None) -> None:
    """Raise ConfigError if the text of a prepared corpus is not in the normal form that was asked for, if any was."""
    form = corpus.tokenizer.normal_form if corpus.tokenizer is not None else None
    if normalize not in (None, form):
        raise ConfigError(f"{corpus.folder} was prepared without --normalize {normalize}: prepare its text with it")


def _say_idle_share(settings: PrepareSettings, files: Files, say: Say) -> None:
    if settings.val_split and settings.val_data:
        say("val_split has no effect because val_data is given")
    elif settings.val_split and files.validation:
        say(f"val_split has no effect: the data has a split called {settings.validation_split}")


def _tokenizer_choice(settings: PrepareSettings, files: Files) -> TokenizerChoice:
    """Return the tokenizer of the settings. Raises ConfigError for settings that have no effect on token ids."""
    ids = contains_ids(files, settings.reading)
    choice = TokenizerChoice(
        settings.tokenizer,
        settings.vocab_size,
        settings.special_tokens,
        for_ids=ids,
        eos_token=settings.eos_token,
        split_pattern=settings.split_pattern,
        normalize=settings.normalize,
    )
    if ids and files.weights:
        raise ConfigError("weights are for text, and the data is token ids: mix the ids yourself")
    if ids and settings.cleaning != Cleaning():
        raise ConfigError("the data is token ids: documents can be neither repaired, scrubbed nor left out")
    choice = choice.extending() if settings.extend_vocab else choice
    return choice.filling_in() if settings.fim else choice


def contains_ids(files: Files, reading: Reading) -> bool:
    """Return whether the files are arrays of ids. Raises DataError for a mixture of ids and text."""
    every = files.every()
    arrays = [path for path in every if format_of(path, reading.format)[0] in IDS]
    if arrays and len(arrays) < len(every):
        other = next(path for path in every if path not in arrays)
        raise DataError(f"{arrays[0]} contains token ids and {other} does not: train on one kind or the other")
    return bool(arrays)


def _check_bound(corpus: Corpus, vocab_size: int | None) -> None:
    """Raise if the vocabulary of `corpus` is larger than vocab_size."""
    if vocab_size is None or corpus.vocab_size <= vocab_size:
        return
    if corpus.tokenizer is None:
        raise DataError(
            f"{corpus.sources[0]} contains the id {corpus.vocab_size - 1}, which is outside vocab_size {vocab_size}"
        )
    raise ConfigError(
        f"vocab_size {vocab_size} is smaller than the {corpus.vocab_size:,} tokens of the {corpus.tokenizer.kind} "
        "tokenizer: leave it out"
    )

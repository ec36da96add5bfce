"""From files to a prepared corpus, once: the result is kept under a hash of everything it depends on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from textmill import files
from textmill.data.build import Files, build_from_ids, build_from_text
from textmill.data.corpus import FORMAT, PREPARED, Corpus, describe, is_prepared, open_corpus
from textmill.data.read import JSON_LINES, Reading, open_file
from textmill.data.sources import default_corpus, list_files
from textmill.errors import ConfigError, DataError, MissingInputError, RunExistsError
from textmill.tokenizers import Tokenizer, load_tokenizer, make_byte, make_char, train_bpe

MOST_TEXT_FOR_BPE = 1 << 29
"""Characters. Of a larger training text BPE learns from parts spread evenly over it."""

_BLOCK = 1 << 20


def prepare(
    data: Sequence[str | Path] | str | Path | None,
    *,
    val_data: Sequence[str | Path] | str | Path | None = None,
    val_split: float | None = None,
    tokenizer: str | Path | Tokenizer = "bpe",
    vocab_size: int | None = None,
    special_tokens: Sequence[str] = (),
    text_column: str = "text",
    min_length: int = 0,
    encoding_errors: str = "strict",
    cache_dir: str | Path | None = None,
    output: str | Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], None] | None = None,
) -> Corpus:
    """Return the token ids of `data`, from the cache when the same was prepared before.

    Args:
        data: files, folders, patterns (see `list_files`); one folder that `output` made earlier, used as it is; None for
            the source of Python's standard library. Files ending in .npy hold ids and are not mixed with text.
        val_data: text to validate on; without it a part of `data` is split off.
        val_split: the share to split off, 0 for none. None means a tenth, enlarged where that is less than two characters.
        tokenizer: "char", "byte", "bpe", a Tokenizer, or what `load_tokenizer` takes.
        vocab_size: for BPE the size to learn (None: by the size of the text); for others an upper bound to check.
        special_tokens: further tokens of a new tokenizer.
        text_column: the field of JSON lines that holds the text.
        min_length: documents of fewer characters are passed over.
        encoding_errors: "strict", or "replace" for U+FFFD in place of bytes that are not UTF-8.
        cache_dir: where prepared corpora are kept; None for the user's cache folder.
        output: make the prepared corpus here instead of in the cache.
        say: hears each thing worth knowing, one sentence per call.
        progress: hears (bytes done, bytes in all) as files are read; a corpus is read two to four times.
        interrupted: called every few megabytes; to stop, it raises, and nothing is left behind.

    Raises:
        ConfigError: a setting is wrong, or `output` holds something else.
        MissingInputError: a file is not there.
        DataError: a file cannot be used, or a side would have less than two tokens.
        CannotWriteError: the cache or `output` cannot be written.
    """
    if val_split is not None and not 0 <= val_split < 1:
        raise ConfigError(f"val_split is {val_split}: give a share from 0 up to, not including, 1")
    items = [data] if isinstance(data, str | Path) else data
    if items is not None and len(items) == 1 and is_prepared(Path(items[0])):
        return _as_it_is(Path(items[0]), val_data, output, say)
    chosen = Files(
        default_corpus() if items is None else list_files(items, say),
        None if val_data is None else list_files(val_data, say),
    )
    ids = _holds_ids(chosen)
    reading = Reading(text_column, encoding_errors)
    maker = _TokenizerChoice(tokenizer, vocab_size, special_tokens, ids, say)
    watch = _Watch(chosen, passes=2 if ids else 2 + 1 + maker.learns, progress=progress, interrupted=interrupted)
    settings = {
        "format": FORMAT,
        "tokenizer": maker.identity,
        "val_split": val_split,
        "text_column": text_column,
        "min_length": min_length,
        "encoding_errors": encoding_errors,
    }
    key = _key(chosen, settings, watch.tick, say)
    folder = Path(output) if output is not None else _cache(cache_dir) / key[:32]
    known = _known(folder, key, output is not None, say)
    if known is None:
        said: list[str] = []
        with files.new_directory(folder) as temporary:
            made = _build(temporary, chosen, reading, min_length, val_split, maker, ids, _both(say, said.append), watch)
            watch.check_unchanged()
            describe(temporary, key, settings, made, [str(path.absolute()) for path in chosen.train], said)
        known = open_corpus(folder)
    watch.finish()
    maker.check_bound(known)
    return known


def _build(
    folder: Path,
    chosen: Files,
    reading: Reading,
    min_length: int,
    val_split: float | None,
    maker: _TokenizerChoice,
    ids: bool,
    say: Callable[[str], None],
    watch: _Watch,
) -> Tokenizer | None:
    if ids:
        build_from_ids(folder, chosen, val_split=val_split, vocab_size=maker.bound, tick=watch.tick)
        made = maker.ready
        if made is None:
            say("the data is token ids without a tokenizer: there will be no samples of text and no bits per byte")
    else:
        made = build_from_text(
            folder,
            chosen,
            reading=reading,
            min_length=min_length,
            val_split=val_split,
            make_tokenizer=maker.make,
            say=say,
            tick=watch.tick,
        )
    if made is not None:
        made.save(folder / "tokenizer")
    return made


class _TokenizerChoice:
    """The tokenizer that was asked for: there already, or to be made from the training text."""

    def __init__(
        self,
        wanted: str | Path | Tokenizer,
        vocab_size: int | None,
        special_tokens: Sequence[str],
        ids: bool,
        say: Callable[[str], None],
    ) -> None:
        self._vocab_size = vocab_size
        self._special_tokens = special_tokens
        self._say = say
        self._name = "" if isinstance(wanted, Tokenizer) else str(wanted)
        self.learns = self._name in ("char", "bpe") and not ids
        self.ready: Tokenizer | None = None
        if isinstance(wanted, Tokenizer):
            self.ready = wanted
        elif wanted == "byte":
            self.ready = make_byte(special_tokens)
        elif self._name not in ("char", "bpe"):
            self.ready = load_tokenizer(wanted)
        if special_tokens and (ids or self.ready is not None) and self._name != "byte":
            raise ConfigError("special_tokens has no effect: the tokenizer exists already")
        self.bound = self.ready.vocab_size if self.ready is not None else vocab_size

    @property
    def identity(self) -> dict[str, Any]:
        """What the ids depend on."""
        if self.ready is not None:
            return {"fingerprint": self.ready.fingerprint}
        if not self.learns:
            return {}
        size = {"vocab_size": self._vocab_size} if self._name == "bpe" else {}
        return {"kind": self._name, "special_tokens": list(self._special_tokens), **size}

    def make(self, texts: Iterator[str], characters: int) -> Tokenizer:
        """Return the tokenizer, learned from `texts` if it has to be."""
        if self.ready is not None:
            return self.ready
        if self._name == "char":
            return make_char(texts, self._special_tokens)
        wanted = self._vocab_size or _suitable_vocab_size(characters)
        if characters > MOST_TEXT_FOR_BPE:
            self._say(f"BPE learns from {MOST_TEXT_FOR_BPE / characters:.1%} of the text, spread evenly over it")
            texts = _spread(texts, MOST_TEXT_FOR_BPE / characters)
        made = train_bpe(texts, wanted, self._special_tokens)
        if self._vocab_size is not None and made.vocab_size < wanted:
            self._say(
                f"the text supports a BPE vocabulary of {made.vocab_size:,}, not {wanted:,}: the smaller one is used"
            )
        return made

    def check_bound(self, corpus: Corpus) -> None:
        """Raise when the vocabulary of `corpus` is larger than the size that was asked for."""
        if self._vocab_size is None or corpus.vocab_size <= self._vocab_size:
            return
        if corpus.tokenizer is None:
            raise DataError(
                f"{corpus.sources[0]} holds id {corpus.vocab_size - 1}, which is outside vocab_size {self._vocab_size}"
            )
        raise ConfigError(
            f"vocab_size {self._vocab_size} is smaller than the {corpus.vocab_size:,} tokens of the "
            f"{corpus.tokenizer.kind} tokenizer: leave it out"
        )


def _suitable_vocab_size(characters: int) -> int:
    """Return a BPE vocabulary for a text of this size: small enough that every token is seen often."""
    for below, size in ((100_000, 512), (500_000, 1024), (3_000_000, 2048), (30_000_000, 4096), (300_000_000, 8192)):
        if characters < below:
            return size
    return 16384 if characters < 3_000_000_000 else 32768


def _spread(texts: Iterator[str], share: float) -> Iterator[str]:
    """Yield about `share` of `texts`, evenly spread."""
    owed = 0.0
    for text in texts:
        owed += share * len(text)
        if owed >= 0:
            yield text
            owed -= len(text)


class _Watch:
    """Counts bytes read, tells progress, asks whether to stop, and notices files that change meanwhile."""

    def __init__(
        self,
        chosen: Files,
        passes: int,
        progress: Callable[[int, int], None] | None,
        interrupted: Callable[[], None] | None,
    ) -> None:
        self._states = {path: _state(path) for path in [*chosen.train, *(chosen.validation or [])]}
        self._total = max(sum(size for size, *_ in self._states.values()) * passes, 1)
        self._done = 0
        self._progress = progress
        self._interrupted = interrupted

    def tick(self, more: int) -> None:
        """`more` bytes have been read."""
        if self._interrupted is not None:
            self._interrupted()
        self._done = min(self._done + more, self._total)
        if self._progress is not None:
            self._progress(self._done, self._total)

    def finish(self) -> None:
        """Everything is done, whatever was left out."""
        self.tick(self._total)

    def check_unchanged(self) -> None:
        """Raise DataError when a file is not what it was at the start: the ids would be of neither text."""
        for path, state in self._states.items():
            if _state(path) != state:
                raise DataError(f"{path} changed while it was read: start again when it is complete")


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror or error}") from error
    return found.st_size, found.st_mtime_ns, found.st_ino


def _as_it_is(folder: Path, val_data: Any, output: Any, say: Callable[[str], None]) -> Corpus:
    if val_data is not None or output is not None:
        raise ConfigError(f"{folder} is a prepared corpus: it takes neither other validation data nor an output folder")
    corpus = open_corpus(folder)
    say(f"{folder} is used as it was prepared, with its tokenizer and its validation text")
    return corpus


def _holds_ids(chosen: Files) -> bool:
    """Whether the files are arrays of ids. Raises DataError for a mixture."""
    every = [*chosen.train, *(chosen.validation or [])]
    arrays = [path for path in every if path.suffix.lower() == ".npy"]
    if arrays and len(arrays) < len(every):
        other = next(path for path in every if path not in arrays)
        raise DataError(f"{arrays[0]} holds token ids and {other} holds text: train on one or the other")
    for path in every:
        if path.suffix.lower() == ".npz":
            raise DataError(f"{path} is an archive of arrays: save one array of ids as .npy")
    return bool(arrays)


def _key(chosen: Files, settings: dict[str, Any], tick: Callable[[int], None], say: Callable[[str], None]) -> str:
    """Return a hash of the content of all files, in order, and of the settings."""
    train = [_content(path, tick) for path in chosen.train]
    validation = None if chosen.validation is None else [_content(path, tick) for path in chosen.validation]
    for path, content in zip(chosen.validation or [], validation or []):
        if content in train:
            say(f"{path} is also training data: the validation loss will not tell how the model does on new text")
    return hashlib.sha256(json.dumps([settings, train, validation]).encode()).hexdigest()


def _content(path: Path, tick: Callable[[int], None]) -> list[str]:
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            tick(len(block))
    kind = path.suffix.lower()
    return [kind if kind == ".npy" or kind in JSON_LINES else "text", digest.hexdigest()]


def _cache(cache_dir: str | Path | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir).expanduser() / "corpora"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "textmill" / "corpora"


def _known(folder: Path, key: str, asked_for: bool, say: Callable[[str], None]) -> Corpus | None:
    """Return the corpus if `folder` is it already; None if it is to be made there."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if asked_for:
        if not is_prepared(folder) or open_corpus(folder).key != key:
            raise RunExistsError(f"{folder} exists and is not this corpus: choose another output folder or remove it")
        return open_corpus(folder)
    try:
        corpus = open_corpus(folder)
    except (DataError, MissingInputError) as error:
        say(f"the cached corpus is damaged and made again ({error})")
        return None
    say(f"the tokens of this text are in the cache: {folder}")
    return corpus if corpus.key == key else None


def _both(*listeners: Callable[[str], Any]) -> Callable[[str], None]:
    def say(sentence: str) -> None:
        for listener in listeners:
            listener(sentence)

    return say


__all__ = ["MOST_TEXT_FOR_BPE", "PREPARED", "prepare"]

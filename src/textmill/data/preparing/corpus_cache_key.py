"""The key of a prepared corpus: a hash of the content of its files and of the settings that decide what it is."""

import hashlib
import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from textmill.data.preparing.clean import FORM_OF_COPIES
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.split_groups import group_keys
from textmill.data.preparing.tokenizer_choice import TokenizerChoice
from textmill.data.reading.document import Reading
from textmill.data.reading.formats.token_ids import open_token_ids
from textmill.data.reading.read_documents import open_file
from textmill.data.sources.file_extensions import FORMATS, IDS, format_of
from textmill.data.sources.file_selection import Files
from textmill.data.sources.one_time_texts import kept_under
from textmill.errors import DataError, MissingInputError
from textmill.files import sha256

_BLOCK = 1 << 20
_TABLES = (".csv", ".tsv")

_MIXING = 2
"""How corpora with weights become one: since 2, merges are learned in their shares, and the tail of each validates."""

_SEQUENCES = 2
"""How documents are measured and compared: since 2, by characters where a script puts no space between words."""


def key_settings(version: int, files: Files, settings: PrepareSettings, choice: TokenizerChoice) -> dict[str, Any]:
    """Return the settings that can change a corpus, as plain values: where and how fast it is prepared do not."""
    described = {
        "format": version,
        "tokenizer": choice.identity,
        "val_split": None if files.validation else settings.val_split,
    }
    if settings.split_by is not None and files.validation is None:
        described["split_by"] = settings.split_by
        if settings.split_by in ("folder", "repo"):  # then it depends on where the files are
            described["groups"] = group_keys(settings.split_by, files.train)
    reading = settings.reading
    plain_text = any(format_of(path, reading.format)[0] == "" for path in files.every())
    described |= reading.identity(plain_text=plain_text) | settings.cleaning.identity()
    if settings.cleaning.dedup is not None:  # copies were once compared letter by letter
        described["copies"] = FORM_OF_COPIES
    if settings.cleaning.measures or settings.compares:
        described["sequences"] = _SEQUENCES
    if settings.compares:  # since 1, what many documents share at their ends does not make them alike
        described["common lines"] = 1
    if settings.ends_documents is not None:
        described["ends_documents"] = settings.ends_documents
    if files.weights:
        described["weights"] = [[weight, count] for _, weight, count in files.weights]
        described["mixing"] = _MIXING
    if choice.for_ids:  # how wide the ids of a .bin file are is not part of its content
        described["types"] = [open_token_ids(path, settings.reading, choice.bound).dtype.str for path in files.every()]
    return described


def content_key(
    files: Files,
    settings: dict[str, Any],
    reading: Reading,
    tick: Callable[[int], None],
    say: Callable[[str], None],
) -> str:
    """Return a hash of the content of all files, in their order, and of `settings`; names and dates do not enter.

    Says which validation file of ids is a copy of a training file; equal documents of text are found later.
    """
    content = partial(_content_or_fault, within=files.within, reading=reading, tick=tick)
    train = [content(path) for path in files.train]
    validation = None if files.validation is None else [content(path) for path in files.validation]
    further = {name: [content(path) for path in paths] for name, paths in files.further.items()}
    known = set(train)
    for path, found in zip(files.validation or [], validation or []):
        if found in known and found[0] in IDS:
            say(f"{path} is also training data: the validation loss does not tell how the model does on new text")
    return hashlib.sha256(json.dumps([settings, train, validation, further, files.main]).encode()).hexdigest()


def _content_or_fault(
    path: Path, within: Collection[Path], reading: Reading, tick: Callable[[int], None]
) -> tuple[str, str]:
    """Return the kind and the hash of a file; of one within a folder that may not be read, that it may not."""
    try:
        return _content(path, reading, tick)
    except MissingInputError:
        if path not in within:
            raise
        return "unreadable", ""


def _content(path: Path, reading: Reading, tick: Callable[[int], None]) -> tuple[str, str]:
    digest, returns, quotes = hashlib.sha256(), False, False
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            returns = returns or b"\r" in block
            quotes = quotes or b'"' in block
            tick(len(block))
    name = kept_under(path)
    if name is not None and not (digest.hexdigest().startswith(name) or sha256(path).startswith(name)):
        raise DataError(
            f"{path} has changed since it was kept (its SHA-256 differs): delete it and give the text again"
        )
    extension, compression = format_of(path, reading.format)
    kind = extension + compression or "text"
    if not extension and reading.newlines == "lf" and (returns or compression):
        kind += ", line feeds"  # from here on; what was prepared before has carriage returns
    elif FORMATS.get(extension) in ("html", "epub"):
        kind += ", every character"  # before, some were left out or changed
    if extension in _TABLES and (quotes or compression):
        kind += ", quotes as the table has them"  # what was prepared before took them around fields everywhere
    return kind, digest.hexdigest()

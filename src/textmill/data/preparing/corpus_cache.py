"""Where prepared corpora are kept, under a hash of everything they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textmill.data.reading.read import open_file
from textmill.data.sources.cache_dir import cache_root
from textmill.data.sources.file_formats import IDS, format_of
from textmill.data.sources.selection import Files
from textmill.data.store.corpus import Corpus, open_corpus
from textmill.errors import DataError, MissingInputError, RunExistsError
from textmill.files import json_sha256
from textmill.runs.layout import is_prepared

_BLOCK = 1 << 20


def content_key(
    chosen: Files, settings: dict[str, Any], tick: Callable[[int], None], say: Callable[[str], None]
) -> str:
    """Return a hash of the content of all files, in their order, and of `settings`; names and dates do not enter.

    Says which validation file of ids is a copy of a training file; equal documents of text are found later.
    """
    train = [_content(path, tick) for path in chosen.train]
    validation = None if chosen.validation is None else [_content(path, tick) for path in chosen.validation]
    further = {name: [_content(path, tick) for path in paths] for name, paths in chosen.further.items()}
    known = set(train)
    for path, content in zip(chosen.validation or [], validation or []):
        if content in known and content[0] in IDS:
            say(f"{path} is also training data: the validation loss will not tell how the model does on new text")
    return json_sha256([settings, train, validation, further, chosen.main])


def _content(path: Path, tick: Callable[[int], None]) -> tuple[str, str]:
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            tick(len(block))
    return "".join(format_of(path)) or "text", digest.hexdigest()


def cache_folder(cache_dir: str | Path | None, key: str) -> Path:
    """Return the place of the corpus `key` below `cache_dir`, or below the user's cache folder (XDG)."""
    return cache_root(cache_dir) / "corpora" / key[:32]


def cached(folder: Path, key: str, say: Callable[[str], None]) -> Corpus | None:
    """Return the corpus `key` if the cache has it whole; what is wrong with it otherwise is said."""
    if not folder.exists():
        return None
    try:
        corpus = open_corpus(folder)
    except (DataError, MissingInputError) as error:
        say(f"the cached corpus is damaged and is made again ({error})")
        return None
    if corpus.key != key:
        return None
    for note in corpus.notes:
        say(note)
    return corpus


def already_there(folder: Path, key: str) -> Corpus | None:
    """Return the corpus `key` if it is in `folder`, None if the folder is free. Raises RunExistsError otherwise."""
    if is_prepared(folder):
        corpus = open_corpus(folder)
        if corpus.key == key:
            return corpus
    elif not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    raise RunExistsError(f"{folder} exists and holds something else: choose another output folder, or remove it")

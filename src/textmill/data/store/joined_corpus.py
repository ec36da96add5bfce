"""A prepared corpus made of two: one is trained on, the other validated on."""

import shutil
from collections.abc import Callable
from pathlib import Path

from textmill.data.store.corpus import Corpus, open_corpus, write_description
from textmill.data.store.corpus_cache import find_corpus
from textmill.errors import ConfigError
from textmill.files import json_sha256, link_or_copy, new_directory, read_json
from textmill.files.cache_dir import naming_cache_dir
from textmill.runs.layout import FURTHER, PREPARED


def join(
    corpus: Corpus,
    held_out: Corpus,
    name: str | None = None,
    *,
    cache_dir: str | Path | None = None,
    say: Callable[[str], None],
) -> Corpus:
    """Return a corpus in the cache with the training text of `corpus`, and that of `held_out` to validate on.

    name: that of the validation set, if it has one.

    Raises ConfigError if they have different tokenizers, or if `held_out` has a validation set of its own.
    """
    made_by = [each.tokenizer.fingerprint if each.tokenizer is not None else None for each in (corpus, held_out)]
    if made_by[0] != made_by[1]:
        raise ConfigError("the text to train on and the text to validate on have different tokenizers: give both one")
    if held_out.validation is not None:
        raise ConfigError("the text to validate on has a validation set of its own: prepare it with val_split=0")
    key = json_sha256(
        ["joined", corpus.train.fingerprint, held_out.train.fingerprint, made_by[0], *filter(None, [name])]
    )
    folder, found = find_corpus(key, None, cache_dir, say)
    if found is not None:
        return found
    with naming_cache_dir(cache_dir), new_directory(folder) as temporary:
        others = shutil.ignore_patterns("validation", FURTHER, PREPARED)
        shutil.copytree(corpus.folder, temporary, copy_function=link_or_copy, ignore=others, dirs_exist_ok=True)
        shutil.copytree(held_out.train.folder, temporary / "validation", copy_function=link_or_copy)
        described = {"key": key, "sources": corpus.sources, "main": name, "further": []}
        write_description(temporary, {**read_json(corpus.folder / PREPARED), **described})
    return open_corpus(folder)

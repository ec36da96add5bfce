"""The cache of prepared corpora: each in a folder that is named after its key."""

from collections.abc import Callable
from pathlib import Path

from textmill.data.sources.cache_dir import cache_root
from textmill.data.store.corpus import Corpus, open_corpus
from textmill.errors import DataError, MissingInputError, RunExistsError
from textmill.runs.layout import is_prepared


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return the folder of the prepared corpora in `cache_dir`, or in the user's cache folder (XDG)."""
    return cache_root(cache_dir) / "corpora"


def find_corpus(
    key: str, output: Path | None, cache_dir: str | Path | None, say: Callable[[str], None]
) -> tuple[Path, Corpus | None]:
    """Return the folder for the corpus `key`, which is `output` or in the cache, and the corpus if it is there whole.

    Raises RunExistsError if `output` contains something else.
    """
    if output is not None:
        return output, _in_output(output, key)
    folder = cache_folder(cache_dir) / key[:32]
    return folder, _in_cache(folder, key, say)


def _in_cache(folder: Path, key: str, say: Callable[[str], None]) -> Corpus | None:
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


def _in_output(folder: Path, key: str) -> Corpus | None:
    if is_prepared(folder):
        corpus = open_corpus(folder)
        if corpus.key == key:
            return corpus
    elif not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    raise RunExistsError(f"{folder} exists and contains something else: choose another output folder, or remove it")

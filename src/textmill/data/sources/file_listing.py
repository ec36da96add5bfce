"""List the files of a corpus: paths, folders, patterns, and the default corpus that every Python includes."""

import os
import stat
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from textmill.config.field_types import closest_beside
from textmill.data.sources.file_extensions import IDS, ONLY_ALONE, extension_of
from textmill.data.sources.folder_files import (
    OUTSIDE,
    REPEATED,
    Identity,
    files_below,
    identity_of,
    leads_outside,
)
from textmill.data.sources.hub import DEFAULT_VALIDATION, is_dataset, split_files
from textmill.data.sources.named_corpora import fetch, is_named, named_corpora
from textmill.data.sources.skipped_files import SkippedFiles
from textmill.errors import DataError, MissingInputError
from textmill.files import expand_home
from textmill.files.cache_dir import naming_cache_dir
from textmill.runs.layout import TOKENS, is_prepared

LONGEST_NAME = 255
"""Characters of a path that can be missing; longer ones are texts that were meant to be data."""

_SKIPPED_FOLDERS = frozenset(
    # Tests contain broken encodings on purpose, `encodings` is tables, the rest is not part of the library.
    ["site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "lib2to3", "encodings"]
)


@dataclass
class Listing:
    """The files that some data names.

    Attributes:
        paths: the files, in order, each once.
        within: those of them that a folder or a pattern contains, and nobody named.
        skipped: what else these contain.
        counts: how many files each item adds.
    """

    paths: list[Path] = field(default_factory=list)
    within: set[Path] = field(default_factory=set)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    counts: list[int] = field(default_factory=list)


def list_files(
    data: Sequence[str | Path] | str | Path,
    say: Callable[[str], None] = lambda sentence: None,
    *,
    split: str = "train",
    cache_dir: str | Path | None = None,
) -> list[Path]:
    """Return the files that `data` names, in its order, each once.

    An item is a file, a folder (every file below with one of TEXT_SUFFIXES, sorted, hidden ones left out), a pattern
    such as `books/**/*.txt`, a dataset (see `split_files`), of which `split` is taken, or the name of a corpus in
    named_corpora.yaml, which is fetched into `cache_dir`. `say` is called with what a folder contains besides text.

    Links within a folder or a pattern lead to nothing outside of it. An item that is a link is followed: somebody named
    it. Names of one file, as two spellings or two links, are one.

    Raises:
        MissingInputError: a path is not there, may not be read, or a folder or pattern yields no file.
        DataError: a path is neither a file nor a folder.
        ConfigError: a dataset has no such split.
    """
    listing = find_files(data, say, split=split, cache_dir=cache_dir)
    for sentence in listing.skipped.sentences():
        say(sentence)
    return listing.paths


def find_files(
    data: Sequence[str | Path] | str | Path,
    say: Callable[[str], None] = lambda sentence: None,
    *,
    split: str = "train",
    cache_dir: str | Path | None = None,
) -> Listing:
    """Return what `list_files` does, and what is skipped, of which nothing is said."""
    items = [data] if isinstance(data, str | Path) else list(data)
    listing = Listing()
    seen: dict[Identity | Path, Path] = {}
    for item in items:
        found, before = _files_of(item, split, cache_dir, listing.skipped, say), len(listing.paths)
        for path in found.paths:
            identity = (identity_of(path.stat()) if len(items) > 1 else None) or path
            first = seen.setdefault(identity, path)
            if first is not path and first != path:
                listing.skipped.add(REPEATED, path)
            if first is path:
                listing.paths.append(path)
                listing.within |= {path} & found.within
            elif path not in found.within:  # somebody named what a folder contains
                listing.within.discard(first)
        listing.counts.append(len(listing.paths) - before)
    return listing


def default_corpus() -> list[Path]:
    """Return the Python files of this Python's standard library: about 10 MB of real text on every machine.

    Raises MissingInputError where the library comes without its source.
    """
    library = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, names in os.walk(library):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        sources = (Path(folder, name) for name in sorted(names) if name.endswith(".py"))
        found.extend(path for path in sources if path.stat().st_size)
    if not found:
        raise MissingInputError(f"this Python has no library source in {library}: name a text file or folder")
    return found


def _files_of(
    item: str | Path, split: str, cache_dir: str | Path | None, skipped: SkippedFiles, say: Callable[[str], None]
) -> Listing:
    if is_dataset(item):
        return Listing(split_files(item, split))
    if is_named(item):
        corpus = named_corpora()[str(item)]
        wanted = corpus.validation if split == DEFAULT_VALIDATION and corpus.validation else corpus.train
        with naming_cache_dir(cache_dir):
            return Listing([fetch(wanted, cache_dir=cache_dir, say=say)])
    path = expand_home(item)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        if any(sign in str(path) for sign in "*?["):
            return _within(_one_kind(_matching(path, skipped), skipped))
        broken = os.path.islink(path)  # noqa: PTH114 (pathlib raises for a name that is too long)
        reason = "a broken link" if broken else (getattr(error, "strerror", None) or str(error))
        if len(str(path)) > LONGEST_NAME:
            start = " ".join(str(path)[:40].split())
            raise MissingInputError(
                f"cannot read {start!r}... ({len(str(path)):,} characters): {reason}. Strings name files; pass texts "
                "as iter(texts) or as Documents"
            ) from error
        raise MissingInputError(
            f"cannot read {path}: {reason}{closest_beside(path, () if path.suffix else named_corpora())}"
        ) from error
    if stat.S_ISREG(mode):
        return Listing([path])
    if not stat.S_ISDIR(mode):
        raise DataError(f"{path} is neither a file nor a folder")
    if is_prepared(path):
        raise DataError(f"{path} is a prepared corpus, which can only be given alone: give its text")
    if (path / TOKENS).is_file():
        raise DataError(f"{path} is a part of a prepared corpus: give the whole, which is {path.parent}")
    return _within(_one_kind(_in_folder(path, skipped), skipped))


def _within(paths: list[Path]) -> Listing:
    return Listing(paths, set(paths))


def _one_kind(paths: list[Path], skipped: SkippedFiles) -> list[Path]:
    """Return `paths` without token ids, if there is text beside them: a corpus is one or the other."""
    text = [path for path in paths if extension_of(path)[0] not in IDS]
    if not text or len(text) == len(paths):
        return paths
    for path in paths:
        if extension_of(path)[0] in IDS:
            skipped.add("token ids beside text are no text (name them alone to train on ids)", path)
    return text


def _in_folder(path: Path, skipped: SkippedFiles) -> list[Path]:
    here = SkippedFiles()
    every = files_below(path, here)
    found = [file for file in every if extension_of(file)[0] not in ONLY_ALONE] or every
    for file in every if len(found) < len(every) else []:
        if reason := ONLY_ALONE.get(extension := extension_of(file)[0]):
            here.add(f"{extension} beside text {reason} (name it to read it)", file)
    if not found:
        hints = "".join(f"; {sentence}" for sentence in here.sentences())
        raise MissingInputError(
            f"the folder {path} contains no text file (extensions such as .txt, .md, .jsonl, .parquet, .py): "
            f"name files with other extensions one by one or by a pattern{hints}"
        )
    skipped.add_all(here)
    return found


def _matching(pattern: Path, skipped: SkippedFiles) -> list[Path]:
    root = Path(pattern.anchor)

    def is_hidden(path: Path) -> bool:
        return any(part.startswith(".") and part != ".." for part in path.parts)

    matching = (path for path in root.glob(str(pattern.relative_to(root))) if path.is_file())
    every = sorted(path for path in matching if is_hidden(pattern) or not is_hidden(path))
    if not every:
        raise MissingInputError(f"no file matches {pattern}")
    real_root = os.path.realpath(_folder_of(pattern))
    inside, seen = [], set[Identity]()
    # A file before the links to it.
    for path in sorted(every, key=lambda path: os.path.realpath(path) != str(path.absolute())):
        identity = identity_of(path.stat())
        if leads_outside(path, real_root):
            skipped.add(OUTSIDE, path)
        elif identity in seen:
            skipped.add(REPEATED, path)
        else:
            inside.append(path)
            seen |= set() if identity is None else {identity}
    if not inside:
        raise MissingInputError(f"every file that matches {pattern} is a link that leads out of {real_root}: name them")
    return sorted(inside)


def _folder_of(pattern: Path) -> Path:
    """Return the folder that a pattern names: what is before its first wildcard."""
    parts = takewhile(lambda part: not any(sign in part for sign in "*?["), pattern.parts)
    return Path(*parts)

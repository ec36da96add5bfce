"""List the files of a corpus: paths, folders, patterns, and the default corpus that every Python includes."""

import os
import stat
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from textmill.config.field_types import closest_beside
from textmill.data.sources.file_extensions import IDS, ONLY_ALONE, extension_of
from textmill.data.sources.file_lists import is_list, read_list
from textmill.data.sources.file_rules import EXCLUDED, NOT_INCLUDED, FileRules, FolderSearch
from textmill.data.sources.folder_files import (
    BROKEN,
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
        counts: how many files each item adds.
    """

    paths: list[Path] = field(default_factory=list)
    within: set[Path] = field(default_factory=set)
    counts: list[int] = field(default_factory=list)


def list_files(
    data: Sequence[str | Path] | str | Path,
    say: Callable[[str], None] = lambda sentence: None,
    *,
    split: str = "train",
    cache_dir: str | Path | None = None,
    rules: FileRules | None = None,
) -> list[Path]:
    """Return the files that `data` names, in its order, each once.

    An item is a file, a folder (every file below with one of TEXT_SUFFIXES, sorted, hidden ones left out), a pattern
    such as `books/**/*.txt`, a list of files (`@FILE`, see `listed_paths`), a dataset (see `split_files`), of which
    `split` is taken, or the name of a corpus in named_corpora.yaml, which is fetched into `cache_dir`. `rules` say what
    is read of folders and patterns. `say` is called with what these contain besides text.

    Links within a folder or a pattern lead to nothing outside of it. An item that is a link is followed: somebody named
    it. Names of one file, as two spellings or two links, are one.

    Raises:
        MissingInputError: a path is not there, may not be read, or a folder or pattern yields no file.
        DataError: a path is neither a file nor a folder.
        ConfigError: a dataset has no such split.
    """
    search = FolderSearch(rules or FileRules())
    listing = find_files(data, search, say, split=split, cache_dir=cache_dir)
    for sentence in search.sentences():
        say(sentence)
    return listing.paths


def find_files(
    data: Sequence[str | Path] | str | Path,
    search: FolderSearch,
    say: Callable[[str], None] = lambda sentence: None,
    *,
    split: str = "train",
    cache_dir: str | Path | None = None,
) -> Listing:
    """Return what `list_files` does, more exactly; of what `search` found besides nothing is said."""
    items = [data] if isinstance(data, str | Path) else list(data)
    listing, several = Listing(), len(items) > 1 or any(map(is_list, items))
    seen: dict[Identity | Path, Path] = {}
    for item in items:
        found, before = _files_of(item, split, cache_dir, search, say), len(listing.paths)
        for path in found.paths:
            identity = (identity_of(path.stat()) if several else None) or path
            first = seen.setdefault(identity, path)
            if first is not path and first != path:
                search.skipped.add(REPEATED, path)
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
    item: str | Path, split: str, cache_dir: str | Path | None, search: FolderSearch, say: Callable[[str], None]
) -> Listing:
    if is_dataset(item):
        return Listing(split_files(item, split))
    if is_named(item):
        corpus = named_corpora()[str(item)]
        wanted = corpus.validation if split == DEFAULT_VALIDATION and corpus.validation else corpus.train
        with naming_cache_dir(cache_dir):
            return Listing([fetch(wanted, cache_dir=cache_dir, say=say)])
    if is_list(item):
        found = [path for named in read_list(item) for path in _in_list(named, search)]
        return _within(found)
    path = expand_home(item)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        if any(sign in str(path) for sign in "*?["):
            return _within(_one_kind(_matching(path, search), search.skipped))
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
    return _within(_one_kind(_in_folder(path, search), search.skipped))


def _in_list(path: Path, search: FolderSearch) -> list[Path]:
    """Return the files that one line of a list names."""
    if path.is_dir():
        return _one_kind(_in_folder(path, search), search.skipped)
    if path.is_file():
        return [path]
    search.skipped.add(BROKEN, path)
    return []


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


def _in_folder(path: Path, search: FolderSearch) -> list[Path]:
    here = replace(search, skipped=SkippedFiles())  # which is said even if there is nothing to read
    every = files_below(path, here)

    def only_alone(file: Path) -> bool:
        return extension_of(file)[0] in ONLY_ALONE and not here.names(file.relative_to(path).as_posix())

    found = [file for file in every if not only_alone(file)] or every
    for file in filter(only_alone, every) if len(found) < len(every) else ():
        extension = extension_of(file)[0]
        here.skipped.add(f"{extension} beside text {ONLY_ALONE[extension]} (name it to read it)", file)
    if not found:
        hints = "".join(f"; {sentence}" for sentence in here.skipped.sentences())
        raise MissingInputError(
            f"the folder {path} contains no text file (extensions such as .txt, .md, .jsonl, .parquet, .py): "
            f"name files with other extensions one by one or by a pattern{hints}"
        )
    search.skipped.add_all(here.skipped)
    return found


def _matching(pattern: Path, search: FolderSearch) -> list[Path]:
    root, folder = Path(pattern.anchor), _folder_of(pattern)

    def is_hidden(path: Path) -> bool:
        return any(part.startswith(".") and part != ".." for part in path.parts)

    matching = (path for path in root.glob(str(pattern.relative_to(root))) if path.is_file())
    every = sorted(path for path in matching if is_hidden(pattern) or not is_hidden(path))
    if not every:
        raise MissingInputError(f"no file matches {pattern}")
    real_root = os.path.realpath(folder)
    inside, seen = [], set[Identity]()
    # A file before the links to it.
    for path in sorted(every, key=lambda path: os.path.realpath(path) != str(path.absolute())):
        identity = identity_of(path.stat())
        if leads_outside(path, real_root):
            search.skipped.add(OUTSIDE, path)
        elif reason := _left_out(path.relative_to(folder).as_posix(), search):
            search.skipped.add(reason, path)
        elif identity in seen:
            search.skipped.add(REPEATED, path)
        else:
            inside.append(path)
            seen |= set() if identity is None else {identity}
    if not inside:
        hints = "; ".join(search.skipped.sentences())
        raise MissingInputError(f"of the files that match {pattern} none is read: {hints}")
    return sorted(inside)


def _left_out(below: str, search: FolderSearch) -> str | None:
    """Return why the person's patterns leave out a file that a pattern matches, None if they do not."""
    parts = below.split("/")
    paths = ["/".join(parts[:end]) + "/" for end in range(1, len(parts))] + [below]
    if any(map(search.excludes, paths)):
        return EXCLUDED
    return None if any(map(search.includes, paths)) else NOT_INCLUDED


def _folder_of(pattern: Path) -> Path:
    """Return the folder that a pattern names: what is before its first wildcard."""
    parts = takewhile(lambda part: not any(sign in part for sign in "*?["), pattern.parts)
    return Path(*parts)

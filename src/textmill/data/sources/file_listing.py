"""List the files of a corpus: paths, folders, patterns, and the default corpus that every Python includes."""

import os
import stat
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from textmill.config.field_types import closest_beside
from textmill.data.sources.file_extensions import ONLY_ALONE, TEXT_SUFFIXES, extension_of, missing_package
from textmill.data.sources.findings import Notes
from textmill.data.sources.hub import DEFAULT_VALIDATION, is_dataset, split_files
from textmill.data.sources.named_corpora import fetch, is_named, named_corpora
from textmill.errors import DataError, MissingInputError
from textmill.files import expand_home
from textmill.files.cache_dir import naming_cache_dir
from textmill.runs.layout import TOKENS, is_clearly_run, is_prepared

LONGEST_NAME = 255
"""Characters of a path that can be missing; longer ones are texts that were meant to be data."""

_SKIPPED_FOLDERS = frozenset(
    # Tests contain broken encodings on purpose, `encodings` is tables, the rest is not part of the library.
    ["site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "lib2to3", "encodings"]
)


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

    Raises:
        MissingInputError: a path is not there, may not be read, or a folder or pattern yields no file.
        DataError: a path is neither a file nor a folder.
        ConfigError: a dataset has no such split.
    """
    notes = Notes()
    found: dict[Path, None] = {}
    for item in [data] if isinstance(data, str | Path) else data:
        for path in _files_of(item, split, cache_dir, notes, say):
            found.setdefault(path)
    for sentence in notes.sentences():
        say(sentence)
    return list(found)


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
    item: str | Path, split: str, cache_dir: str | Path | None, notes: Notes, say: Callable[[str], None]
) -> list[Path]:
    if is_dataset(item):
        return split_files(item, split)
    if is_named(item):
        corpus = named_corpora()[str(item)]
        wanted = corpus.validation if split == DEFAULT_VALIDATION and corpus.validation else corpus.train
        with naming_cache_dir(cache_dir):
            return [fetch(wanted, cache_dir=cache_dir, say=say)]
    path = expand_home(item)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        if any(sign in str(path) for sign in "*?["):
            return _matching(path)
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
        return [path]
    if not stat.S_ISDIR(mode):
        raise DataError(f"{path} is neither a file nor a folder")
    if is_prepared(path):
        raise DataError(f"{path} is a prepared corpus, which can only be given alone: give its text")
    if (path / TOKENS).is_file():
        raise DataError(f"{path} is a part of a prepared corpus: give the whole, which is {path.parent}")
    every = list(_below(path, notes, set()))
    found = [file for file in every if extension_of(file)[0] not in ONLY_ALONE] or every
    for file in every if len(found) < len(every) else []:
        if reason := ONLY_ALONE.get(extension := extension_of(file)[0]):
            notes.add(f"skipped, because {extension} beside text {reason} (name it to read it)", str(file))
    if not found:
        hints = "".join(f"; {sentence}" for sentence in notes.sentences())
        raise MissingInputError(
            f"the folder {path} contains no text file (extensions such as .txt, .md, .jsonl, .parquet, .py): "
            f"name files with other extensions one by one or by a pattern{hints}"
        )
    return found


def _matching(pattern: Path) -> list[Path]:
    root = Path(pattern.anchor)

    def is_hidden(path: Path) -> bool:
        return any(part.startswith(".") and part != ".." for part in path.parts)

    matching = (path for path in root.glob(str(pattern.relative_to(root))) if path.is_file())
    found = sorted(path for path in matching if is_hidden(pattern) or not is_hidden(path))
    if not found:
        raise MissingInputError(f"no file matches {pattern}")
    return found


def _below(folder: Path, notes: Notes, visited: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        here = folder.stat()
        if (here.st_dev, here.st_ino) in visited:  # a link back up
            return
        visited.add((here.st_dev, here.st_ino))
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise MissingInputError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir() and is_clearly_run(path):
            notes.add("skipped, because it is a run folder, not text", str(path))
        elif path.is_dir():
            yield from _below(path, notes, visited)
        elif missing := missing_package(path):
            notes.add(
                f"skipped, because {path.suffix} needs {missing}, which is missing (pip install 'textmill[data]')",
                str(path),
            )
        elif extension_of(path)[0] not in TEXT_SUFFIXES:
            notes.add(f"skipped, because it is not text by its extension ({path.suffix or 'none'})", str(path))
        elif path.is_file():
            yield path
        else:
            notes.add("skipped, because it is a broken link or not a regular file", str(path))

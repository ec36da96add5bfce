"""Which files a corpus is made of: paths, folders, patterns, and the corpus that every Python brings along."""

from __future__ import annotations

import os
import stat
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from textmill.config.field_types import closest
from textmill.data.reading.document import Notes
from textmill.data.reading.formats.compressed import ENDINGS
from textmill.data.reading.read import FORMATS
from textmill.data.sources.downloads import CORPORA, fetch, is_named
from textmill.data.sources.hub import DEFAULT_VALIDATION, is_dataset, split_files
from textmill.data.store.corpus import open_corpus
from textmill.errors import DataError, MissingInputError
from textmill.runs.layout import is_clearly_run, is_prepared

_PROSE = {".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc", ".tex", ".srt", ".log"}
_CODE = {
    *(
        ".py",
        ".pyi",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".cs",
        ".java",
        ".kt",
        ".scala",
        ".swift",
        ".go",
        ".rs",
        ".zig",
    ),
    *(".js", ".jsx", ".ts", ".tsx", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".hs", ".ml", ".ex", ".erl", ".clj"),
    *(".lisp", ".el", ".sh", ".sql", ".f90", ".pas", ".toml", ".yaml", ".yml", ".ini", ".cfg"),
}
TEXT_SUFFIXES = frozenset({*_PROSE, *_CODE, *FORMATS, ".npy"})
"""Endings that are read when a folder is given. A file given by its own name is read whatever its ending."""

_TABLES_OF_ANYTHING = frozenset({".csv", ".tsv", ".json"})
"""Endings that a folder is read for only when it has nothing else: beside text such files are mostly settings."""

_NEEDS = {
    ".parquet": "pyarrow",
    ".arrow": "pyarrow",
    ".html": "trafilatura",
    ".htm": "trafilatura",
    ".xhtml": "trafilatura",
    ".pdf": "pypdfium2",
    ".zst": "zstandard",
}
"""Ending -> the package that reads it. A folder's files of that kind are passed over, and that is said, without it."""

_NOT_TEXT_OF_PEOPLE = frozenset(
    # Tests hold broken encodings on purpose, `encodings` is tables, the rest is not part of the library.
    ["site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "lib2to3", "encodings"]
)


def list_files(
    data: Sequence[str | Path] | str | Path,
    say: Callable[[str], None] | None = None,
    *,
    split: str = "train",
    cache_dir: str | Path | None = None,
) -> list[Path]:
    """Return the files that `data` names, in its order, each once.

    An item is a file, a folder (every file below with one of TEXT_SUFFIXES, sorted, hidden ones left out), a pattern
    such as `books/**/*.txt`, a dataset (see `split_files`), of which `split` is taken, or the name of a corpus in
    CORPORA, which is fetched into `cache_dir`. What a folder holds beside text is said through `say`.

    Raises:
        MissingInputError: a path is not there, may not be read, or a folder or pattern yields no file.
        DataError: a path is neither a file nor a folder.
        ConfigError: a dataset has no such split.
    """
    notes = Notes()
    found: dict[Path, None] = {}
    for item in [data] if isinstance(data, str | Path) else data:
        for path in _files_of(item, split, cache_dir, notes, say or (lambda sentence: None)):
            found.setdefault(path)
    if say is not None:
        for sentence in notes.sentences():
            say(sentence)
    return list(found)


def corpus_size_bytes(
    data: Sequence[str | Path] | str | Path | None, *, split: str = "train", cache_dir: str | Path | None = None
) -> int:
    """Return the size of all files that `data` names (None: the default corpus) without reading them.

    Of a prepared corpus it is the size of its text. Datasets and named corpora are fetched. Raises what `list_files`
    and `open_corpus` raise.
    """
    items = [data] if isinstance(data, str | Path) else data
    if items is not None and len(items) == 1 and is_prepared(Path(items[0])):
        corpus = open_corpus(Path(items[0]))
        return sum(store.num_bytes for store in (corpus.train, corpus.validation) if store is not None)
    files = default_corpus() if items is None else list_files(items, split=split, cache_dir=cache_dir)
    return sum(path.stat().st_size for path in files)


def default_corpus() -> list[Path]:
    """Return the Python files of this Python's standard library: about 10 MB of real text on every machine.

    Raises MissingInputError where the library comes without its source.
    """
    library = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, names in os.walk(library):
        folders[:] = sorted(name for name in folders if name not in _NOT_TEXT_OF_PEOPLE)
        sources = (Path(folder, name) for name in sorted(names) if name.endswith(".py"))
        found.extend(path for path in sources if path.stat().st_size)
    if not found:
        raise MissingInputError(f"this Python has no library source in {library}: name a text file or a folder")
    return found


def _files_of(
    item: str | Path, split: str, cache_dir: str | Path | None, notes: Notes, say: Callable[[str], None]
) -> list[Path]:
    if is_dataset(item):
        return split_files(item, split)
    if is_named(item):
        corpus = CORPORA[str(item)]
        wanted = corpus.validation if split == DEFAULT_VALIDATION and corpus.validation else corpus.train
        return [fetch(wanted, cache_dir=cache_dir, say=say)]
    path = Path(item).expanduser()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        if any(sign in str(path) for sign in "*?["):
            return _matching(path)
        broken = os.path.islink(path)  # noqa: PTH114 (pathlib raises for a name that is too long)
        reason = "a link that leads nowhere" if broken else (getattr(error, "strerror", None) or str(error))
        raise MissingInputError(f"cannot read {path}: {reason}{_nearest(path)}") from error
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        raise DataError(f"{path} is neither a file nor a folder")
    every = list(_below(path, notes, set()))
    found = [file for file in every if _ending(file) not in _TABLES_OF_ANYTHING] or every
    if len(found) < len(every):
        for ending, file in ((_ending(file), file) for file in every if _ending(file) in _TABLES_OF_ANYTHING):
            notes.add(f"skipped, because {ending} beside text is taken for settings (name it to read it)", str(file))
    if not found:
        hints = "".join(f"; {sentence}" for sentence in notes.sentences())
        raise MissingInputError(
            f"the folder {path} holds no text file (looked for endings such as .txt, .md, .jsonl, .parquet, .py): "
            f"name files of other endings one by one or by a pattern{hints}"
        )
    return found


def _nearest(path: Path) -> str:
    """Return a hint at what a misspelt name may have meant: something in its folder, or a corpus with a name."""
    beside = [found.name for found in path.parent.iterdir()] if path.parent.is_dir() else []
    return closest(path.name, [*beside, *([] if path.suffix else CORPORA)])


def _ending(path: Path) -> str:
    """Return the ending that says what a file is, that of a compression left out."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in ENDINGS else last


def _missing_package(path: Path) -> str | None:
    """Return the package without which `path` cannot be read, None when it is there."""
    needed = [_NEEDS[ending] for ending in (_ending(path), path.suffix.lower()) if ending in _NEEDS]
    return next((package for package in needed if find_spec(package) is None), None)


def _matching(pattern: Path) -> list[Path]:
    root = Path(pattern.anchor)
    hidden = any(part.startswith(".") and part != ".." for part in pattern.parts)
    found = sorted(
        path
        for path in root.glob(str(pattern.relative_to(root)))
        if path.is_file() and (hidden or not any(part.startswith(".") and part != ".." for part in path.parts))
    )
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
            notes.add("skipped, because it is the output of a run and no text", str(path))
        elif path.is_dir():
            yield from _below(path, notes, visited)
        elif missing := _missing_package(path):
            notes.add(
                f"skipped, because {path.suffix} needs {missing}, which is missing (pip install 'textmill[data]')",
                str(path),
            )
        elif _ending(path) not in TEXT_SUFFIXES:
            notes.add(f"skipped, because {path.suffix or 'no ending'} is not an ending of text files", str(path))
        elif path.is_file():
            yield path
        else:
            notes.add("skipped, because it is a broken link or not a regular file", str(path))

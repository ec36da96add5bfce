"""Which files a corpus is made of: paths, folders, patterns, and the corpus that every Python brings along."""

from __future__ import annotations

import os
import stat
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from textmill.data.corpus import is_prepared, open_corpus
from textmill.data.document import Notes
from textmill.errors import DataError, MissingInputError

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
TEXT_SUFFIXES = frozenset({*_PROSE, *_CODE, ".jsonl", ".ndjson", ".npy"})
"""Endings that are read when a folder is given. A file given by its own name is read whatever its ending."""

_NOT_TEXT_OF_PEOPLE = frozenset(
    # Tests hold broken encodings on purpose, `encodings` is tables, the rest is not part of the library.
    ["site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "lib2to3", "encodings"]
)


def list_files(data: Sequence[str | Path] | str | Path, say: Callable[[str], None] | None = None) -> list[Path]:
    """Return the files that `data` names, in its order, each once.

    An item is a file, a folder (every file below with one of TEXT_SUFFIXES, sorted, hidden ones left out) or a pattern
    such as `books/**/*.txt`. What a folder holds beside text is said through `say`.

    Raises:
        MissingInputError: a path is not there, may not be read, or a folder or pattern yields no file.
        DataError: a path is neither a file nor a folder.
    """
    notes = Notes()
    found: dict[Path, None] = {}
    for item in [data] if isinstance(data, str | Path) else data:
        for path in _files_of(Path(item).expanduser(), notes):
            found.setdefault(path)
    if say is not None:
        for sentence in notes.sentences():
            say(sentence)
    return list(found)


def corpus_size_bytes(data: Sequence[str | Path] | str | Path | None) -> int:
    """Return the size of all files that `data` names (None: the default corpus) without reading them.

    Of a prepared corpus it is the size of its text. Raises what `list_files` and `open_corpus` raise.
    """
    items = [data] if isinstance(data, str | Path) else data
    if items is not None and len(items) == 1 and is_prepared(Path(items[0])):
        corpus = open_corpus(Path(items[0]))
        return sum(store.num_bytes for store in (corpus.train, corpus.validation) if store is not None)
    return sum(path.stat().st_size for path in (default_corpus() if data is None else list_files(data)))


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


def _files_of(path: Path, notes: Notes) -> list[Path]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if any(sign in str(path) for sign in "*?["):
            return _matching(path)
        reason = "a link that leads nowhere" if path.is_symlink() else (error.strerror or str(error))
        raise MissingInputError(f"cannot read {path}: {reason}") from error
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        raise DataError(f"{path} is neither a file nor a folder")
    found = list(_below(path, notes, set()))
    if not found:
        raise MissingInputError(
            f"the folder {path} holds no text file (looked for endings such as .txt, .md, .jsonl, .py): "
            "name files of other endings one by one or by a pattern"
        )
    return found


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
        if path.is_dir():
            yield from _below(path, notes, visited)
        elif path.suffix.lower() not in TEXT_SUFFIXES:
            notes.add(f"skipped, because {path.suffix or 'no ending'} is not an ending of text files", str(path))
        elif path.is_file():
            yield path
        else:
            notes.add("skipped, because it is a broken link or not a regular file", str(path))

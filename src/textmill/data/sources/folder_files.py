"""The text files below a folder: nothing outside it, and each once, whatever links there are."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from textmill.data.sources.file_extensions import TEXT_SUFFIXES, extension_of, missing_package
from textmill.data.sources.skipped_files import SkippedFiles
from textmill.errors import MissingInputError
from textmill.runs.layout import is_clearly_run

OUTSIDE = "it is a link that leads out of what was named (name its target to read it)"
REPEATED = "it is another name of a file or folder that is read already"
BROKEN = "it is a broken link or not a regular file"

Identity = tuple[int, int]
"""Device and inode of a file or folder."""


def identity_of(found: os.stat_result) -> Identity | None:
    """Return what two names of one file have in common; None on a file system that numbers no files."""
    return (found.st_dev, found.st_ino) if found.st_ino else None


def files_below(folder: Path, skipped: SkippedFiles) -> list[Path]:
    """Return the text files below `folder`, sorted, hidden ones left out; `skipped` collects what else there is.

    A link is followed to a target within the folder that is not read by a name of its own. Raises MissingInputError
    for a folder that cannot be read; one within it is skipped.
    """
    return _Walk(folder, skipped).files()


def leads_outside(path: Path, real_root: str) -> bool:
    """Whether the file that `path` leads to, by whatever links, is not in the folder `real_root`, itself no link."""
    return not Path(os.path.realpath(path)).is_relative_to(real_root)


@dataclass
class _Walk:
    root: Path
    skipped: SkippedFiles
    _seen: set[Identity] = field(default_factory=set)
    _links: list[Path] = field(default_factory=list)

    def files(self) -> list[Path]:
        """Return the files, those that links lead to after all others have been seen."""
        try:
            found = list(self._below(self.root))
        except OSError as error:
            raise MissingInputError(f"cannot read the folder {self.root}: {error.strerror or error}") from error
        if not self._links:
            return found
        real_root = os.path.realpath(self.root)
        while self._links:  # a folder behind a link may contain more of them
            found += self._behind(self._links.pop(0), real_root)
        return sorted(found)

    def _below(self, folder: Path) -> Iterator[Path]:
        self._is_new(folder.stat())
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                self._links.append(path)
            elif entry.is_dir():
                yield from self._folder(path)
            elif self._is_text(path):
                yield from self._file(path, entry.stat() if entry.is_file() else None)

    def _behind(self, link: Path, real_root: str) -> list[Path]:
        if link.exists() and leads_outside(link, real_root):
            self.skipped.add(OUTSIDE, link)
        elif link.is_dir():
            return list(self._folder(link))
        elif self._is_text(link):
            return list(self._file(link, link.stat() if link.is_file() else None))
        return []

    def _folder(self, path: Path) -> Iterator[Path]:
        try:
            if is_clearly_run(path):
                self.skipped.add("it is a run folder, not text", path)
            elif (identity := identity_of(path.stat())) is not None and identity in self._seen:
                self.skipped.add(REPEATED, path)
            else:
                yield from self._below(path)
        except OSError as error:
            self.skipped.add(f"the folder cannot be read ({error.strerror or error})", path)

    def _is_text(self, path: Path) -> bool:
        """Whether a file is text by its extension; otherwise it is skipped."""
        if missing := missing_package(path):
            self.skipped.add(f"{path.suffix} needs {missing}, which is missing (pip install 'textmill[data]')", path)
        elif extension_of(path)[0] not in TEXT_SUFFIXES:
            self.skipped.add(f"it is not text by its extension ({path.suffix or 'none'})", path)
        else:
            return True
        return False

    def _file(self, path: Path, found: os.stat_result | None) -> Iterator[Path]:
        if found is None:
            self.skipped.add(BROKEN, path)
        elif self._is_new(found):
            yield path
        else:
            self.skipped.add(REPEATED, path)

    def _is_new(self, found: os.stat_result) -> bool:
        identity = identity_of(found)
        known = identity is not None and identity in self._seen
        if identity is not None:
            self._seen.add(identity)
        return not known

"""The text files below a folder: nothing outside it, and each once, whatever links there are."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from textmill.data.sources.file_extensions import ARCHIVES, NOT_TEXT, TEXT_SUFFIXES, extension_of, missing_package
from textmill.data.sources.file_rules import (
    EXCLUDED,
    IGNORED,
    NOT_INCLUDED,
    OF_TOOLS,
    TOOL_FOLDERS,
    TOOL_MARKS,
    FolderSearch,
)
from textmill.data.sources.git_ignore import GIT, GITIGNORE, GitIgnore
from textmill.data.sources.skipped_files import first_names
from textmill.data.sources.source_tree import is_source_code, reason_to_skip
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


def files_below(folder: Path, search: FolderSearch) -> list[Path]:
    """Return the text files below `folder`, sorted, hidden ones left out; `search` collects what else there is.

    A link is followed to a target within the folder that is not read by a name of its own. Raises MissingInputError
    for a folder that cannot be read; one within it is skipped.
    """
    return _Walk(folder, search).files()


def leads_outside(path: Path, real_root: str) -> bool:
    """Whether the file that `path` leads to, by whatever links, is not in the folder `real_root`, itself no link."""
    return not Path(os.path.realpath(path)).is_relative_to(real_root)


def _not_text_by_extension(path: Path) -> str:
    return f"it is not text by its extension ({path.suffix or 'none'})"


@dataclass(frozen=True)
class _Folder:
    """A folder of the walk.

    Attributes:
        below: its path below the root, with a slash at the end; "" for the root.
        included: whether a pattern asks for all that is in it.
        ignored: what git ignores in it.
    """

    below: str
    included: bool
    ignored: GitIgnore


@dataclass
class _Walk:
    root: Path
    search: FolderSearch
    _seen: set[Identity] = field(default_factory=set)
    _links: list[tuple[Path, _Folder]] = field(default_factory=list)
    _undecided: set[Path] = field(default_factory=set)  # by their extension

    def files(self) -> list[Path]:
        """Return the files, those that links lead to after all others have been seen."""
        ignored = GitIgnore.of(self.root) if self.search.rules.gitignore else GitIgnore()
        try:
            found = list(self._below(self.root, _Folder("", not self.search.rules.include, ignored)))
        except OSError as error:
            raise MissingInputError(f"cannot read the folder {self.root}: {error.strerror or error}") from error
        if self._links:
            real_root = os.path.realpath(self.root)
            while self._links:  # a folder behind a link may contain more of them
                found += self._behind(*self._links.pop(0), real_root)
            found.sort()
        return self._by_content(found)

    def _by_content(self, found: list[Path]) -> list[Path]:
        """Return those that are read, now that it is known what the folder is as a whole."""
        rules, read = self.search.rules, list[Path]()
        source = is_source_code(found) if rules.source_code is None else rules.source_code
        for path in found:
            known = path not in self._undecided
            below = path.relative_to(self.root).as_posix()
            if not known and not source:
                reason = _not_text_by_extension(path)
            else:
                reason = reason_to_skip(path, below, rules, source=source, known=known)
            if reason is None:
                read.append(path)
            else:
                self.search.skipped.add(reason, path)
        if further := [path for path in read if path in self._undecided]:
            self.search.notes.append(
                f"{self.root} is source code, so that files with other extensions are read too (--source-code false "
                f"leaves them out): {first_names(further)}"
            )
        return read

    def _below(self, folder: Path, at: _Folder) -> Iterator[Path]:
        self._is_new(folder.stat())
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        names = {entry.name for entry in ordered}
        if at.below:
            if not names.isdisjoint(TOOL_MARKS):
                self.search.skipped.add(OF_TOOLS, folder)
                return
            at = self._within_repository(folder, at, names)
        for entry in ordered:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                self._links.append((path, at))
            elif entry.is_dir():
                yield from self._folder(path, at)
            elif self._is_wanted(path, at):
                yield from self._file(path, entry.stat() if entry.is_file() else None)

    def _within_repository(self, folder: Path, at: _Folder, names: set[str]) -> _Folder:
        if not self.search.rules.gitignore or not (at.ignored.inside or GIT in names):
            return at
        has = {"has_git": GIT in names, "has_file": GITIGNORE in names}
        return _Folder(at.below, at.included, at.ignored.below(folder.name, folder, **has))

    def _behind(self, link: Path, at: _Folder, real_root: str) -> list[Path]:
        if link.exists() and leads_outside(link, real_root):
            self.search.skipped.add(OUTSIDE, link)
        elif link.is_dir():
            return list(self._folder(link, at))
        elif self._is_wanted(link, at):
            return list(self._file(link, link.stat() if link.is_file() else None))
        return []

    def _folder(self, path: Path, at: _Folder) -> Iterator[Path]:
        below = f"{at.below}{path.name}/"
        try:
            if is_clearly_run(path):
                self.search.skipped.add("it is a run folder, not text", path)
            elif path.name in TOOL_FOLDERS:
                self.search.skipped.add(OF_TOOLS, path)
            elif (reason := self._left_out(below, f"{path.name}/", at)) is not None:
                self.search.skipped.add(reason, path)
            elif (identity := identity_of(path.stat())) is not None and identity in self._seen:
                self.search.skipped.add(REPEATED, path)
            else:
                included = at.included or self.search.includes(below)
                yield from self._below(path, _Folder(below, included, at.ignored))
        except OSError as error:
            self.search.skipped.add(f"the folder cannot be read ({error.strerror or error})", path)

    def _left_out(self, below: str, name: str, at: _Folder) -> str | None:
        if self.search.excludes(below):
            return EXCLUDED
        return IGNORED if at.ignored.ignores(name) else None

    def _is_wanted(self, path: Path, at: _Folder) -> bool:
        """Whether a file is asked for, and text by its extension; otherwise it is skipped."""
        below = at.below + path.name
        reason = self._left_out(below, path.name, at)
        if reason is None and not (self.search.includes(below) or at.included):
            reason = NOT_INCLUDED
        if reason is None:
            reason = self._not_text(path, below)
        if reason is not None:
            self.search.skipped.add(reason, path)
        return reason is None

    def _not_text(self, path: Path, below: str) -> str | None:
        if missing := missing_package(path):
            return f"{path.suffix} needs {missing}, which is missing (pip install 'textmill[data]')"
        extension, compression = extension_of(path)
        if extension in TEXT_SUFFIXES or self.search.names(below):
            return None
        if compression or extension in NOT_TEXT or extension in ARCHIVES or self.search.rules.source_code is False:
            return _not_text_by_extension(path)
        self._undecided.add(path)
        return None

    def _file(self, path: Path, found: os.stat_result | None) -> Iterator[Path]:
        if found is None:
            self.search.skipped.add(BROKEN, path)
        elif self._is_new(found):
            yield path
        else:
            self.search.skipped.add(REPEATED, path)

    def _is_new(self, found: os.stat_result) -> bool:
        identity = identity_of(found)
        known = identity is not None and identity in self._seen
        if identity is not None:
            self._seen.add(identity)
        return not known

"""Which files of folders and patterns are read: what a person asks for, and what tools leave behind."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from textmill.data.sources.glob_patterns import Pattern, git_pattern, with_alternatives
from textmill.data.sources.skipped_files import SkippedFiles
from textmill.errors import ConfigError

EXCLUDED = "--exclude leaves it out"
NOT_INCLUDED = "--include leaves it out"
IGNORED = "a .gitignore lists it (--gitignore false reads it)"
OF_TOOLS = "it is a folder that tools fill (name it to read it)"

TOOL_FOLDERS = frozenset({"node_modules", "bower_components", "__pycache__", "CVS", "_darcs", "__pypackages__"})
"""Folders of packages and caches. Those that begin with a dot, such as .git and .venv, are hidden like other files."""

TOOL_MARKS = frozenset({"pyvenv.cfg", "CACHEDIR.TAG"})
"""Files in a virtual environment of Python, and in a cache (bford.info/cachedir)."""


@dataclass(frozen=True)
class FileRules:
    """What is read of folders and patterns. A file that is named by hand is read in any case.

    Attributes:
        include: patterns of paths below what was named, as in .gitignore and with braces; without one all is read.
        exclude: patterns of what is left out of that; `!` before a pattern reads those all the same.
        gitignore: whether what the .gitignore files of a repository list is left out.
        source_code: whether folders are source code, see `source_tree`; None to tell by their files.
        keep_files: what is read in source code all the same: generated, minified, vendored.
        max_file_size, max_line_length: bytes, 0 for no limit; None for the limits of source code, and none elsewhere.
        max_non_text: the largest share of bytes that are no text, in the same way.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = True
    source_code: bool | None = None
    keep_files: tuple[str, ...] = ()
    max_file_size: int | None = None
    max_line_length: int | None = None
    max_non_text: float | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for a pattern that means nothing."""
        for name in ("include", "exclude"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            for pattern in getattr(self, name):
                if not _patterns([pattern]):
                    raise ConfigError(f"{name} is {pattern!r}, which matches nothing: give a pattern such as '*.py'")


USUAL_RULES = FileRules()


@dataclass
class FolderSearch:
    """A search through what was named.

    Attributes:
        rules: what is read of folders.
        skipped: what else is in them, by reason.
        notes: what else people should know, sentences.
    """

    rules: FileRules = field(default_factory=FileRules)
    notes: list[str] = field(default_factory=list)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    _effective: set[str] = field(default_factory=set)

    @cached_property
    def _include(self) -> list[Pattern]:
        return _patterns(self.rules.include)

    @cached_property
    def _exclude(self) -> list[Pattern]:
        return _patterns(self.rules.exclude)

    def excludes(self, path: str) -> bool:
        """Whether `path`, relative to what was named and with a slash at the end of a folder's, is left out."""
        found = False
        for pattern in self._exclude:
            if pattern.regex.fullmatch(path):
                self._effective.add(pattern.typed)
                found = not pattern.negated
        return found

    def includes(self, path: str) -> bool:
        """Whether `path`, as in `excludes`, is asked for. All that is in a folder of which this is true is, too."""
        if not self._include:
            return True
        found = False
        for pattern in self._include:
            if pattern.regex.fullmatch(path):
                self._effective.add(pattern.typed)
                found = not pattern.negated
        return found

    def names(self, path: str) -> bool:
        """Whether a pattern asks for files that are called like `path`: by the extension, or the whole name."""
        name = PurePosixPath(path)
        ending = name.suffix or f"/{name.name}"
        return any(
            f"/{pattern.typed}".endswith(ending) and pattern.regex.fullmatch(path) is not None
            for pattern in self._include
        )

    def sentences(self) -> list[str]:
        """Return what people should know after the search: which patterns found nothing, and what was skipped."""
        idle = [pattern.typed for pattern in (*self._include, *self._exclude) if pattern.typed not in self._effective]
        told = {typed: "--include" if typed in map(_typed, self._include) else "--exclude" for typed in idle}
        return [
            *self.notes,
            *(f"{flag} {typed} matches nothing in what was named" for typed, flag in told.items()),
            *self.skipped.sentences(),
        ]


def _typed(pattern: Pattern) -> str:
    return pattern.typed


def _patterns(typed: tuple[str, ...] | list[str]) -> list[Pattern]:
    alternatives = (alternative.removeprefix("./") for pattern in typed for alternative in with_alternatives(pattern))
    return [found for alternative in alternatives if (found := git_pattern(alternative)) is not None]

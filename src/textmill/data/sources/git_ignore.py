"""Which files git ignores: the .gitignore files of a repository, those of inner folders included.

Whether git has a file in its index all the same is not looked at, nor are the ignore files of a user or a clone.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from textmill.data.sources.glob_patterns import any_of, git_pattern
from textmill.files import read_bytes

GIT, GITIGNORE = ".git", ".gitignore"


@dataclass(frozen=True)
class GitIgnore:
    """The patterns that count in a folder.

    Attributes:
        inside: whether the folder is in a repository.
        path: of the folder, from the top of the repository, with a slash at the end; "" at the top.
        levels: length of the path of the folder that has patterns, and these, of inner folders first.
    """

    inside: bool = False
    path: str = ""
    levels: tuple[tuple[int, list[tuple[re.Pattern[str], bool]]], ...] = ()

    @staticmethod
    def of(folder: Path) -> "GitIgnore":
        """Return what counts in `folder`, which somebody named: not the patterns by which git would ignore it."""
        real = Path(os.path.realpath(folder))
        top = next((above for above in (real, *real.parents) if (above / GIT).exists()), None)
        if top is None:
            return GitIgnore()
        found, here = GitIgnore(inside=True)._with_file(top), top
        for name in real.relative_to(top).parts:
            here /= name
            if found.ignores(f"{name}/"):
                found = replace(found, levels=())
            found = found.below(name, here, has_git=False, has_file=(here / GITIGNORE).exists())
        return found

    def below(self, name: str, folder: Path, *, has_git: bool, has_file: bool) -> "GitIgnore":
        """Return what counts in `folder`, the folder `name` within this one. has_git: it is a repository of its own."""
        found = GitIgnore(inside=True) if has_git else replace(self, path=f"{self.path}{name}/")
        return found._with_file(folder) if has_file and found.inside else found

    def ignores(self, name: str) -> bool:
        """Whether git ignores what is called `name` in this folder; a folder's name ends in a slash."""
        path = self.path + name
        for start, patterns in self.levels:
            for regex, negated in patterns:
                if regex.fullmatch(path, start):
                    return not negated
        return False

    def _with_file(self, folder: Path) -> "GitIgnore":
        try:
            text = read_bytes(folder / GITIGNORE).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        except OSError:  # there is none, or nobody can read it: git goes on without it, too
            return self
        patterns = any_of(pattern for line in text.split("\n") if (pattern := git_pattern(line)))
        return replace(self, levels=((len(self.path), patterns), *self.levels)) if patterns else self

"""A run, its cache and its models in one folder, damaged one file at a time and then used by real commands.

A command runs in a child process that is forked from this one, so that torch is already there. The folder is put back
whenever a command has changed it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from support.disk_faults import in_child
from support.run_commands import rows
from textmill.cli.main import main, parse

REFUSALS = (65, 66)
"""Exit codes that say that a file is damaged or missing."""

SECONDS = 60
"""No command of this size takes as long: it hangs."""


@dataclass(frozen=True)
class Use:
    """A command that reads a run, its cache or a model. writes: the run folder that it trains in."""

    arguments: tuple[str, ...]
    writes: str = ""
    codes: tuple[int, ...] = REFUSALS

    def __str__(self) -> str:
        return " ".join(self.arguments)

    @cached_property
    def verb(self) -> Callable[[], Any]:
        """The parsed command line: parsing takes longer than most of the commands."""
        return parse(list(self.arguments))


@dataclass(frozen=True)
class Outcome:
    """What a command did. result: all that people take from it; opened: the files that it has read."""

    code: int
    said: str
    result: Any
    opened: frozenset[str] = frozenset()


@dataclass
class World:
    """The folder `root`, which is as `pristine` is unless something has changed it."""

    root: Path
    pristine: Path
    outputs: Path
    whole: dict[Use, Outcome] = field(default_factory=dict)
    _seen: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_file())

    def restore(self) -> None:
        """Put every file back, if any has changed since the last time."""
        if self._seen != (now := self._state()) or not now:
            shutil.rmtree(self.root, ignore_errors=True)
            shutil.copytree(self.pristine, self.root)
            self._seen = self._state()

    def _state(self) -> dict[str, tuple[int, int, int]]:
        found = {str(path): path.stat() for path in self.root.rglob("*")}
        return {name: (one.st_size, one.st_mtime_ns, one.st_ino) for name, one in found.items()}

    def outcome(self, use: Use, damage: tuple[Path, bytes] | None = None) -> Outcome:
        """Return what the command does when all is as it was but one file, which contains something else."""
        self.restore()
        if damage is not None:
            before = damage[0].stat()
            damage[0].write_bytes(damage[1])
            os.utime(damage[0], ns=(before.st_atime_ns, before.st_mtime_ns))
        shutil.rmtree(self.outputs, ignore_errors=True)
        self.outputs.mkdir()
        code = in_child(lambda: self._run(use, audited=damage is None))
        out, err = ((self.outputs / name).read_text(errors="replace") for name in ("out", "err"))
        result = trained(self.root / use.writes) if use.writes else [out, *self._pages()]
        opened = self.outputs / "opened"
        names = opened.read_text().splitlines() if opened.exists() else ()
        if damage is not None:
            damage[0].unlink(missing_ok=True)  # so that it is put back
        return Outcome(code, f"{out}\n{err}", result, frozenset(names))

    def _pages(self) -> list[str]:
        return [path.read_text() for path in sorted(self.outputs.glob("*.html"))]

    def whole_outcome(self, use: Use) -> Outcome:
        """Return what the command does when nothing is damaged."""
        if use not in self.whole:
            self.whole[use] = self.outcome(use)
            assert self.whole[use].code == 0, f"{use}: {self.whole[use].said}"
        return self.whole[use]

    def _run(self, use: Use, *, audited: bool) -> None:
        """Run a command in this process, which is a child, and end it."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(self.outputs / name, os.O_WRONLY | os.O_CREAT), descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ["XDG_CACHE_HOME"] = str(self.root / "xdg")
        os.chdir(self.root)
        opened: set[str] = set()
        if audited:
            sys.addaudithook(lambda event, given: opened.add(os.fspath(given[0])) if is_open(event, given) else None)
        verb = use.verb
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("textmill.cli.main.parse", lambda arguments: verb)
            patch.setattr("textmill.training.around_the_loop.draw_training_curves", lambda folder: None)  # a second
            code = main(list(use.arguments))
        sys.stdout.flush()
        sys.stderr.flush()
        if audited:
            paths = {os.path.normpath(self.root / name) for name in list(opened)}
            (self.outputs / "opened").write_text("\n".join(paths))
        os._exit(code)


def is_open(event: str, given: Sequence[Any]) -> bool:
    return event == "open" and isinstance(given[0], str | os.PathLike)


def trained(run: Path) -> dict[str, Any]:
    """Return what a training gives: its weights, the state of its optimizer, its tables without times."""
    found: dict[str, Any] = {}
    for name in ("metrics.jsonl", "steps.jsonl", "samples.jsonl"):
        if (run / name).exists():
            try:
                found[name] = rows(run / name)
            except ValueError:
                found[name] = (run / name).read_bytes()
    newest = sorted((run / "checkpoints").glob("step-*"))[-1:]
    for folder in (*newest, run / "final", run / "best_model"):
        for path in sorted(folder.glob("*")):
            if path.name not in ("state.json", "MANIFEST.json"):
                found[path.relative_to(run).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


_DAMAGE = (
    "damaged",
    "has changed",
    "cannot",
    "missing",
    "not JSON",
    "bytes instead",
    "is not",
    "lost",
    "is no ",
    "skipped",
)


def verdict(use: Use, whole: Outcome, after: Outcome, path: Path) -> str:
    """Return "refused", "said" or "no effect"; or, in capitals, what is wrong.

    A sentence counts if it names the file and was not there when nothing was damaged.
    """
    before = set(whole.said.splitlines())
    new = " ".join(line.strip() for line in after.said.splitlines() if line not in before)
    named = path.name in new or path.parent.name[:12] in new  # as `cache list` spells the name of a corpus
    said = named and any(word in new for word in _DAMAGE)
    if after.code != whole.code:
        if after.code not in use.codes:
            return f"CODE {after.code}"
        return "refused" if path.name in new else "UNNAMED"
    if said:
        return "said"
    return "no effect" if after.result == whole.result else "SILENT"

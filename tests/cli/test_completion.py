"""What TAB does: verbs, flags, choices, presets, files, runs and checkpoints, in shells that are installed."""

from __future__ import annotations

import io
import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from textmill.cli.main import main
from textmill.cli.verbs import VERBS


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script of every shell; that of zsh has the name under which zsh loads it."""
    folder = tmp_path_factory.mktemp("completion")
    for shell, name in (("bash", "textmill.bash"), ("zsh", "_textmill"), ("fish", "textmill.fish")):
        with redirect_stdout(io.StringIO()) as out:
            assert main(["completion", shell]) == 0
        (folder / name).write_text(out.getvalue())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs, one of them with checkpoints, and a text."""
    (tmp_path / "runs" / "one").mkdir(parents=True)
    for step in (500, 1000):
        (tmp_path / "sweeps" / "two" / "checkpoints" / f"step-{step:07d}").mkdir(parents=True)
    (tmp_path / "book.txt").write_text("text")
    return tmp_path


def needs(shell: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    return shell


@pytest.mark.parametrize("name", ["textmill.bash", "_textmill", "textmill.fish"])
def test_every_script_knows_verbs_flags_and_choices(scripts: Path, name: str) -> None:
    """Also where the shell itself is not installed."""
    script = (scripts / name).read_text()
    words = [*VERBS, "learning-rate", "llama", "polynomial", "gpt2-xl", "auto-cpu-tiny"]
    assert [word for word in words if word not in script] == []


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("train --learn", ["--learning-rate"]),
        ("train --architecture ll", ["llama"]),
        ("train --lr-schedule co", ["constant", "cosine"]),
        ("train --report-to wa", ["wandb"]),
        ("train --preset gpt2-x", ["gpt2-xl"]),
        ("train --tokenizer b", ["bpe", "byte"]),
        ("presets med", ["medium"]),
        ("train bo", ["book.txt"]),
        ("train --val-data bo", ["book.txt"]),
        ("train --config ru", ["runs"]),
        ("train --output-dir runs/", ["runs/one"]),
        ("generate runs/o", ["runs/one"]),
        ("generate --device cu", ["cuda"]),
        ("evaluate runs/one bo", ["book.txt"]),
        ("verify runs/", ["runs/one"]),
        ("runs compare runs/one runs/", ["runs/one"]),
        ("tokenizer encode runs/", ["runs/one"]),
        ("generate sweeps/two/st", ["sweeps/two/step-500", "sweeps/two/step-1000"]),
        ("evaluate sweeps/two/be", ["sweeps/two/best"]),
        ("train --init-from sweeps/two/l", ["sweeps/two/last"]),
        ("train sweeps/two/l", []),
    ],
)
def test_bash_completes(line: str, completed: list[str], scripts: Path, folder: Path) -> None:
    """In a real bash, TAB completes flags, choices, presets, files, run folders and checkpoints."""
    words = ["textmill", *line.split(" ")]
    program = (
        f"source {scripts}/textmill.bash; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        f"COMP_LINE='{' '.join(words)}'; $(complete -p textmill | sed 's/.*-F \\([^ ]*\\) .*/\\1/') "
        f"textmill '{words[-1]}' '{words[-2]}'; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run([needs("bash"), "-c", program], capture_output=True, text=True, check=False, cwd=folder)
    assert sorted(done.stdout.split()) == sorted(completed), done.stderr


UNIQUE = [
    ("train --learn", "--learning-rate"),
    ("train --architecture ll", "llama"),
    ("train --preset gpt2-x", "gpt2-xl"),
    ("presets med", "medium"),
    ("pres", "presets"),
    ("train --val-data bo", "book.txt"),
    ("train --output-dir runs/", "runs/one/"),
    ("generate runs/o", "runs/one/"),
    ("verify sweeps/two/be", "sweeps/two/best"),
    ("train --resume-from sweeps/two/step-5", "sweeps/two/step-500"),
]
"""What is typed, and what the last word becomes."""


@pytest.mark.parametrize(("line", "word"), UNIQUE)
def test_fish_completes(line: str, word: str, scripts: Path, folder: Path) -> None:
    """fish's own `complete -C` names one candidate."""
    program = f"source {scripts}/textmill.fish; complete -C 'textmill {line}'"
    command = [needs("fish"), "--no-config", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert [candidate.split("\t")[0] for candidate in done.stdout.splitlines()] == [word], done.stderr


class Zsh:
    """An interactive zsh that has loaded the script as it is installed: from a folder of $fpath."""

    def __init__(self, scripts: Path, folder: Path) -> None:
        self.typed = folder / "typed"
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ["TERM"] = "dumb"
            os.execvp("zsh", ["zsh", "-f", "-i"])
        show = f"shown() {{ print -r -- \"$BUFFER\" > {self.typed} }}; zle -N shown; bindkey '^X' shown"
        self._write(f"fpath=({scripts} $fpath); autoload -Uz compinit; compinit -u -D; {show}; echo REA''DY\n")
        self._read(lambda text: b"READY" in text)

    def _write(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def _read(self, done: Callable[[bytes], bool], seconds: float = 30.0) -> None:
        text, until = b"", time.monotonic() + seconds
        while not done(text) and time.monotonic() < until:
            if select.select([self.terminal], [], [], 0.05)[0]:
                text += os.read(self.terminal, 1 << 16)

    def complete(self, line: str) -> str:
        """Type `line` and TAB; return what then stands there."""
        self.typed.unlink(missing_ok=True)
        self._write(f"\x15textmill {line}\t\x18")
        self._read(lambda text: self.typed.exists() and self.typed.read_text().endswith("\n"))
        return self.typed.read_text().rstrip()

    def close(self) -> None:
        os.close(self.terminal)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def test_zsh_completes(scripts: Path, folder: Path) -> None:
    """In an interactive zsh, TAB makes whole words of what is typed."""
    needs("zsh")
    zsh = Zsh(scripts, folder)
    try:
        found = {line: zsh.complete(line).removeprefix("textmill ") for line, _ in UNIQUE}
    finally:
        zsh.close()
    assert found == {line: " ".join([*line.split(" ")[:-1], word]) for line, word in UNIQUE}

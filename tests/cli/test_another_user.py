"""A user who may not write to the home folder, as on shared servers and in containers under any number."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from textmill.cli.main import main

USER = "12345"
READS = "dac_read_search"
"""The one capability of the other user: Python itself may lie in a home folder that is closed to others."""

TINY = "--preset tiny --tokenizer byte --max-steps 1 --device cpu --threads 1 --d-model 16 --num-layers 1 --num-heads 2"


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where all may write, with a text, a run, a tokenizer, and a home folder where nobody may."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.getuid() != 0:
        pytest.skip("needs setpriv (util-linux) and root, to become another user")
    folder = tmp_path_factory.mktemp("shared")
    if as_another_user(["id", "-u"], folder).stdout.strip() != USER:
        pytest.skip("setpriv cannot become another user here")
    (folder / "home").mkdir()
    folder.chmod(0o777)
    for parent in folder.parents:
        parent.chmod(parent.stat().st_mode | 0o055)
        if parent.name.startswith("pytest-of-"):
            break
    (folder / "book.txt").write_text("once upon a time there was a mill\n" * 100)
    run = ["--output-dir", str(folder / "run"), "--cache-dir", str(folder / "roots-cache")]
    assert main(["train", str(folder / "book.txt"), *TINY.split(), *run]) == 0
    shutil.rmtree(folder / "roots-cache")
    return folder


def as_another_user(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without rights, whose home folder is `folder/home`."""
    rights = [f"--{kind}=-all,+{READS}" for kind in ("bounding-set", "inh-caps", "ambient-caps")]
    environment = {**os.environ, "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    environment.pop("XDG_CACHE_HOME", None)
    return subprocess.run(
        ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", *rights, *command],
        capture_output=True, text=True, timeout=120, cwd=folder, env=environment,
    )  # fmt: skip


def textmill(words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return as_another_user([sys.executable, "-m", "textmill", *words.split()], folder)


def test_another_user_is_refused_and_told_the_flag(shared_folder: Path) -> None:
    """Where the home folder cannot be written to, the error (73) names --cache-dir, and with it the verb works."""
    refused = textmill("evaluate run", shared_folder)  # its token store is gone
    assert refused.returncode == 73, refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"textmill: error: cannot write {shared_folder / 'home' / '.cache' / 'textmill'}")
    assert last.endswith(": Permission denied. Name another folder for prepared text with --cache-dir")
    done = textmill("evaluate run --cache-dir own-cache", shared_folder)
    assert done.returncode == 0, done.stderr


def test_generating_needs_no_cache(shared_folder: Path) -> None:
    """A verb that prepares nothing works without a folder to write to."""
    done = textmill("generate run --prompt once --max-new-tokens 2", shared_folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose token store is gone, beside its text, and a home folder with a file where caches lie."""
    folder = tmp_path_factory.mktemp("no-cache")
    (folder / "book.txt").write_text("once upon a time there was a mill\n" * 100)
    where = ["--output-dir", str(folder / "run"), "--cache-dir", str(folder / "cache")]
    assert main(["train", str(folder / "book.txt"), *TINY.split(), *where]) == 0
    shutil.rmtree(folder / "cache")
    (folder / "closed").write_text("")
    return folder / "run"


@pytest.mark.parametrize(
    "words",
    [
        f"train book.txt {TINY} --output-dir new",
        "prepare - --tokenizer byte --output new",
        "evaluate run",
        "evaluate run book.txt",
        "evaluate run -",
        "runs compare run run --on book.txt",
        "tokenizer train - --vocab-size 300 --output new",
        "tokenizer inspect run --data -",
    ],
)
def test_every_verb_that_uses_the_cache_can_be_given_another(
    words: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal names the flag, and the verb has it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(run.parent / "closed"))
    names = {name: str(run.parent / name) for name in ("book.txt", "run")} | {"new": str(tmp_path / "new")}
    command = [names.get(word, word) for word in words.split()]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"once upon a time " * 100)))
    assert main(command) == 73
    assert capsys.readouterr().err.endswith(". Name another folder for prepared text with --cache-dir\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"once upon a time " * 100)))
    assert main([*command, "--cache-dir", str(tmp_path / "cache")]) == 0

"""Whatever standard output is, it neither ends the work nor is called a defect."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from textmill.cli.main import BROKEN_PIPE, VERBS, main

TEXT = "Ünïcode – “text” 漢字 кириллица, \N{GRINNING FACE}.\n" * 60
TINY = "--tokenizer char --d-model 16 --num-layers 1 --num-heads 2 --max-seq-len 16 --batch-size 4 --max-steps 4"
TINY += " --eval-steps 2 --sample-steps 2 --sample-tokens 4 --logging-steps 1 --device cpu --threads 1"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Writer:
    """What a program may put in place of standard output: it can be written to, and nothing else."""

    def write(self, text: str) -> int:
        return len(text)


def broken_pipe() -> io.TextIOWrapper:
    """Return a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", encoding="utf-8")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


OUTPUTS: dict[str, Callable[[], Any]] = {
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    "latin-1": lambda: io.TextIOWrapper(io.BytesIO(), encoding="latin-1"),
    "gbk": lambda: io.TextIOWrapper(io.BytesIO(), encoding="gbk"),
    "narrow": Terminal,
    "replaced": Writer,
    "missing": lambda: None,
    "closed": closed,
    "broken pipe": broken_pipe,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a run, a tokenizer, and a cache."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        for words in (f"train text.txt {TINY} --output-dir run", "tokenizer train text.txt --output tok"):
            assert main(in_folder(words, folder)) == 0
    return folder


def in_folder(line: str, folder: Path) -> list[str]:
    """Return the words of a command line, its files in `folder`."""
    own = {"text.txt", "run", "tok", "new", "page.html"}
    words = [str(folder / word) if word in own else word for word in line.split()]
    takes_cache = words[0] in ("train", "plan", "prepare", "config", "cache") and "schema" not in words
    return [*words, "--cache-dir", str(folder / "cache")] if takes_cache and "--help" not in words else words


COMMANDS = [
    "--help",
    "--version",
    *(f"{verb} --help" for verb in VERBS),
    "train text.txt --dry-run",
    "plan text.txt",
    "evaluate run",
    "evaluate run --json",
    "generate run --prompt “",
    "generate run --prompt “ --json --num-samples 2",
    "prepare text.txt --output new",
    "report run --output page.html",
    "runs run",
    "runs compare run run",
    "verify run",
    "tokenizer train text.txt --tokenizer bpe --output new",
    "tokenizer encode tok 漢",
    "tokenizer decode tok 1 2 3 4 5 6 7 8 9 10 11 12",
    "tokenizer inspect tok 漢字 --data text.txt",
    "tokenizer inspect tok 漢字 --json",
    "config show --run-name 漢字",
    "config show --run-name 漢字 --json",
    "config schema",
    "presets",
    "presets gpt2",
    "doctor --device cpu",
    "cache list",
    "completion bash",
]


@contextlib.contextmanager
def output(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Standard output is of this kind."""
    stream = OUTPUTS[kind]()
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", "12")
        patch.setattr(sys, "stdout", stream)
        yield stream


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind in ("ascii", "missing") else pytest.param(kind, marks=pytest.mark.slow)
        for kind in OUTPUTS
        if kind != "latin-1"
    ],
)
def test_every_screen_can_be_written_to_it(
    kind: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every verb does its work; only a reader who has gone is told of in the exit code."""
    for line in COMMANDS:
        words = [str(tmp_path / "new" / str(len(line))) if word == "new" else word for word in line.split()]
        with output(kind, monkeypatch):
            code = main(in_folder(" ".join(words), folder))
        errors = capsys.readouterr().err
        assert code in ((0, BROKEN_PIPE) if kind == "broken pipe" else (0,)), f"{line}\n{errors}"
        assert "error" not in errors and "Traceback" not in errors, f"{line}\n{errors}"


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_run_goes_on_whatever_becomes_of_its_screen(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends as it should, with all that was said in its log."""
    run = tmp_path / "run"
    words = ["train", str(folder / "text.txt"), *TINY.split(), "--output-dir", str(run)]
    with output(kind, monkeypatch):
        assert main([*words, "--cache-dir", str(folder / "cache")]) == 0
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    log = (run / "train.log").read_text(encoding="utf-8")
    assert "sample" in log and "step 4 · " in log and "try it" in log


def test_an_encoding_keeps_json_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has escapes for what ASCII lacks, so that a program reads the very text."""
    with output("ascii", monkeypatch) as stream:
        assert main(["tokenizer", "inspect", str(folder / "run"), "漢字", "--json"]) == 0
        stream.flush()
        described = json.loads(stream.buffer.getvalue())
    assert [token["text"] for token in described["tokens"]] == ["漢", "字"]


@pytest.mark.parametrize("line", ["train --help", "presets"])
@pytest.mark.parametrize(
    ("reader", "codes", "lines"), [("true", {BROKEN_PIPE}, 0), ("head -1", {BROKEN_PIPE, 0}, 1)], ids=["true", "head"]
)
def test_a_reader_that_leaves_is_no_error(line: str, reader: str, codes: set[int], lines: int) -> None:
    """Nothing is said on standard error. Who reads a line may leave after the last was written, which is a success."""
    program = f"{sys.executable} -m textmill {line} | {reader}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert (done.stderr, done.stdout.count("\n")) == ("", lines)
    assert done.returncode in codes


def test_a_process_without_streams(folder: Path, tmp_path: Path) -> None:
    """Started with all three descriptors closed, a run finishes, and none of its files gets what is printed."""
    words = ["train", str(folder / "text.txt"), *TINY.split(), "--output-dir", str(tmp_path / "run")]
    words += ["--cache-dir", str(folder / "cache")]
    done = subprocess.run(
        ["bash", "-c", '"$0" -m textmill "$@" <&- >&- 2>&-', sys.executable, *words], check=False, env=dict(os.environ)
    )
    assert done.returncode == 0
    assert main(["verify", str(tmp_path / "run")]) == 0


def test_names_of_files_need_not_be_utf8(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text is read from such a file, and a run written to such a folder; all verbs find it again."""
    name = os.fsdecode(b"b\xfcch")
    book, run, again = tmp_path / f"{name}.txt", tmp_path / name, tmp_path / "again"
    book.write_text(TEXT, encoding="utf-8")
    cache = ["--cache-dir", str(tmp_path / "cache")]
    assert main(["train", str(book), *TINY.split(), "--output-dir", str(run), *cache]) == 0
    assert main(["train", "--output-dir", str(run), "--resume", "--max-steps", "6", *cache]) == 0
    assert main(["train", "--config", str(run), "--output-dir", str(again), *cache]) == 0
    for words in (["verify"], ["report"], ["evaluate"], ["generate", "--prompt", "x"], ["runs"]):
        assert main([words[0], str(run), *words[1:]]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["runs", str(tmp_path), "--json"]) == 0
    assert str(run) in {one["folder"] for one in json.loads(capsys.readouterr().out)}


NO_HOME = """
import os, pwd, sys, tempfile
def gone(*user): raise KeyError(user)
pwd.getpwuid = pwd.getpwnam = gone
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME"): os.environ.pop(name, None)
from textmill.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_user_without_a_home_folder(folder: Path, tmp_path: Path) -> None:
    """As in a container that runs under any number: the cache is in the folder for temporary files, for this user."""
    words = ["train", str(folder / "text.txt"), *TINY.split(), "--output-dir", str(tmp_path / "run")]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, *words], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    cache = tmp_path / f"textmill-{os.getuid()}"
    assert (cache / "corpora").is_dir() and cache.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("named", ["~/missing.txt", "~nobody-of-this-name/missing.txt"])
def test_a_tilde_that_means_nobody(
    named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path below the home folder of a user who has none is a file that is not there."""
    monkeypatch.delenv("HOME")
    assert main(["train", named]) == 66
    assert "missing.txt" in capsys.readouterr().err


@pytest.mark.parametrize("stream", [Writer(), object()], ids=["only write", "not even write"])
def test_a_note_ends_nothing_whatever_standard_error_is(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a command is printed, or not; its exit code is the same."""
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["runs", "nowhere"]) == 66

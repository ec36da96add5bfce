"""No line that the program prints can move a cursor, change a terminal's state or show text in another order."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.report_runs import train_small
from textmill.cli.main import VERBS, main
from textmill.console import standard_streams
from textmill.console.screen import Screen
from textmill.console.status_line import StatusLine

C0 = [chr(code) for code in range(32) if chr(code) not in "\t\n"]
C1 = [chr(code) for code in range(0x7F, 0xA0)]
DIRECTIONS = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]
SEPARATORS = ["\u2028", "\u2029"]
EVERY = "".join([*C0, *C1, *DIRECTIONS, *SEPARATORS])
SPELLING = "\u200c\u200d\u200e\u200f\u00a0\u3000\u00ad é漢👩\u200d🚀"
"""Joiners, direction marks, spaces and a soft hyphen: parts of ordinary text."""

HOSTILE = "a\x1b[2J\x9b31m\u202ec\x07\x08\rd\ne"
"""A name that erases the screen, colours it, turns its end around, rings, goes back and begins a line."""


def harmful(printed: str) -> set[str]:
    return set(printed) & set(EVERY)


def spoken(capsys: pytest.CaptureFixture[str]) -> str:
    both = capsys.readouterr()
    return both.out + both.err


WAYS: dict[str, Callable[[str], object]] = {
    "write": standard_streams.write,
    "note": standard_streams.note,
    "field": lambda text: standard_streams.field(text, text),
    "table": lambda text: standard_streams.write(standard_streams.table([[text, text]], right={0})),
    "json": lambda text: standard_streams.write_json({text: [text]}),
    "say": lambda text: Screen().say(text),
    "screen field": lambda text: Screen().field(text, text),
    "sample": lambda text: Screen().sample(text, 1),
    "line": lambda text: StatusLine().print(text),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_control_character_leaves(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    """C0, DEL, C1, bidirectional controls and separators of lines are not printed, by whatever prints."""
    for character in EVERY:
        WAYS[way](f"a{character}b")
        assert not harmful(spoken(capsys)), repr(character)
    WAYS[way](SPELLING)
    printed = spoken(capsys)
    assert SPELLING in printed


def test_json_keeps_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has control characters as escapes: a program reads the values that were meant."""
    standard_streams.write_json({"text": EVERY + SPELLING})
    printed = capsys.readouterr().out
    assert not harmful(printed)
    assert json.loads(printed) == {"text": EVERY + SPELLING}


def test_a_result_is_kept_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model wrote goes into a pipe as it is, and to a terminal without control characters."""
    standard_streams.write_text(EVERY)
    assert capsys.readouterr().out == EVERY + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    standard_streams.write_text(EVERY)
    assert not harmful(capsys.readouterr().out)


def test_a_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line feed in a name cannot pretend that the program said a second line."""
    for print_it in (standard_streams.note, lambda text: standard_streams.field("file", text), Screen().say):
        print_it("a\nfinished    all is well")
        assert spoken(capsys).count("\n") == 1


FAILING = {
    "train": ["train", HOSTILE],
    "plan": ["plan", HOSTILE],
    "evaluate": ["evaluate", HOSTILE],
    "generate": ["generate", HOSTILE, "--prompt", HOSTILE],
    "prepare": ["prepare", HOSTILE, "--output", "prepared"],
    "data": ["data", HOSTILE],
    "sweep": ["sweep", HOSTILE, "--vary", HOSTILE],
    "report": ["report", HOSTILE],
    "runs": ["runs", "list", HOSTILE],
    "verify": ["verify", HOSTILE],
    "tokenizer": ["tokenizer", "inspect", HOSTILE],
    "config": ["config", "show", "--config", HOSTILE],
    "presets": ["presets", HOSTILE],
    "doctor": ["doctor", HOSTILE],
    "cache": ["cache", "list", "--cache-dir", HOSTILE, HOSTILE],
    "completion": ["completion", HOSTILE],
}


def test_every_verb_is_tried() -> None:
    """A new verb gets an error line here too."""
    assert FAILING.keys() == VERBS.keys()


@pytest.mark.parametrize("flags", [[], ["--debug"]])
@pytest.mark.parametrize("verb", [*VERBS, HOSTILE])
def test_the_error_line_of_every_verb(verb: str, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An argument full of control characters is refused in one line without any of them, with a traceback too."""
    assert main([*FAILING.get(verb, [verb]), *flags]) in (2, 65, 66, 73)
    printed = spoken(capsys)
    assert not harmful(printed)
    assert re.fullmatch(r"textmill: error: .+", printed.splitlines()[-1])
    assert len(printed.splitlines()) == 1 or flags


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with hostile names of folder and text, whose text has control characters too."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / f"{HOSTILE}.txt").write_text(f"{HOSTILE}{EVERY} words and more words\n" * 60)
    return train_small(folder / "runs" / HOSTILE, folder / f"{HOSTILE}.txt", folder / "cache")


def test_a_run_with_hostile_names(
    hostile_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, its log, lists, comparison, check, report and evaluation print none of what their files contain."""
    assert not harmful((hostile_run / "train.log").read_text())
    (hostile_run / "checkpoints" / "step-0000002" / "model.safetensors").write_bytes(b"x")
    status = json.loads((hostile_run / "status.json").read_text())
    (hostile_run / "status.json").write_text(json.dumps({**status, "state": HOSTILE, "time": HOSTILE}))
    commands = [
        ["runs", str(hostile_run.parent)],
        ["runs", str(hostile_run.parent), "--json"],
        ["runs", "compare", str(hostile_run), str(hostile_run)],
        ["verify", str(hostile_run)],
        ["report", str(hostile_run)],
        ["evaluate", str(hostile_run)],
        ["evaluate", str(hostile_run / "step-2")],
        ["train", "--output-dir", str(hostile_run), "--resume", "--max-steps", "5"],
        ["config", "show", "--config", str(hostile_run)],
    ]
    for words in commands:
        main(words)
        printed = spoken(capsys)
        assert printed
        assert not harmful(printed), words
    assert not harmful((hostile_run / "report.html").read_text())
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    main(["runs", str(hostile_run.parent)])
    assert not harmful(terminal.getvalue())


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_names_of_tensors(hostile_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The name of a tensor in somebody's file is printed without control characters."""
    model = tmp_path / "model"
    model.mkdir()
    for file in (hostile_run / "final").iterdir():
        if file.name != "MANIFEST.json":
            (model / file.name).write_bytes(file.read_bytes())
    tensors = {**load_file(model / "model.safetensors"), HOSTILE: torch.zeros(1)}
    save_file(tensors, model / "model.safetensors")
    for words in (["generate", str(model), "--prompt", "a"], ["evaluate", str(model)], ["verify", str(model)]):
        assert main(words) == 65
        printed = spoken(capsys)
        assert "a\ufffd[2J" in printed
        assert not harmful(printed)

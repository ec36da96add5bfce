"""What a person sees: whole words at any width, progress after two seconds, and nothing of it in a file."""

from __future__ import annotations

import io
import logging
import re
import time
from typing import Any

import pytest

from textmill.console import screen as module
from textmill.console import standard_streams
from textmill.console.command_line import program
from textmill.console.screen import Screen, fitting

ROW: dict[str, Any] = {
    "step": 900,
    "epoch": 0.59,
    "train_loss": 3.0714,
    "val_loss": 3.0470,
    "val_perplexity": 21.05,
    "val_bits_per_byte": 1.337,
    "learning_rate": 1e-3,
    "tokens_per_second": 3340.0,
}


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return monkeypatch


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_lines_are_wrapped_between_words(columns: pytest.MonkeyPatch, width: str) -> None:
    """A field's further lines stand under its first word; a command stays in one piece."""
    columns.setenv("COLUMNS", width)
    out = Terminal()
    screen = Screen(stream=out)
    sentence = "auto-cpu-medium, for 10.4 MB of text on a CPU; --preset NAME or any flag overrides it"
    screen.field("preset", sentence)
    screen.command("try it", command := "textmill generate runs/" + "x" * 120)
    *lines, last = out.getvalue().splitlines()
    assert max(map(len, lines)) <= int(width)
    assert all(line.startswith(" " * 12) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == f"preset {sentence}"
    assert last == f"try it      {command}"


def test_a_pipe_gets_every_line_in_one_piece(columns: pytest.MonkeyPatch) -> None:
    """What a program reads is not wrapped, and holds nothing that was there for a moment only."""
    out = io.StringIO()
    screen = Screen(stream=out)
    with screen.during("starting"):
        pass
    screen.field("data", "word " * 40)
    screen.evaluation(ROW, improved=True)
    screen.close()
    assert out.getvalue().splitlines() == [
        "data        " + "word " * 39 + "word",
        "step 900 · epoch 0.59 · train loss 3.0714 · val loss 3.0470 · perplexity 21.05 · 1.337 bits per byte · best",
    ]


def test_an_evaluation_fits_a_line(columns: pytest.MonkeyPatch) -> None:
    """At 80 columns what follows from the rest is left out, at 120 nothing."""
    shown = []
    for width in ("80", "120"):
        columns.setenv("COLUMNS", width)
        out = Terminal()
        Screen(stream=out).evaluation(ROW, improved=True)
        shown += out.getvalue().splitlines()
    assert shown[0] == "step 900 · train loss 3.0714 · val loss 3.0470 · 1.337 bits per byte · best"
    assert "epoch 0.59" in shown[1] and "perplexity 21.05" in shown[1]


def test_what_is_spare_goes_in_turn() -> None:
    """Parts are left out in the order named, and no more of them than needed."""
    parts = {"a": "aaaa", "b": "bbbb", "c": "cccc"}
    assert fitting(parts, 18, ("b", "c")) == "aaaa · bbbb · cccc"
    assert fitting(parts, 17, ("b", "c")) == "aaaa · cccc"
    assert fitting(parts, 1, ("b", "c")) == "aaaa"


def test_reading_is_shown_after_two_seconds(clock: list[float]) -> None:
    """In a pipe a line every ten seconds from the second on, with speed and the time that is left."""
    out = io.StringIO()
    screen = Screen(stream=out)
    for seconds in range(14):
        clock[0] = 100.0 + seconds
        screen.reading(1_000_000 * seconds, 20_000_000)
    assert out.getvalue().splitlines() == [
        "reading 10% · 1.0 MB/s · 18 s left",
        "reading 60% · 1.0 MB/s · 8 s left",
    ]


def test_progress_leaves_no_trace_on_a_terminal(clock: list[float], columns: pytest.MonkeyPatch) -> None:
    """The line that is drawn again and again is erased before anything else is said."""
    out = Terminal()
    screen = Screen(stream=out)
    screen.reading(0, 100)
    clock[0] += 3
    screen.reading(30, 100)
    screen.say("ready")
    plain = re.sub(r"\x1b\[(\?25[lh]|[0-9;]*m)", "", out.getvalue())  # colours, and the cursor hidden and shown again
    drawn, said = plain.split("\n\r\x1b[1A\x1b[2K")  # up one line, which is erased
    for line in drawn.split("\r\x1b[2K"):
        assert line.startswith("reading 30% ━") and line.endswith("━ 10 B/s · 7 s left") and len(line) == 80
    assert said == "ready\n"


@pytest.mark.parametrize("bar", [False, True])
def test_what_an_encoding_lacks_ends_nothing(columns: pytest.MonkeyPatch, bar: bool) -> None:
    """Where only ASCII can be shown, a dot between two facts is a question mark, above a bar too."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    out.isatty = lambda: bar  # type: ignore[method-assign]
    screen = Screen(stream=out)
    screen.begin(0, 10)
    screen.evaluation(ROW, improved=True)
    screen.close()
    out.flush()
    assert b"step 900 ? train loss 3.0714" in raw.getvalue().replace(b" ? epoch 0.59", b"")


def test_evaluating_is_shown_as_reading_is(clock: list[float]) -> None:
    """A long evaluation tells how far it is; the next one is timed by itself."""
    out = io.StringIO()
    screen = Screen(stream=out)
    for done in (1000, 4000):
        screen.evaluating(done, 16_000)
        clock[0] += 4
    screen.evaluation(ROW, improved=False)
    screen.evaluating(1000, 16_000)
    lines = out.getvalue().splitlines()
    assert lines[0] == "evaluating 25% · 750 tok/s · 16 s left"
    assert len(lines) == 2 and lines[1].startswith("step 900")


def test_a_pipe_is_told_of_slow_steps(clock: list[float]) -> None:
    """Where ten steps take minutes, their first report does not leave a person waiting: a line every ten seconds."""
    out = io.StringIO()
    screen = Screen(stream=out)
    screen.begin(0, 100)
    for step in range(1, 9):
        screen.stepping(step, 100, 50.0, 60.0)
        clock[0] += 4
    screen.training(ROW, 1000, 12.0)
    assert [line.split(" · ")[0] for line in out.getvalue().splitlines()] == ["step 4/100", "step 7/100"]
    assert out.getvalue().startswith("step 4/100 · 50 tok/s · 1 min 00 s left\n")


def test_a_sample_has_its_step() -> None:
    """Samples stand between evaluations of other steps."""
    out = io.StringIO()
    Screen(stream=out).sample("Once\nupon", 40)
    assert out.getvalue() == "  sample at step 40:\n  | Once\n  | upon\n"


def test_commands_are_named_as_they_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed can be pasted: by the path where textmill is not on PATH, else by its name."""
    monkeypatch.setattr(standard_streams.sys, "argv", [".venv/bin/textmill", "train"])
    monkeypatch.setattr(standard_streams.shutil, "which", lambda name: None)
    assert program() == ".venv/bin/textmill"
    monkeypatch.setattr(standard_streams.shutil, "which", lambda name: "/usr/bin/textmill")
    assert program() == "textmill"
    monkeypatch.setattr(standard_streams.sys, "argv", ["/lib/textmill/__main__.py"])
    monkeypatch.setattr(standard_streams.shutil, "which", lambda name: None)
    assert program() == "textmill"


def test_a_quiet_screen_with_a_title_shows_its_bar_alone(columns: pytest.MonkeyPatch) -> None:
    """What runs inside something else tells how far it is and nothing more, and on a terminal only."""
    out, pipe = Terminal(), io.StringIO()
    for stream in (out, pipe):
        screen = Screen(quiet=True, title="trial 3", stream=stream)
        screen.say("hello")
        screen.begin(0, 1000)
        screen.training(ROW, 1000, 12.0)
        screen.close()
    assert "trial 3 · step 900/1000" in out.getvalue() and "hello" not in out.getvalue()
    assert pipe.getvalue() == ""


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, ""), (0.3, "loading ...\n")])
def test_a_pipe_is_told_of_a_wait(monkeypatch: pytest.MonkeyPatch, seconds: float, expected: str) -> None:
    """One plain line once it takes long; none for a short wait, or where progress has told of it before."""
    monkeypatch.setattr("textmill.console.screen.PATIENCE_SECONDS", 0.1)
    out = io.StringIO()
    screen = Screen(stream=out)
    with screen.during("loading"):
        time.sleep(seconds)
    assert out.getvalue() == expected
    with screen.during("loading"):
        screen.say("loaded already")
        time.sleep(seconds)
    assert out.getvalue() == f"{expected}loaded already\n"


def test_a_pipe_is_told_of_a_long_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first step waits for is named until it is done."""
    monkeypatch.setattr("textmill.console.screen.PATIENCE_SECONDS", 0.1)
    out = io.StringIO()
    screen = Screen(stream=out)
    screen.begin(0, 10, "compiling")
    time.sleep(0.3)
    screen.stepping(1, 10, 100.0, None)
    screen.begin(1, 10, "compiling")
    screen.stepping(2, 10, 100.0, None)
    time.sleep(0.3)
    assert out.getvalue() == "compiling ...\n"


def test_a_wait_stands_on_a_terminal_until_it_is_over(columns: pytest.MonkeyPatch) -> None:
    """It is drawn at once, and leaves no trace."""
    out = Terminal()
    with Screen(stream=out).during("loading"):
        assert "loading ..." in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")


def test_only_a_screen_that_is_logged_writes_to_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    """The screens of processes beside the first are not."""
    with caplog.at_level(logging.INFO, logger="textmill"):
        for logged in (True, False):
            screen = Screen(quiet=True)
            screen.logged = logged
            screen.say(f"logged {logged}")
    assert [record.getMessage() for record in caplog.records] == ["logged True"]

"""A corpus is made by one process at a time; others wait, and use it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from textmill.data import prepare
from textmill.data.store.unfinished_corpus import one_at_a_time, unfinished
from textmill.errors import Interrupted


def waiting_for(final: Path, *, stop: Callable[[], None]) -> list[str]:
    """What is said while another process makes the corpus `final`, until `stop` raises Interrupted."""
    said: list[str] = []
    with pytest.raises(Interrupted), one_at_a_time(final, said.append, stop):
        raise AssertionError("two at a time")
    return said


def test_waiting_for_another_process_can_be_stopped(tmp_path: Path) -> None:
    """A signal ends the waiting; the process that is at work goes on, and what it keeps is not touched."""
    final, calls = tmp_path / "corpus", []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Interrupted(signal.SIGTERM)

    with one_at_a_time(final, print, lambda: None) as turn, unfinished(final, "key", turn) as work:
        assert waiting_for(final, stop=stop) == [
            "another process is preparing this text: waiting for it, to use what it makes"
        ]
        (work.folder / "file").write_text("made")
    assert (final / "file").read_text() == "made" and list(tmp_path.iterdir()) == [final]


def test_the_work_of_a_killed_process_is_taken_over_by_one_that_waits(tmp_path: Path) -> None:
    """The lock ends with its process: the next in the queue finds no corpus and makes it."""
    text = tmp_path / "text.txt"
    text.write_text("The miller grinds corn. " * 100)
    whole = prepare(text, tokenizer="byte", cache_dir=tmp_path / "whole")
    final = tmp_path / "cache" / "corpora" / whole.folder.name
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from textmill.data.store.unfinished_corpus import one_at_a_time\n"
        "with one_at_a_time(Path(sys.argv[1]), print, lambda: None):\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(final)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "at work\n"
    said: list[str] = []

    def note(sentence: str) -> None:
        said.append(sentence)
        if "another process" in sentence:
            other.kill()

    corpus = prepare(text, tokenizer="byte", cache_dir=tmp_path / "cache", say=note)
    other.wait()
    other.stdout.close()
    assert "waiting for it" in said[0] and corpus.fingerprint == whole.fingerprint
    assert list(final.parent.iterdir()) == [final]

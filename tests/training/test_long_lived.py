"""What lives as long as a run is searched for garbage once, and what is made later as always."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

import textmill
from textmill.training import run as runs
from textmill.training.long_lived import LongLived


class Cycle:
    """Garbage that only the search finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Nothing is set aside before and after a test, and the search is on."""
    assert gc.isenabled() and gc.get_freeze_count() == 0
    yield
    gc.unfreeze()
    gc.enable()


def test_garbage_is_found_before_and_afterwards() -> None:
    """Cycles that nobody has any more are not set aside, later ones are found, and in the end all are searched."""
    old, kept = Cycle(), Cycle()
    gone, stays = weakref.ref(old), weakref.ref(kept)
    del old
    long_lived = LongLived()
    long_lived.set_aside()
    assert gone() is None and gc.get_freeze_count() > 10_000
    new = weakref.ref(Cycle())
    gc.collect()
    assert new() is None
    long_lived.release()
    assert gc.get_freeze_count() == 0
    del kept
    gc.collect()
    assert stays() is None


def test_what_a_program_does_itself_is_left_alone() -> None:
    """Nothing is set aside or returned where the search is off, or a program has set objects aside."""
    for prepare in (gc.disable, gc.freeze):
        prepare()
        before = gc.get_freeze_count()
        long_lived = LongLived()
        long_lived.set_aside()
        gc.enable()
        long_lived.set_aside()  # it is decided once
        assert (gc.get_freeze_count() > 10_000) == (before > 0)  # some of them may have ended meanwhile
        long_lived.release()
        assert (gc.get_freeze_count() > 10_000) == (before > 0)  # some of them may have ended meanwhile


def test_a_run_sets_aside_and_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It happens at a report, once some seconds were trained, and is undone when the run ends."""
    monkeypatch.setattr(runs, "SETTLED_SECONDS", 0.0)
    text, seen = tmp_path / "text.txt", []
    text.write_text("All work and no play makes Jack a dull boy.\n" * 60)

    def metric(logits: object, batch: object) -> tuple[float, float]:
        seen.append(gc.get_freeze_count() > 0)
        return 1.0, 1.0

    shape = {"d_model": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 16, "batch_size": 2, "device": "cpu"}
    often = {"max_steps": 4, "logging_steps": 2, "eval_steps": 1, "sample_steps": 0}
    places = {"data": str(text), "cache_dir": tmp_path / "cache", "output_dir": tmp_path / "run"}
    textmill.train({**shape, **often, **places, "tokenizer": "char"}, metrics={"seen": metric}, quiet=True)
    assert True in seen and gc.get_freeze_count() == 0

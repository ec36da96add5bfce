"""Fixtures that many rooms share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from textmill.files import write_bytes
from textmill.machine import precision
from textmill.runs import layout
from textmill.tracking.training_curves import training_curves


@pytest.fixture(scope="session", autouse=True)
def float32_unless_asked() -> Iterator[None]:
    """Runs of this process compute in float32 where nothing is said, whatever this processor is fastest with.

    The tests compare numbers with those of other programs, which bf16 would round; what is about bf16 asks for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "cpu_multiplies_bf16", lambda: False)
        yield


@pytest.fixture(scope="session")
def one_picture() -> bytes:
    """The picture of a run of which nothing was measured, drawn once."""
    return training_curves([], [], title="drawn once for all tests")


@pytest.fixture(autouse=True)
def draw_the_same_picture(monkeypatch: pytest.MonkeyPatch, one_picture: bytes) -> None:
    """Runs of this process end with the same picture: to draw each its own takes as long as all else that they do.

    What pictures show is tested where they are drawn (tests/tracking), and by runs of the command line.
    """

    def draw(run: Path) -> Path:
        write_bytes(run / layout.CURVES, one_picture)
        return run / layout.CURVES

    monkeypatch.setattr("textmill.training.around_the_loop.draw_training_curves", draw)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real text and trained weights beside the repository; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the folder ../shared/data with real text and trained weights, which is not there")
    return folder

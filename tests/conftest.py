"""Fixtures that many rooms share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from textmill.machine import precision


@pytest.fixture(scope="session", autouse=True)
def float32_unless_asked() -> Iterator[None]:
    """Runs of this process compute in float32 where nothing is said, whatever this processor is fastest with.

    The tests compare numbers with those of other programs, which bf16 would round; what is about bf16 asks for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "cpu_multiplies_bf16", lambda: False)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real text and trained weights beside the repository; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the folder ../shared/data with real text and trained weights, which is not there")
    return folder

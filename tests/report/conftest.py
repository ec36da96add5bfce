"""One small run for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.report_runs import train_small


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text("A report is read by someone who was not there.\n" * 60)
    return path


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, book: Path, cache_dir: Path) -> Path:
    return train_small(tmp_path_factory.mktemp("runs") / "one", book, cache_dir)

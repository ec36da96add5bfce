"""A folder laid out as the guides have it, with a little text in every place they name."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from textmill.cli.main import main


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def text() -> str:
    """60 kB of real text."""
    return (Path(sysconfig.get_path("stdlib")) / "argparse.py").read_text()[:60_000]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def guide_folder(tmp_path: Path, cache: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the guides' command lines name."""
    for name in (
        *("data/raw/shakespeare/shakespeare25k.txt", "data/raw/shakespeare/shakespeare100k.txt"),
        *("data/raw/shakespeare/shakespeare1mil.txt", "data/samples/sample_data.txt", "data.txt", "training_data.txt"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "Model_Test").mkdir()
    for number in range(4):
        (tmp_path / "Model_Test" / f"text{number}.txt").write_text(text[number * 3000 : number * 3000 + 3000])
    ids = np.random.default_rng(0).integers(0, 3000, 6000).astype(np.uint16)
    np.save(tmp_path / "data" / "train.npy", ids[:5000])
    np.save(tmp_path / "data" / "val.npy", ids[5000:])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return tmp_path


Textmill = Callable[..., str]


@pytest.fixture
def textmill_says(capsys: pytest.CaptureFixture[str]) -> Textmill:
    """Run a command line, which must succeed, and return what it printed."""

    def run(*words: str) -> str:
        code = main(list(words))
        printed = capsys.readouterr()
        assert code == 0, printed.err + printed.out
        return printed.out

    return run

"""A place with a text and, trained once, a tiny run; what is written elsewhere is written into it too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from support.well_behaved_commands import TEXT, TINY, run


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def text_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `text.txt`, and the user's cache in it."""
    (tmp_path / "text.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one step, of a prepared corpus and of a text: `run`, `prepared`, `text.txt`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        for words in (
            ["train", "text.txt", *TINY, "--output-dir", "run"],
            ["prepare", "text.txt", "--tokenizer", "byte", "--output", "prepared"],
        ):
            said = run(words)
            assert said.code == 0, said.err
    shutil.rmtree(folder / "cache")
    return folder

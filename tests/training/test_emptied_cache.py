"""A run whose cache was emptied is resumed, and writes nothing where only its folder says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import textmill as tm
from textmill.cli.main import main


def test_a_run_whose_cache_was_emptied_is_resumed(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its text is prepared again in the usual cache, which is said; the folder that the run names stays empty.

    With --trust or as a flag it is used.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "usual"))
    emptied, run = tmp_path / "emptied", tmp_path / "run"
    shape: dict[str, Any] = {"d_model": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 16}
    tm.train(data=str(book), tokenizer="byte", **shape, max_steps=2, output_dir=str(run), cache_dir=str(emptied))
    shutil.rmtree(emptied)
    emptied.mkdir()
    plain, trusted, named = (str(shutil.copytree(run, tmp_path / name)) for name in ("plain", "trusted", "named"))

    def resume(folder: str, *flags: str) -> str:
        capsys.readouterr()
        assert main(["train", "--output-dir", folder, "--resume", "--max-steps", "3", *flags]) == 0
        return capsys.readouterr().out

    said = f"the cache folder {emptied}, which the run names, is not one of yours: the usual one is used"
    assert said in resume(plain)
    assert not any(emptied.iterdir()) and (tmp_path / "usual/textmill/corpora").is_dir()
    assert "is not one of yours" not in resume(trusted, "--trust")
    assert (emptied / "corpora").is_dir()
    assert "is not one of yours" not in resume(named, "--cache-dir", str(tmp_path / "other"))
    assert (tmp_path / "other/corpora").is_dir()

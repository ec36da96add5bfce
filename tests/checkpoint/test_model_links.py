"""best_model/ and final/ hold the model's part of a checkpoint, and outlive it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from textmill.checkpoint.best_and_final import link_model
from textmill.checkpoint.manifest import manifest_problems

BIG = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints" / "step-0000001"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "optimizer.safetensors", "state.json", "MANIFEST.json"):
        (folder / name).write_text(name)
    (folder / "model.safetensors").write_bytes(BIG)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a model folder by name; its manifest lists them."""
    assert manifest_problems(folder, 1) == []
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "MANIFEST.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_only_the_model_is_published(checkpoint: Path, tmp_path: Path) -> None:
    """Optimizer and state stay in the checkpoint."""
    link_model(checkpoint, tmp_path / "final")
    assert contents(tmp_path / "final") == {
        "config.json": b"config.json",
        "tokenizer.json": b"tokenizer.json",
        "model.safetensors": BIG,
    }


def test_weights_are_linked_and_small_files_copied(checkpoint: Path, tmp_path: Path) -> None:
    """Weights cost no space; editing the published config leaves the checkpoint whole; deleting it harms nobody."""
    target = tmp_path / "best_model"
    link_model(checkpoint, target)
    assert (checkpoint / "model.safetensors").samefile(target / "model.safetensors")
    (target / "config.json").write_text("edited")
    assert (checkpoint / "config.json").read_text() == "config.json"
    shutil.rmtree(checkpoint)
    assert (target / "model.safetensors").read_bytes() == BIG


def test_the_former_best_is_replaced_as_a_whole(checkpoint: Path, tmp_path: Path) -> None:
    """No file of the old folder is left, and no leavings beside it."""
    target = tmp_path / "best_model"
    target.mkdir()
    (target / "stale").write_text("old")
    link_model(checkpoint, target)
    assert contents(target).keys() == {"config.json", "tokenizer.json", "model.safetensors"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["best_model", "checkpoints"]


def test_files_in_subfolders_keep_their_place(checkpoint: Path, tmp_path: Path) -> None:
    """A checkpoint may hold folders."""
    (checkpoint / "parts").mkdir()
    (checkpoint / "parts" / "a").write_text("a")
    link_model(checkpoint, tmp_path / "final")
    assert contents(tmp_path / "final")["parts/a"] == b"a"


def test_where_links_are_not_possible_files_are_copied(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file system, or one without hard links."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link", str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)
    link_model(checkpoint, tmp_path / "final")
    assert contents(tmp_path / "final")["model.safetensors"] == BIG

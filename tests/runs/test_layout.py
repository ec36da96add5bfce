"""What a folder is, by the names of the files in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from textmill.runs import layout
from textmill.runs.read_run import read_environment, read_sections, read_status


def folder_with(parent: Path, *names: str) -> Path:
    for name in names:
        path = parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return parent


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["prepared.json", "train/shards.json"], "corpus"),
        (["config.json", "model.safetensors"], "model"),
        (["config.json", "state.json", "MANIFEST.json"], "checkpoint"),
        (["config.json", "state.json"], "checkpoint"),
        (["MANIFEST.json"], "checkpoint"),
        (["config.yaml", "status.json", "checkpoints/step-0000001/config.json"], "run"),
        (["metrics.jsonl", "environment.json"], None),  # a start that was killed before config.yaml
        (["state.json", "dataset_info.json"], None),
        (["book.txt"], None),
    ],
)
def test_a_folder_is_recognized_by_its_files(tmp_path: Path, names: list[str], kind: str | None) -> None:
    """Each kind of folder, whole or with parts missing; a data set of Hugging Face is none of ours."""
    assert layout.folder_kind(folder_with(tmp_path, *names)) == kind


def test_a_missing_folder_is_nothing(tmp_path: Path) -> None:
    """Neither a folder that is missing nor a name too long for the file system is an error."""
    assert layout.folder_kind(tmp_path / "missing") is None
    assert not layout.is_prepared(Path("x" * 5000))


def test_a_folder_of_text_is_not_clearly_a_run(tmp_path: Path) -> None:
    """A folder called `final` or a file config.yaml alone do not make a run beyond doubt; both together do."""
    assert not layout.is_clearly_run(folder_with(tmp_path / "a", "final/draft.txt"))
    assert not layout.is_clearly_run(folder_with(tmp_path / "b", "config.yaml"))
    assert layout.is_clearly_run(folder_with(tmp_path / "c", "config.yaml", "status.json"))


def test_a_model_finds_its_run(tmp_path: Path) -> None:
    """Two levels up at most: a checkpoint, best_model; a folder elsewhere belongs to none."""
    run = folder_with(tmp_path / "run", "config.yaml", "best_model/config.json", "checkpoints/step-0000003/config.json")
    assert layout.run_of(run / "best_model") == run
    assert layout.run_of(run / "checkpoints" / "step-0000003") == run
    assert layout.run_of(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("step", [0, 500, 9_999_999, 12_345_678])
def test_names_of_checkpoints_read_back(step: int) -> None:
    """The step of a checkpoint's name is the one that it was made of."""
    assert layout.checkpoint_step(Path("run") / layout.checkpoint_name(step)) == step


@pytest.mark.parametrize("name", ["step-5", "step-0000005x", ".tmp-step-0000005", "last"])
def test_other_names_are_no_checkpoints(name: str) -> None:
    """Only the full name counts."""
    assert layout.checkpoint_step(Path(name)) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_descriptions_are_empty(tmp_path: Path, content: bytes) -> None:
    """A report of a run never fails on the files that describe it."""
    for name in (layout.CONFIG, layout.STATUS, layout.ENVIRONMENT):
        (tmp_path / name).write_bytes(content)
    assert (read_status(tmp_path), read_environment(tmp_path), read_sections(tmp_path)) == ({}, {}, {})


def test_entries_of_another_type_are_left_out(tmp_path: Path) -> None:
    """A status whose step is a word has no step."""
    (tmp_path / layout.STATUS).write_text('{"state": "finished", "step": "many", "exit_code": 0}')
    assert read_status(tmp_path) == {"state": "finished", "exit_code": 0}


def test_names_are_written_once() -> None:
    """No other file of the program spells a name of the layout; two of them come from lower rooms."""
    names = {*layout.RUN_FILES, layout.LOCK, layout.MANIFEST, layout.PREPARED, layout.CORPUS_REPORT}
    words = {layout.TOKENIZER, layout.FINAL, layout.BEST_MODEL}  # settings and names of checkpoints are called so too
    home = Path(layout.__file__)
    spelled = [
        f"{path.name}:{node.lineno}: {node.value}"
        for path in home.parents[1].rglob("*.py")
        if path not in (home, *(home.parents[1] / name for name in ("config/config_files.py", "files/manifest.py")))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names - words
    ]
    assert spelled == []

"""One flipped bit anywhere in what a run wrote is seen before use, however the model or the checkpoint is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import textmill
from support.disk_faults import flip_bits
from textmill.checkpoint.find_model import resolve_checkpoint, resolve_model
from textmill.errors import DataError
from textmill.report.verify_files import verify

Spelling = tuple[Callable[..., Path], str]

SPELLINGS: dict[str, list[Spelling]] = {
    "checkpoints/step-0000008": [
        (resolve_checkpoint, "{run}"),
        (resolve_checkpoint, "{run}/last"),
        (resolve_checkpoint, "{run}/step-8"),
        (resolve_checkpoint, "{run}/checkpoint_step_8.pt"),
        (resolve_checkpoint, "{run}/checkpoints"),
        (resolve_checkpoint, "{folder}"),
        (resolve_checkpoint, "{folder}/"),
        (resolve_model, "{run}/last"),
        (resolve_model, "{run}/step-8"),
        (resolve_model, "{folder}"),
        (resolve_model, "{folder}/model.safetensors"),
        (resolve_model, "{folder}/config.json"),
    ],
    "best_model": [
        (resolve_model, "{run}"),
        (resolve_model, "{run}/best"),
        (resolve_model, "{run}/best.pt"),
        (resolve_model, "{folder}"),
        (resolve_model, "{folder}/model.safetensors"),
    ],
    "final": [
        (resolve_model, "{run}/final"),
        (resolve_model, "{run}/final_model.bin"),
        (resolve_model, "{folder}"),
        (resolve_model, "{folder}/model.safetensors"),
    ],
}
"""How people name each folder."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps with one checkpoint, whose weights are not shared with the model folders."""
    folder = tmp_path_factory.mktemp("damage")
    text = folder / "text.txt"
    text.write_text("the cat sat on the mat and looked at the rat. " * 200)
    torch.set_num_threads(1)
    textmill.train(
        data=str(text), cache_dir=str(folder / "cache"), output_dir=str(folder / "run"), tokenizer="char",
        d_model=16, num_layers=1, num_heads=1, max_seq_len=16, batch_size=2, max_steps=8, save_steps=8, eval_steps=8,
        save_total_limit=1, sample_steps=0, device="cpu", threads=1, precision="fp32",
    )  # fmt: skip
    return folder / "run"


@pytest.mark.parametrize("trials", [12, pytest.param(350, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_flipped_bit_is_seen_however_its_folder_is_named(run: Path, name: str, trials: int) -> None:
    """Every spelling refuses the folder (65) and says which file; `verify` finds it too."""
    folder = run / name
    for find, spelled in SPELLINGS[name]:
        assert find(spelled.format(run=run, folder=folder)) == folder
    for path in flip_bits(folder, trials, seed=5):
        for find, spelled in SPELLINGS[name]:
            said: list[str] = []
            with pytest.raises(DataError) as refused:
                find(spelled.format(run=run, folder=folder), say=said.append)
            assert path.name in f"{said} {refused.value}"
        assert [finding.name for finding in verify(run) if finding.problems] == [name]
        assert [finding for finding in verify(folder) if finding.problems]
    assert not [finding for finding in verify(run) if finding.problems]


def test_files_may_be_added_to_a_model_and_changed_without_its_manifest(run: Path, tmp_path: Path) -> None:
    """A README beside the weights is no damage; a changed file is, until the manifest is deleted, as the error says."""
    folder = Path(shutil.copytree(run / "final", tmp_path / "mine"))
    (folder / "README.md").write_text("my model")
    assert resolve_model(folder) == folder
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(DataError, match=r"config.json has \d+ bytes.*delete MANIFEST.json"):
        resolve_model(folder)
    (folder / "MANIFEST.json").unlink()
    assert resolve_model(folder) == folder


def test_a_model_of_links_is_verified_like_one_of_files(run: Path, tmp_path: Path) -> None:
    """The cache of the Hugging Face hub has a link for every file: its content counts."""
    blobs = Path(shutil.copytree(run / "final", tmp_path / "blobs"))
    folder = tmp_path / "snapshot"
    folder.mkdir()
    for path in blobs.iterdir():
        (folder / path.name).symlink_to(path)
    assert resolve_model(folder) == folder
    for path in flip_bits(blobs, 3, seed=2):
        with pytest.raises(DataError, match=path.name):
            resolve_model(folder)


def test_a_model_that_is_being_replaced_is_found(run: Path, tmp_path: Path) -> None:
    """Between the two renames that replace best_model/, the former one is used, not silently final/."""
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    aside = copy / ".tmp-best_model-12345678.aside"
    (copy / "best_model").rename(aside)
    assert resolve_model(copy) == aside

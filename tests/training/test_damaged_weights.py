"""Weights that are not numbers are refused wherever they are loaded, and nothing is written."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import textmill as tm
from textmill.checkpoint.manifest import write_manifest
from textmill.checkpoint.model_folder import load_model
from textmill.checkpoint.safetensors_files import first_non_finite
from textmill.cli.main import main
from textmill.errors import DataError

NAME = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def run(book: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("weights") / "run"
    shape: dict[str, Any] = {"d_model": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 16}
    tm.train(data=str(book), tokenizer="byte", **shape, max_steps=2, output_dir=str(folder), cache_dir=str(cache_dir))
    return folder


@pytest.fixture
def damaged(run: Path, tmp_path: Path) -> Callable[[float], Path]:
    """Return a copy of the model, as of another tool, with one element of this value."""

    def make(value: float) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        for file in (run / "final").iterdir():
            if file.name != "MANIFEST.json":
                (folder / file.name).write_bytes(file.read_bytes())
        tensors = load_file(folder / "model.safetensors")
        tensors[NAME][1, 2] = value
        save_file(tensors, folder / "model.safetensors")
        return folder

    return make


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refused_by_every_verb(
    damaged: Callable[[float], Path],
    value: float,
    book: Path,
    cache_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One NaN or infinity among the weights: 65, the tensor is named, and --init-from writes no folder."""
    model, out = damaged(value), tmp_path / "out"
    cache = ["--cache-dir", str(cache_dir)]
    for words in (
        ["evaluate", str(model), str(book)],
        ["generate", str(model), "--prompt", "a"],
        ["verify", str(model)],
        ["train", str(book), *cache, "--init-from", str(model), "--output-dir", str(out)],
        ["train", str(book), *cache, "--init-from", str(model), "--output-dir", str(out), "--dry-run"],
        ["plan", str(book), *cache, "--init-from", str(model)],
    ):
        assert main(words) == 65, words
        printed = capsys.readouterr()
        sentence = f"the weights in {model} contain NaN or infinite values, in {NAME}: use another checkpoint, or get"
        assert sentence in (printed.out if words[0] == "verify" else printed.err), words
    assert not out.exists()


def test_refused_in_python(damaged: Callable[[float], Path], book: Path, tmp_path: Path) -> None:
    """load_model and train(init_from=) raise DataError, and no folder is written."""
    model = damaged(math.nan)
    with pytest.raises(DataError, match="contain NaN"):
        load_model(model)
    with pytest.raises(DataError, match="contain NaN"):
        tm.train(data=str(book), init_from=str(model), output_dir=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_verifies(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint with a NaN under a manifest that fits it is refused on resume, which leaves the run as it was."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    checkpoint = folder / "checkpoints" / "step-0000002"
    tensors = load_file(checkpoint / "model.safetensors")
    tensors[NAME][0, 0] = math.nan
    save_file(tensors, checkpoint / "model.safetensors")
    (checkpoint / "MANIFEST.json").unlink()
    write_manifest(checkpoint, 2)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["train", "--output-dir", str(folder), "--resume", "--max-steps", "3"]) == 65
    assert "contain NaN or infinite values" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_weights_that_overflow(run: Path, tmp_path: Path, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Finite weights whose loss is not: evaluate and generate end with 70, and print no number and no text."""
    model = tmp_path / "model"
    model.mkdir()
    for file in (run / "final").iterdir():
        if file.name != "MANIFEST.json":
            (model / file.name).write_bytes(file.read_bytes())
    tensors = load_file(model / "model.safetensors")
    tensors[NAME] = tensors[NAME].sign() * 3e38
    save_file(tensors, model / "model.safetensors")
    assert main(["evaluate", str(model), str(book)]) == 70
    assert f"the loss of the model in {model} is nan" in (printed := capsys.readouterr()).err
    assert printed.out == ""
    assert main(["generate", str(model), "--prompt", "a"]) == 70
    assert "logits are not finite" in (printed := capsys.readouterr()).err
    assert printed.out == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_every_number_format(dtype: torch.dtype) -> None:
    """NaN is found in every format; the largest finite values, whose squares overflow, are not taken for it."""
    tensor = torch.full((7, 5), torch.finfo(dtype).max, dtype=torch.float64).to(dtype)
    assert first_non_finite({"a": torch.ones(2), "w": tensor}) is None
    broken = tensor.double()
    broken[3, 3] = math.nan
    assert first_non_finite({"a": torch.ones(2), "w": broken.to(dtype)}) == "w"

"""Tensors come back as they were saved, and bad ones are neither saved nor loaded."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from support.disk_faults import in_child
from textmill.checkpoint.safetensors_files import load_tensors, refuse_non_finite, save_tensors
from textmill.errors import DataError, MissingInputError, NonFiniteError, WriteFailedError


def test_every_dtype_shape_and_bit_comes_back(tmp_path: Path) -> None:
    """NaN payloads, infinities, empty and zero-dimensional tensors included."""
    generator = torch.Generator().manual_seed(1)
    bits = torch.randint(-(2**31), 2**31, (1000,), generator=generator, dtype=torch.int64).to(torch.int32)
    tensors = {
        "fp32": bits.view(torch.float32),
        "bf16": bits.view(torch.bfloat16),
        "fp16": bits.view(torch.float16),
        "int64": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
    }
    save_tensors(tmp_path / "t.safetensors", tensors)
    loaded = load_tensors(tmp_path / "t.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert bytes(loaded[name].contiguous().view(-1).view(torch.uint8)) == bytes(
            tensor.contiguous().view(-1).view(torch.uint8)
        )


def test_tensors_that_share_memory_are_each_written_whole(tmp_path: Path) -> None:
    """Tied weights, views, overlapping slices and transposed strides."""
    base = torch.arange(24.0).view(4, 6)
    tensors = {"a": base, "tied": base, "transposed": base.t(), "row": base[1], "overlap": base[1:3]}
    save_tensors(tmp_path / "t.safetensors", tensors)
    loaded = load_tensors(tmp_path / "t.safetensors")
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


def test_parameters_that_require_gradients_are_saved(tmp_path: Path) -> None:
    """A state dict may hold parameters."""
    parameter = torch.nn.Parameter(torch.ones(3))
    save_tensors(tmp_path / "t.safetensors", {"w": parameter})
    assert not load_tensors(tmp_path / "t.safetensors")["w"].requires_grad


def test_metadata_says_pytorch(tmp_path: Path) -> None:
    """transformers refuses files without it."""
    save_tensors(tmp_path / "a", {"w": torch.ones(1)})
    with safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_file_can_be_read_by_whoever_may_read_its_folder(tmp_path: Path) -> None:
    """A model is not its owner's secret where its folder is not."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    save_tensors(folder / "t.safetensors", {"w": torch.ones(1)})
    assert (folder / "t.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_exit_74(tmp_path: Path) -> None:
    """The library's own error becomes one line that names the file and the reason."""

    def save_on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with pytest.raises(WriteFailedError, match=r"cannot write .*t\.safetensors: File too large$"):
            save_tensors(tmp_path / "t.safetensors", {"w": torch.zeros(10_000)})

    assert in_child(save_on_a_full_disk) == 0


def test_missing_and_damaged_files_are_told_apart(tmp_path: Path) -> None:
    """66 for what is not there, 65 for what is broken."""
    with pytest.raises(MissingInputError, match="does not exist"):
        load_tensors(tmp_path / "t.safetensors")
    save_tensors(tmp_path / "t.safetensors", {"w": torch.ones(100)})
    whole = (tmp_path / "t.safetensors").read_bytes()
    for damaged in (b"", whole[:4], whole[:40], whole[:-1], whole + b"x", b"\xff" * 100, b"\x80\x02}q\x00."):
        (tmp_path / "t.safetensors").write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            load_tensors(tmp_path / "t.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_element_is_found_and_its_tensor_named(dtype: torch.dtype, bad: float) -> None:
    """First, last and middle element, among good tensors of every kind."""
    for position in (0, 500, 999):
        tensors = {"good": torch.ones(10), "whole": torch.arange(3), "empty": torch.zeros(0), "w": torch.ones(1000)}
        tensors["w"] = tensors["w"].to(dtype)
        refuse_non_finite(tensors)
        tensors["w"][position] = bad
        with pytest.raises(NonFiniteError, match="tensor w contains NaN or infinite") as caught:
            refuse_non_finite(tensors)
        assert caught.value.exit_code == 70


def test_large_but_finite_values_are_not_refused() -> None:
    """The sum of their squares overflows; the values themselves do not."""
    tensors = {"w": torch.full((1000,), 3e38), "h": torch.full((1000,), 60000.0, dtype=torch.float16)}
    assert all(torch.isinf(tensor.square().sum()) for tensor in tensors.values())
    refuse_non_finite(tensors)
    refuse_non_finite({})

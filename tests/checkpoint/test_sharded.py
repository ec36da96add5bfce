"""Tensors spread over several files, one writer each, that an index lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from textmill.checkpoint import sharded_tensors
from textmill.checkpoint.safetensors_files import copy_shard, local_shard, save_tensors
from textmill.checkpoint.sharded_tensors import load_sharded, plan_files, write_index
from textmill.errors import DataError, MissingInputError

SIZES = st.lists(st.integers(0, 10_000), max_size=40).map(lambda sizes: {f"t{i}": n for i, n in enumerate(sizes)})


@given(SIZES, st.integers(2, 9))
def test_each_tensor_is_in_one_file_and_no_file_is_large(sizes: dict[str, int], writers: int) -> None:
    """Every name once; no file above its fair share and one tensor; as many files for every writer."""
    limit, sharded_tensors.FILE_BYTES = sharded_tensors.FILE_BYTES, 5_000
    try:
        plan = plan_files("model", sizes, writers)
    finally:
        sharded_tensors.FILE_BYTES = limit
    assert sorted(name for names in plan.values() for name in names) == sorted(sizes)
    filled = [sum(sizes[name] for name in names) for names in plan.values()]
    assert max(filled) <= min(sum(sizes.values()) / len(plan), 5_000) + max(sizes.values(), default=0)
    assert len(plan) % writers == 0 or len(plan) == max(1, len(sizes))


def test_one_writer_has_one_file() -> None:
    """Whatever the size: the form that every engine but the dividing one has always written."""
    assert plan_files("optimizer", {"b": 10**12, "a": 1}, 1) == {"optimizer.safetensors": ["b", "a"]}
    assert plan_files("optimizer", {}, 4) == {"optimizer.safetensors": []}


def test_names_are_those_of_hugging_face() -> None:
    """`model-00001-of-00002.safetensors`, counted from 1, five digits."""
    assert plan_files("model", {"a": 4, "b": 4}, 2) == {
        "model-00001-of-00002.safetensors": ["a"],
        "model-00002-of-00002.safetensors": ["b"],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three tensors in two files."""
    tensors = {"a": torch.arange(6.0), "b": torch.ones(2, 3), "c": torch.tensor(7)}
    sizes = {name: tensor.nbytes for name, tensor in tensors.items()}
    plan = plan_files("optimizer", sizes, 2)
    for name, names in plan.items():
        save_tensors(tmp_path / name, {each: tensors[each] for each in names})
    write_index(tmp_path, "optimizer", plan, sizes)
    return tmp_path


def test_what_was_spread_is_read_back(folder: Path) -> None:
    """All tensors, a single number among them, with values and dtypes; the index has their places and their bytes."""
    read = load_sharded(folder, "optimizer")
    assert sorted(read) == ["a", "b", "c"]
    assert torch.equal(read["a"], torch.arange(6.0)) and torch.equal(read["b"], torch.ones(2, 3))
    assert (read["c"].dtype, read["c"].item()) == (torch.int64, 7)
    index = json.loads((folder / "optimizer.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 56}
    assert list(index["weight_map"]) == ["a", "b", "c"]


def test_a_lost_part_is_named(folder: Path) -> None:
    """A file that the index lists and that is gone, an index of nothing, and neither file nor index."""
    lost = folder / "optimizer-00002-of-00002.safetensors"
    lost.unlink()
    with pytest.raises(MissingInputError, match=r"optimizer-00002-of-00002.safetensors does not exist"):
        load_sharded(folder, "optimizer")
    (folder / "optimizer.safetensors.index.json").write_text("{}")
    with pytest.raises(DataError, match="lists no files"):
        load_sharded(folder, "optimizer")
    with pytest.raises(MissingInputError, match=r"has no model.safetensors"):
        load_sharded(folder, "model")


@pytest.fixture(params=range(4))
def one_of_four(request: pytest.FixtureRequest) -> Iterator[int]:
    """This process passes for one of four, whose messages go nowhere."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=request.param, world_size=4)
    yield request.param
    dist.destroy_process_group()


def test_a_process_takes_its_own_part(one_of_four: int) -> None:
    """Rows as `torch.chunk` deals them out, where the last process has fewer or none, and columns as well."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, zeros

    mesh = init_device_mesh("cpu", (4,))
    for shape, dim in (((7, 3), 0), ((5, 2), 0), ((2, 3), 0), ((3, 9), 1)):
        whole = torch.randn(shape)
        place = zeros(*shape, device_mesh=mesh, placements=[Shard(dim)])
        copy_shard(place, whole)
        parts = whole.chunk(4, dim)
        if one_of_four < len(parts):
            assert torch.equal(local_shard(place), parts[one_of_four])
        else:
            assert local_shard(place).numel() == 0
    assert local_shard(whole) is whole

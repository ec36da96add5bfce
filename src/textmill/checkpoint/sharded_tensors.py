"""Named tensors in one safetensors file, or divided among several that an index lists.

Hugging Face writes large models in this form, so every tool that loads one reads it. Each tensor is whole in one of
the files: a process that loads a shard of it reads that shard and nothing else.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from textmill import files
from textmill.checkpoint.safetensors_files import load_tensors
from textmill.errors import DataError, MissingInputError

FILE_BYTES = 2_000_000_000
"""About the largest file among several, which is what a process needs memory for in order to write it."""


def plan_files(stem: str, sizes: Mapping[str, int], writers: int) -> dict[str, list[str]]:
    """Return the names of the tensors that go into each file, for `writers` processes that write a file each at a time.

    One writer has one file, `stem.safetensors`. Several have equally many, of about equal size and of at most
    FILE_BYTES and one tensor more: `stem-00001-of-00004.safetensors` and so on, fewer only where tensors are.

    sizes: bytes of each tensor by name.
    """
    per_writer = math.ceil(sum(sizes.values()) / (FILE_BYTES * writers)) or 1
    count = min(writers * per_writer, len(sizes)) if writers > 1 else 1
    if count <= 1:
        return {f"{stem}.safetensors": list(sizes)}
    contents: list[list[str]] = [[] for _ in range(count)]
    filled = [0] * count
    for name in sorted(sizes, key=lambda name: -sizes[name]):  # the largest first, each into the emptiest file
        emptiest = filled.index(min(filled))
        contents[emptiest].append(name)
        filled[emptiest] += sizes[name]
    return {f"{stem}-{number:05d}-of-{count:05d}.safetensors": names for number, names in enumerate(contents, 1)}


def write_index(folder: Path, stem: str, plan: Mapping[str, list[str]], sizes: Mapping[str, int]) -> None:
    """List the files of `plan` in `folder`/stem.safetensors.index.json; a single file needs no index."""
    if len(plan) == 1:
        return
    weight_map = {name: file for file, names in plan.items() for name in names}
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(weight_map.items()))}
    files.write_json(folder / index_name(stem), index)


def index_name(stem: str) -> str:
    """Return the name of the file that lists the others."""
    return f"{stem}.safetensors.index.json"


def load_sharded(folder: Path, stem: str) -> dict[str, Tensor]:
    """Return every tensor stored in `folder` under `stem`, by name, on the CPU and backed by its file.

    Raises:
        MissingInputError: there is neither `stem.safetensors` nor an index, or a file that the index lists is gone.
        DataError: one of the files is damaged, or the index lists files elsewhere.
    """
    if (folder / f"{stem}.safetensors").is_file():
        return load_tensors(folder / f"{stem}.safetensors")
    index = folder / index_name(stem)
    if not index.is_file():
        raise MissingInputError(f"{folder} has no {stem}.safetensors")
    weight_map = files.read_json(index).get("weight_map")
    names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise DataError(f"{index} lists no files of this folder under weight_map")
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors |= load_tensors(folder / name)
    return tensors

"""Tensors in safetensors files: a format that cannot contain code, unlike pickle."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from textmill.errors import DataError, MissingInputError, NonFiniteError
from textmill.files import cannot_write, open_regular, read_bytes
from textmill.files.operating_system import system_error

_OS_ERROR = re.compile(r"os error (\d+)")


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write every tensor to `path` under its name, with dtype and shape; devices and strides are not kept.

    Tensors that share memory are each written in full. The file is neither flushed to the disk nor atomic: write it
    into a `files.new_directory` or a checkpoint. Raises CannotWriteError.
    """
    seen: set[int] = set()
    prepared: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        storage = plain.untyped_storage().data_ptr()
        if plain.numel() and storage in seen:
            plain = plain.clone()
        seen.add(storage)
        prepared[name] = plain
    try:
        save_file(prepared, path, {"format": "pt"})  # transformers asks for this entry
        path.chmod(path.parent.stat().st_mode & 0o666)  # the library lets only the owner read it; the umask decides
    except SafetensorError as error:  # the library turns the error number into text
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise cannot_write(path, system_error(int(number[1]))) from error
    except OSError as error:
        raise cannot_write(path, error) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, backed by the file until they are written to or copied.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is damaged, or not a safetensors file.
    """
    try:
        if not str(path).isprintable():  # the library opens no path that is not UTF-8
            return load(read_bytes(path))
        with open_regular(path):  # the library would wait for a pipe
            return load_file(path)
    except FileNotFoundError as error:
        raise MissingInputError(f"{path} does not exist") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged or not a safetensors file: {error}") from error


def local_shard(tensor: Tensor) -> Tensor:
    """Return the shard of `tensor` that this process has: all of it, unless it is divided among processes."""
    if not hasattr(tensor, "placements"):  # DTensors have them; their module takes a second to import
        return tensor
    from torch.distributed.tensor import DTensor

    assert isinstance(tensor, DTensor)
    return tensor.to_local()


def copy_shard(target: Tensor, whole: Tensor) -> None:
    """Copy `whole` into `target`, or this process's shard of it when `target` is divided among processes.

    Every process has `whole`, so nothing is sent. No other shard is read, which matters when `whole` is a mapped file.
    """
    local_shard(target).copy_(shard_for(target, whole))


def shard_for(target: Tensor, whole: Tensor) -> Tensor:
    """Return the part of `whole`, of the same shape as `target`, that belongs to this process's shard of `target`."""
    if not hasattr(target, "placements"):
        return whole
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    assert isinstance(target, DTensor)
    shape, start = compute_local_shape_and_global_offset(target.shape, target.device_mesh, target.placements)
    return whole[tuple(slice(first, first + length) for first, length in zip(start, shape))]


def refuse_non_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises NonFiniteError, naming the first tensor, when a floating-point tensor has a NaN or infinite element."""
    if (name := first_non_finite(tensors)) is not None:
        raise NonFiniteError(f"tensor {name} contains NaN or infinite values: it is not saved")


def first_non_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first floating-point tensor with a NaN or infinite element, or None.

    Reads each tensor once, and copies one value per device to the host as long as all are finite.
    """
    by_kind: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            plain = tensor.detach() if tensor.itemsize > 1 else tensor.detach().float()  # 8 bits have no norm
            by_kind.setdefault((tensor.device, tensor.dtype), {})[name] = plain
    for group in by_kind.values():
        # NaN and infinity show in the norm, and so does an overflow of the squares: suspects are looked at again.
        norms = torch.stack(torch._foreach_norm(list(group.values())))  # pyright: ignore[reportPrivateImportUsage]
        if bool(norms.isfinite().all()):
            continue
        for name, suspected in zip(group, norms.isfinite().logical_not().tolist()):
            if suspected and not bool(group[name].isfinite().all()):
                return name
    return None

"""NumPy arrays of token ids, read without ever unpickling."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from textmill.errors import DataError, one_line

_BLOCK = 1 << 20  # ids
_REMEDY = "save a one-dimensional array of integers, as np.save(path, ids.astype(np.uint16))"


@dataclass(frozen=True)
class Ids:
    """A .npy file of token ids, its header read and its size checked.

    Attributes:
        count: number of ids, at least one.
        dtype: their little-endian integer type.
        offset: where they begin in the file, in bytes.
    """

    path: Path
    count: int
    dtype: np.dtype
    offset: int

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the ids in order, a few megabytes at a time."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.count
            while left:
                block = np.fromfile(file, dtype=self.dtype, count=min(left, _BLOCK))
                if not block.size:
                    raise DataError(f"{self.path} became shorter while it was read")
                left -= block.size
                yield block

    def highest(self, vocab_size: int | None, tick: Callable[[int], None]) -> int:
        """Return the highest id. `tick` is called with the bytes read.

        Raises DataError, with its index, for the first id that is negative, beyond `vocab_size` or beyond 32 bits.
        """
        bound = 2**32 if vocab_size is None else vocab_size
        highest, start = 0, 0
        for block in self.blocks():
            low, high = int(block.min()), int(block.max())
            if low < 0 or high >= bound:
                at = int(np.argmax((block < 0) | (block >= bound)))
                reason = "is negative" if block[at] < 0 else f"does not fit vocab_size {bound:,}"
                raise DataError(f"{self.path}: id {block[at]} at index {start + at:,} {reason}")
            highest, start = max(highest, high), start + block.size
            tick(block.nbytes)
        return highest


def open_ids(path: Path) -> Ids:
    """Return the array in `path`, its header checked. Raises DataError for anything but a 1-D array of integers."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path} is empty: {_REMEDY}")
        shape, dtype = _header(file, path)
        offset = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path} contains pickled Python objects, which are never loaded: {_REMEDY}")
    if len(shape) != 1:
        raise DataError(f"{path} has {len(shape)} dimensions {shape}: {_REMEDY}")
    if dtype.kind not in "iu" or dtype.str in ("|i1",) or dtype.byteorder == ">":
        raise DataError(f"{path} contains {_type_name(dtype)}: {_REMEDY}")
    count = shape[0]
    if count == 0:
        raise DataError(f"{path} contains no ids")
    if size != offset + count * dtype.itemsize:
        raise DataError(
            f"{path} is damaged: by its header it has {count:,} ids, {offset + count * dtype.itemsize:,} bytes, "
            f"but it has {size:,}"
        )
    return Ids(path, count, dtype, offset)


def _header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = npy_format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = npy_format.read_array_header_2_0(file)
        else:
            raise ValueError(f"format version {version[0]}.{version[1]}")
    except Exception as error:  # the header is a Python literal, whose parsers raise errors of many classes
        raise DataError(f"{path} is not a .npy file ({one_line(error, 120)}): {_REMEDY}") from error
    return shape, dtype


def _type_name(dtype: np.dtype) -> str:
    order = "big-endian " if dtype.byteorder == ">" else ""
    return f"{order}{dtype.name} values"

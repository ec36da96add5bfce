"""Files of token ids: NumPy arrays (.npy), never unpickled, and ids without a header (.bin), as nanoGPT writes them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from textmill.data.reading.document import Reading
from textmill.data.sources.file_extensions import format_of
from textmill.errors import DataError, one_line
from textmill.files import parse_json, read_bytes

_BLOCK = 1 << 20  # ids
_TYPES = {"uint16": "<u2", "uint32": "<u4"}
_REMEDY = "save a one-dimensional array of integers, as np.save(path, ids.astype(np.uint16))"


@dataclass(frozen=True)
class Ids:
    """A file of token ids, its header read and its size checked.

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


def open_token_ids(path: Path, reading: Reading, vocab_size: int | None = None) -> Ids:
    """Return the ids in a .npy or .bin file; see `open_npy` and `open_bin`."""
    return open_bin(path, vocab_size) if format_of(path, reading.format)[0] == ".bin" else open_npy(path)


def open_npy(path: Path) -> Ids:
    """Return the array in `path`, its header checked. Raises DataError for anything but a 1-D array of integers."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path} is empty: {_REMEDY}")
        try:
            version = npy_format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"format version {version[0]}.{version[1]}")
            read_header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            shape, _, dtype = read_header(file)
        except Exception as error:  # the header is a Python literal, whose parsers raise errors of many classes
            raise DataError(f"{path} is not a .npy file ({one_line(error, 120)}): {_REMEDY}") from error
        offset = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path} contains pickled Python objects, which are never loaded: {_REMEDY}")
    if len(shape) != 1:
        raise DataError(f"{path} has {len(shape)} dimensions {shape}: {_REMEDY}")
    if dtype.kind not in "iu" or dtype == np.int8 or dtype.byteorder == ">":
        order = "big-endian " if dtype.byteorder == ">" else ""
        raise DataError(f"{path} contains {order}{dtype.name} values: {_REMEDY}")
    (count,) = shape
    if count == 0:
        raise DataError(f"{path} contains no ids")
    if size != (expected := offset + count * dtype.itemsize):
        raise DataError(
            f"{path} is damaged: by its header it has {count:,} ids, {expected:,} bytes, but it has {size:,}"
        )
    return Ids(path, count, dtype, offset)


def open_bin(path: Path, vocab_size: int | None = None) -> Ids:
    """Return the ids in `path`.

    `path` + ".json" tells their width, as {"dtype": "uint32"}; without that file it is 32 bits for a `vocab_size` above
    65,536, otherwise 16. Raises DataError for a size that is not a multiple of the width, and for weights of a
    model, which have the same extension.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(256)
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):
        raise DataError(f"{path} is a PyTorch or zip file, and a .bin file must contain token ids")
    dtype = np.dtype(_described(path) or ("<u4" if (vocab_size or 0) > 1 << 16 else "<u2"))
    if size == 0:
        raise DataError(f"{path} is empty")
    if size % dtype.itemsize:
        raise DataError(
            f"{path} has {size:,} bytes, which is not a multiple of {dtype.itemsize} ({dtype.name}): it may be cut off"
        )
    return Ids(path, size // dtype.itemsize, dtype, 0)


def _described(path: Path) -> str | None:
    sidecar = path.with_name(path.name + ".json")
    try:
        described = parse_json(read_bytes(sidecar))
        return _TYPES[described["dtype"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f'{sidecar} must read {{"dtype": "uint16"}} or {{"dtype": "uint32"}}') from error

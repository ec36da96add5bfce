"""Files of token ids and nothing else (.bin), as nanoGPT writes them: little-endian integers without a header."""

from pathlib import Path

import numpy as np

from textmill.data.reading.formats.npy_ids import Ids, open_ids
from textmill.errors import DataError
from textmill.files import parse_json

_TYPES = {"uint16": "<u2", "uint32": "<u4"}


def open_token_ids(path: Path, vocab_size: int | None = None) -> Ids:
    """Return the ids in a .npy or .bin file; see `open_ids` and `open_bin`."""
    return open_bin(path, vocab_size) if path.suffix.lower() == ".bin" else open_ids(path)


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
        described = parse_json(sidecar.read_bytes())
        return _TYPES[described["dtype"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f'{sidecar} must read {{"dtype": "uint16"}} or {{"dtype": "uint32"}}') from error

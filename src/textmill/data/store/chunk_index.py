"""An index of the encoded chunks of a store, so that text that was encoded before is not encoded again.

The index lies beside the ids and is written as the store grows. So it serves twice: a corpus whose preparation was
killed continues from there, and a corpus in which a file has changed takes everything else from the corpus made before.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np

from textmill.data.preparing.chunks import EncodedChunk
from textmill.data.store.token_shards import ShardWriter
from textmill.files import open_regular
from textmill.files.operating_system import read_at

INDEX = "stretches.bin"
"""The file's name, which says what chunks were called when its format was made."""

_HEAD = struct.Struct("<8s16sII")  # format and version, key of the encoding, bytes of an id, ids in a full shard
_FORMAT = b"tmstr\x00\x00\x03"
_ENTRY = struct.Struct("<16s16sQQQQI")  # key, check, first id, ids, bytes of text, unknown ids, documents
_CHECK_BYTES = 16
_KEPT_OPEN = 64  # files


class IndexedWriter:
    """Writes encoded chunks to a store and to its index; after `flush` they are found even if the process dies."""

    def __init__(self, writer: ShardWriter, encoding_key: bytes) -> None:
        self._writer = writer
        self._file: BinaryIO = (writer.folder / INDEX).open("wb")
        self._file.write(_HEAD.pack(_FORMAT, encoding_key, writer.dtype.itemsize, writer.capacity))

    @property
    def num_tokens(self) -> int:
        """Ids written so far."""
        return self._writer.num_tokens

    def write(self, key: bytes, chunk: EncodedChunk) -> None:
        """Append `chunk` to the store."""
        start = self._writer.num_tokens
        self._writer.write(chunk.ids, chunk.num_bytes, chunk.ends)
        numbers = (start, chunk.ids.size, chunk.num_bytes, chunk.unknown, chunk.ends.size)
        self._file.write(_ENTRY.pack(key, _check(key, numbers, chunk.ids, chunk.ends), *numbers) + chunk.ends.tobytes())

    def flush(self) -> None:
        """Hand what was written to the system, ids first: an entry without its ids would be useless."""
        self._writer.flush()
        self._file.flush()

    def release(self) -> None:
        """Close the files, complete or not; see `ShardWriter.release`."""
        with suppress(OSError):
            self._file.close()
        self._writer.release()

    def close(self) -> None:
        """Complete the index and the store."""
        self._file.close()
        self._writer.close()


def _check(key: bytes, numbers: tuple[int, ...], ids: np.ndarray, ends: np.ndarray) -> bytes:
    """Return the hash of an entry and of its ids; as long as these do not match, the chunk is encoded again."""
    entry = _ENTRY.pack(key, bytes(_CHECK_BYTES), *numbers)
    return hashlib.blake2b(entry + ids.tobytes() + ends.tobytes(), digest_size=_CHECK_BYTES).digest()


def indexed_bytes(corpus: Path) -> int:
    """Return the size of the entries in the indexes of a corpus, whole or not: 0 where no chunk was written."""
    return sum(max(path.stat().st_size - _HEAD.size, 0) for path in corpus.rglob(INDEX))


class ChunkIndex(AbstractContextManager):
    """The chunks of corpora that were made, or half made, with one encoding. Memory: 250 bytes for each."""

    def __init__(self, corpora: Iterable[Path], encoding_key: bytes) -> None:
        """Read the indexes of `corpora`; what cannot be read in one is ignored."""
        self._entries: dict[bytes, tuple[_Store, int]] = {}
        self._files = _Files()
        for corpus in corpora:
            for path in (*corpus.glob(f"*/{INDEX}"), *corpus.glob(f"*/*/{INDEX}")):
                with suppress(OSError, struct.error):
                    self._read(path, encoding_key)

    def __len__(self) -> int:
        return len(self._entries)

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def _read(self, path: Path, encoding_key: bytes) -> None:
        """Add the entries of the index `path`. Raises OSError, struct.error."""
        size = path.stat().st_size
        with open_regular(path) as file:
            found_format, found_key, itemsize, capacity = _HEAD.unpack(file.read(_HEAD.size))
            if found_format != _FORMAT or found_key != encoding_key or itemsize not in (2, 4) or not capacity:
                return
            store = _Store(path.parent, self._files, np.dtype(f"<u{itemsize}"), capacity)
            while (offset := file.tell()) + _ENTRY.size <= size:
                key, *_, documents = _ENTRY.unpack(file.read(_ENTRY.size))
                self._entries.setdefault(key, (store, offset))
                file.seek(4 * documents, os.SEEK_CUR)

    def find(self, key: bytes) -> EncodedChunk | None:
        """Return the chunk with this key, None if there is none or its files have changed."""
        if key not in self._entries:
            return None
        store, offset = self._entries[key]
        try:
            return store.chunk(offset)
        except (OSError, struct.error):
            return None


class _Files:
    """Reads files, from any thread. The first that are read stay open: opening costs more than reading.

    Not all of them: a cache may contain more corpora than a process may have open files.
    """

    def __init__(self) -> None:
        self._kept: dict[Path, BinaryIO] = {}
        self._lock = Lock()

    def read(self, path: Path, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset`, none if the file is shorter. Raises OSError."""
        with self._lock:
            if path not in self._kept and len(self._kept) < _KEPT_OPEN:
                self._kept[path] = open_regular(path)
            kept = self._kept.get(path)
        with open_regular(path) if kept is None else nullcontext(kept) as file:
            # Compared first, because a damaged `size` would ask for memory.
            return read_at(file.fileno(), size, offset) if offset + size <= os.fstat(file.fileno()).st_size else b""

    def close(self) -> None:
        """Close all files."""
        while self._kept:
            self._kept.popitem()[1].close()


@dataclass(frozen=True)
class _Store:
    folder: Path
    files: _Files
    dtype: np.dtype
    capacity: int

    def chunk(self, offset: int) -> EncodedChunk | None:
        """Return the chunk of the entry at `offset`, None if its ids have changed. Raises OSError, struct.error."""
        index = self.folder / INDEX
        entry = _ENTRY.unpack(self.files.read(index, _ENTRY.size, offset))
        key, check, *numbers = entry
        start, tokens, num_bytes, unknown, documents = numbers
        ends = np.frombuffer(self.files.read(index, 4 * documents, offset + _ENTRY.size), dtype=np.uint32)
        ids = self._read(start, tokens)
        return EncodedChunk(ids, ends, num_bytes, unknown) if _check(key, tuple(numbers), ids, ends) == check else None

    def _read(self, start: int, tokens: int) -> np.ndarray:
        """Return ids `start` to `start + tokens`, fewer where the files end before. Raises OSError."""
        found = []
        while tokens > 0:
            number, offset = divmod(start, self.capacity)
            count, size = min(tokens, self.capacity - offset), self.dtype.itemsize
            found.append(self.files.read(self.folder / f"{number:05d}.bin", count * size, offset * size))
            start, tokens = start + count, tokens - count
            if not found[-1]:
                break
        return np.frombuffer(b"".join(found), dtype=self.dtype)

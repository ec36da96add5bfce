"""What was encoded before is not encoded again: stretches of ids, found by a hash of their text and their tokenizer.

Beside the ids of a store lies a ledger that tells of every stretch where it is. It is written as the store grows, so it
serves twice: a corpus whose preparation was killed goes on from there, and a corpus of which a file has changed takes
everything else from the corpus that was made before.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np

from textmill.data.preparing.split import Fragment
from textmill.data.store.shards import ShardWriter
from textmill.tokenizers import Tokenizer

LEDGER = "stretches.bin"

_HEAD = struct.Struct("<8s16sII")  # mark and version, encoding, bytes of an id, ids in a full file of the store
_MARK = b"tmstr\x00\x00\x02"
_ENTRY = struct.Struct("<16s16sQQQQI")  # key, check, first id, ids, bytes of text, unknown ids, documents
_KEPT_OPEN = 64  # files


@dataclass(frozen=True)
class Stretch:
    """The ids of some text of one side, marks included.

    Attributes:
        ids: uint16 or uint32 (n,).
        ends: uint32 (documents,): how many ids stand before the end of each document that ends here.
        num_bytes: UTF-8 bytes of the text.
        unknown: how many ids are the unknown token.
    """

    ids: np.ndarray
    ends: np.ndarray
    num_bytes: int
    unknown: int


def encode_stretch(parts: Sequence[Fragment], tokenizer: Tokenizer, eos_id: int | None, dtype: np.dtype) -> Stretch:
    """Return the ids of `parts`, with `eos_id`, where there is one, behind every document that ends in them."""
    mark = np.array([] if eos_id is None else [eos_id], dtype=dtype)
    found: list[np.ndarray] = []
    ends, size = [], 0
    for part, ids in zip(parts, tokenizer.encode_batch([part.text for part in parts], 1)):
        found += [ids.astype(dtype), mark] if part.ends else [ids.astype(dtype)]
        size += ids.size + mark.size * part.ends
        if part.ends:
            ends.append(size)
    joined = np.concatenate(found)
    unknown = 0 if tokenizer.unk_id is None else int((joined == tokenizer.unk_id).sum())
    num_bytes = sum(utf8_size(part.text) for part in parts)
    return Stretch(joined, np.array(ends, dtype=np.uint32), num_bytes, unknown)


def utf8_size(text: str) -> int:
    """Return the number of bytes of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def encoding_key(tokenizer: Tokenizer, eos_id: int | None) -> bytes:
    """Return a hash of how text becomes ids, 16 bytes."""
    return hashlib.blake2b(f"{tokenizer.fingerprint} {eos_id}".encode(), digest_size=16).digest()


def stretch_key(parts: Sequence[Fragment]) -> bytes:
    """Return a hash of the text of `parts` and of where documents end in it, 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.text.encode("utf-8")
        digest.update(len(content).to_bytes(8, "little") + bytes([part.ends]))
        digest.update(content)
    return digest.digest()


class Ledger:
    """Writes stretches to a store and notes each; after `flush` they are found even if the process dies at once."""

    def __init__(self, writer: ShardWriter, encoding: bytes) -> None:
        self._writer = writer
        self._file: BinaryIO = (writer.folder / LEDGER).open("wb")
        self._file.write(_HEAD.pack(_MARK, encoding, writer.dtype.itemsize, writer.capacity))

    def write(self, key: bytes, stretch: Stretch) -> None:
        """Append `stretch` to the store."""
        start = self._writer.num_tokens
        self._writer.write(stretch.ids, stretch.num_bytes, stretch.ends)
        numbers = (start, stretch.ids.size, stretch.num_bytes, stretch.unknown, stretch.ends.size)
        self._file.write(_ENTRY.pack(key, _check(stretch.ids, stretch.ends), *numbers) + stretch.ends.tobytes())

    def flush(self) -> None:
        """What was written is in the hands of the system, ids first: a note without its ids would tell of nothing."""
        self._writer.flush()
        self._file.flush()

    def close(self) -> None:
        """Nothing more is noted."""
        self._file.close()


def _check(ids: np.ndarray, ends: np.ndarray) -> bytes:
    return hashlib.blake2b(ids.tobytes() + ends.tobytes(), digest_size=16).digest()


def noted(corpus: Path) -> int:
    """Return how many bytes the ledgers of a corpus, whole or not, have about stretches."""
    return sum(max(path.stat().st_size - _HEAD.size, 0) for path in corpus.rglob(LEDGER))


class EarlierStretches:
    """The stretches of corpora that were made before, or half made, with one encoding. Memory: 250 bytes for each."""

    def __init__(self, corpora: Iterable[Path], encoding: bytes) -> None:
        """What cannot be read in a ledger is as if it were not there."""
        self._entries: dict[bytes, tuple[_Store, int]] = {}
        self._files = _Files()
        for corpus in corpora:
            for path in (*corpus.glob(f"*/{LEDGER}"), *corpus.glob(f"*/*/{LEDGER}")):
                with suppress(OSError, struct.error):
                    self._read(path, encoding)

    def __len__(self) -> int:
        return len(self._entries)

    def __enter__(self) -> EarlierStretches:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def _read(self, path: Path, encoding: bytes) -> None:
        """Every stretch in the ledger `path` is known. Raises OSError, struct.error."""
        size = path.stat().st_size
        with path.open("rb") as file:
            mark, encoded, itemsize, capacity = _HEAD.unpack(file.read(_HEAD.size))
            if mark != _MARK or encoded != encoding or itemsize not in (2, 4) or not capacity:
                return
            store = _Store(path.parent, self._files, np.dtype(f"<u{itemsize}"), capacity)
            while (place := file.tell()) + _ENTRY.size <= size:
                key, *_, documents = _ENTRY.unpack(file.read(_ENTRY.size))
                self._entries.setdefault(key, (store, place))
                file.seek(4 * documents, os.SEEK_CUR)

    def find(self, key: bytes) -> Stretch | None:
        """Return the stretch with this key, None where there is none or its files are not what they were."""
        if key not in self._entries:
            return None
        store, place = self._entries[key]
        try:
            return store.stretch(place)
        except (OSError, struct.error):
            return None


class _Files:
    """Reads files at places, from any thread. The first that are asked for stay open: opening costs more than reading.

    Not all of them: a cache may hold more corpora than a process may have open files.
    """

    def __init__(self) -> None:
        self._kept: dict[Path, BinaryIO] = {}
        self._opened = ExitStack()
        self._lock = Lock()

    def read(self, path: Path, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset`, none where the file does not reach so far. Raises OSError."""
        with self._open(path) as file:
            # Looked at first, because a damaged `size` would ask for memory.
            return os.pread(file.fileno(), size, offset) if offset + size <= os.fstat(file.fileno()).st_size else b""

    def _open(self, path: Path) -> AbstractContextManager[BinaryIO]:
        with self._lock:
            if path not in self._kept:
                if len(self._kept) == _KEPT_OPEN:
                    return path.open("rb")
                self._kept[path] = self._opened.enter_context(path.open("rb"))
            return nullcontext(self._kept[path])

    def close(self) -> None:
        """No file is open."""
        self._kept.clear()
        self._opened.close()


@dataclass(frozen=True)
class _Store:
    folder: Path
    files: _Files
    dtype: np.dtype
    capacity: int

    def stretch(self, place: int) -> Stretch | None:
        """Return what the ledger says at `place`, in bytes, None if it does not hold. Raises OSError, struct.error."""
        ledger = self.folder / LEDGER
        entry = _ENTRY.unpack(self.files.read(ledger, _ENTRY.size, place))
        _, check, start, tokens, num_bytes, unknown, documents = entry
        ends = np.frombuffer(self.files.read(ledger, 4 * documents, place + _ENTRY.size), dtype=np.uint32)
        ids = self._read(start, tokens)
        return Stretch(ids, ends, num_bytes, unknown) if _check(ids, ends) == check else None

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

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
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from textmill.data.shards import ShardWriter
from textmill.data.split import Fragment
from textmill.tokenizers import Tokenizer

LEDGER = "stretches.bin"

_HEAD = struct.Struct("<8sII")  # mark and version, bytes of an id, ids in a full file of the store
_MARK = b"tmstr\x00\x00\x01"
_ENTRY = struct.Struct("<16s16sQQQQI")  # key, check, first id, ids, bytes of text, unknown ids, documents


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


def stretch_key(parts: Sequence[Fragment], tokenizer: Tokenizer, eos_id: int | None) -> bytes:
    """Return a hash of all that the stretch of `parts` depends on, 16 bytes."""
    digest = hashlib.blake2b(f"{tokenizer.fingerprint} {eos_id}".encode(), digest_size=16)
    for part in parts:
        content = part.text.encode("utf-8")
        digest.update(len(content).to_bytes(8, "little") + bytes([part.ends]))
        digest.update(content)
    return digest.digest()


class Ledger:
    """Writes stretches to a store and notes each; after `flush` they are found even if the process dies at once."""

    def __init__(self, writer: ShardWriter) -> None:
        self._writer = writer
        self._file: BinaryIO = (writer.folder / LEDGER).open("wb")
        self._file.write(_HEAD.pack(_MARK, writer.dtype.itemsize, writer.capacity))

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
    """The stretches of corpora that were made before, or half made. Memory: about 200 bytes for each.

    Their files are open until the `with` statement that it stands in is over.
    """

    def __init__(self, corpora: Iterable[Path]) -> None:
        """What cannot be read in a ledger is as if it were not there."""
        self._entries: dict[bytes, tuple[_Store, int]] = {}
        self._opened = ExitStack()
        for corpus in corpora:
            for path in (*corpus.glob(f"*/{LEDGER}"), *corpus.glob(f"*/*/{LEDGER}")):
                with suppress(OSError, struct.error):
                    self._read(path)

    def __len__(self) -> int:
        return len(self._entries)

    def __enter__(self) -> EarlierStretches:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def _read(self, path: Path) -> None:
        """Every stretch in the ledger `path` is known. Raises OSError, struct.error."""
        size = path.stat().st_size
        file = self._opened.enter_context(path.open("rb"))
        mark, itemsize, capacity = _HEAD.unpack(file.read(_HEAD.size))
        if mark != _MARK or itemsize not in (2, 4) or not capacity:
            return
        shards = [self._opened.enter_context(shard.open("rb")) for shard in sorted(path.parent.glob("[0-9]*.bin"))]
        store = _Store(file.fileno(), [shard.fileno() for shard in shards], np.dtype(f"<u{itemsize}"), capacity)
        while (place := file.tell()) + _ENTRY.size <= size:
            key, *_, documents = _ENTRY.unpack(file.read(_ENTRY.size))
            if file.seek(4 * documents, os.SEEK_CUR) <= size:
                self._entries.setdefault(key, (store, place))

    def find(self, key: bytes) -> Stretch | None:
        """Return the stretch with this key, None where there is none or its files are not what they were."""
        if key not in self._entries:
            return None
        store, place = self._entries[key]
        try:
            return store.stretch(place)
        except (OSError, struct.error):
            return None


@dataclass(frozen=True)
class _Store:
    """Descriptors of a ledger and of the files of ids that it tells of, in their order."""

    ledger: int
    shards: list[int]
    dtype: np.dtype
    capacity: int

    def stretch(self, place: int) -> Stretch | None:
        """Return what the ledger says at `place`, in bytes, None if it does not hold. Raises OSError, struct.error."""
        entry = _ENTRY.unpack(os.pread(self.ledger, _ENTRY.size, place))
        _, check, start, tokens, num_bytes, unknown, documents = entry
        ends = np.frombuffer(os.pread(self.ledger, 4 * documents, place + _ENTRY.size), dtype=np.uint32)
        ids = self._read(start, tokens)
        return Stretch(ids, ends, num_bytes, unknown) if _check(ids, ends) == check else None

    def _read(self, start: int, tokens: int) -> np.ndarray:
        """Return ids `start` to `start + tokens`, fewer where the files end before."""
        found = []
        while tokens > 0 and start // self.capacity < len(self.shards):
            number, offset = divmod(start, self.capacity)
            descriptor, size = self.shards[number], self.dtype.itemsize
            count = min(tokens, self.capacity - offset)
            if (offset + count) * size > os.fstat(descriptor).st_size:  # before a damaged number asks for memory
                break
            found.append(os.pread(descriptor, count * size, offset * size))
            start, tokens = start + count, tokens - count
        return np.frombuffer(b"".join(found), dtype=self.dtype)

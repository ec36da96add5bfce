"""Token ids on disk: flat files of little-endian integers and one JSON file that describes them.

Ids are read into the caller's memory: a store of any size costs no memory, and a truncated file is an
error where a memory map would crash.
"""

from __future__ import annotations

import errno
import hashlib
import os
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from textmill import files
from textmill.data.preparing.chunks import id_type
from textmill.errors import DataError, MissingInputError
from textmill.files.operating_system import read_into
from textmill.runs.layout import TOKENS

DOCUMENTS = "documents.npy"
"""The length of every document, its EOS token included: the ids alone do not always show where a document begins."""

FORMAT = 2
SHARD_BYTES = 1 << 30


class ShardWriter:
    """Appends ids to files in a folder, a new one every `shard_bytes`. `close` makes the folder a store.

    capacity: ids in a file that is full.
    """

    def __init__(
        self, folder: Path, vocab_size: int, eos_id: int | None = None, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.folder = files.make_directory(folder)
        self.eos_id = eos_id
        self.dtype = id_type(vocab_size)
        self._vocab_size = vocab_size
        self.capacity = max(shard_bytes // self.dtype.itemsize, 1)
        self._shards: list[dict[str, Any]] = []
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._lengths = array("Q")
        self._documents_end = 0
        self._max_id = -1

    @property
    def num_tokens(self) -> int:
        """Ids written so far."""
        return sum(shard["tokens"] for shard in self._shards)

    def write(self, ids: np.ndarray, num_bytes: int, ends: np.ndarray | None = None) -> None:
        """Append `ids`, the tokens of `num_bytes` bytes of text. Raises DataError for an id outside the vocabulary.

        ends: for each document that ends in `ids`, how many of them are up to its end, its EOS token included; rising.
        """
        if ends is not None and len(ends):
            ends_in_store = self.num_tokens + ends.astype(np.int64)
            self._lengths.extend(np.diff(ends_in_store, prepend=self._documents_end).tolist())
            self._documents_end = int(ends_in_store[-1])
        if ids.size:
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= self._vocab_size:
                raise DataError(f"id {high if low >= 0 else low} is outside the vocabulary of {self._vocab_size:,}")
            self._max_id = max(self._max_id, high)
        ids = ids.astype(self.dtype, copy=False)
        first = True
        while ids.size or first:
            file = self._file_with_room()
            shard = self._shards[-1]
            head = ids[: self.capacity - shard["tokens"]]
            content = head.tobytes()
            file.write(content)
            self._hash.update(content)
            shard["tokens"] += head.size
            shard["bytes"] += num_bytes if first else 0
            ids, first = ids[head.size :], False

    def flush(self) -> None:
        """Hand what was written to the system: it can be read even if this process dies now."""
        if self._file is not None:
            self._file.flush()

    def _file_with_room(self) -> BinaryIO:
        if self._file is None or self._shards[-1]["tokens"] == self.capacity:
            self._close_file()
            name = f"{len(self._shards):05d}.bin"
            self._file, self._hash = (self.folder / name).open("wb"), hashlib.sha256()
            self._shards.append({"file": name, "tokens": 0, "bytes": 0, "sha256": ""})
        return self._file

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._shards[-1]["sha256"] = self._hash.hexdigest()
            self._file = None

    def release(self) -> None:
        """Close the file that is being written, complete or not: Windows deletes and renames nothing that is open."""
        if self._file is not None:
            with suppress(OSError):  # what made the writing fail was raised where it was met
                self._file.close()

    def close(self) -> None:
        """Complete the store, so that it can be opened."""
        self._close_file()
        lengths = np.array(self._lengths, dtype=np.uint64)
        dtype = np.uint32 if not lengths.size or lengths.max() < 1 << 32 else np.uint64
        np.save(self.folder / DOCUMENTS, lengths.astype(dtype), allow_pickle=False)
        described = {
            "format": FORMAT,
            "dtype": "uint16" if self.dtype.itemsize == 2 else "uint32",
            "eos_id": self.eos_id,
            "max_id": self._max_id,
            "num_documents": len(self._lengths),
            "documents_sha256": files.sha256(self.folder / DOCUMENTS),
            "shards": self._shards,
        }
        files.write_json(self.folder / TOKENS, described)


@dataclass(frozen=True)
class _Shard:
    name: str
    tokens: int
    start: int  # index of its first token in the store
    sha256: str
    descriptor: int


def _whole(value: Any, least: int = 0) -> int:
    """Return `value` if it is a whole number of at least `least`. Raises TypeError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TypeError(f"{str(value)[:40]!r} is not a whole number")
    return value


class TokenStore:
    """The token ids of one side of a corpus, read from any position without being loaded.

    Attributes:
        folder: where it is.
        num_tokens: ids, EOS tokens included.
        num_bytes: UTF-8 bytes of the text alone; 0 where the ids came without text.
        num_documents: documents that end in it.
        dtype: uint16 or uint32.
        max_id: the highest id.
        eos_id: the id after every document, or None.
        fingerprint: a hash of the ids and of where documents end, hexadecimal.
    """

    def __init__(self, folder: Path, described: dict[str, Any]) -> None:
        """Use `TokenStore.open`."""
        self.folder = folder
        self.dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[described["dtype"]])
        self.max_id: int = _whole(described["max_id"], -1)
        self.eos_id: int | None = None if described["eos_id"] is None else _whole(described["eos_id"])
        self.num_documents: int = _whole(described["num_documents"])
        self.num_bytes = sum(_whole(shard["bytes"]) for shard in described["shards"])
        self._shards: list[_Shard] = []
        start = 0
        for shard in described["shards"]:
            descriptor = self._open_shard(shard["file"], _whole(shard["tokens"]))
            self._shards.append(_Shard(shard["file"], shard["tokens"], start, shard["sha256"], descriptor))
            start += shard["tokens"]
        self.num_tokens = start
        self._starts = [shard.start for shard in self._shards]
        identity = [described["dtype"], *([shard.tokens, shard.sha256] for shard in self._shards)]
        if self.num_documents > 1:
            identity.append(described["documents_sha256"])
        self.fingerprint = files.json_sha256(identity)

    @classmethod
    def open(cls, folder: Path) -> TokenStore:
        """Return the store in `folder`, the size of every file checked.

        Raises MissingInputError when there is none, DataError when a file is missing, damaged or of another version.
        """
        path = folder / TOKENS
        try:
            content = files.read_bytes(path)
        except OSError as error:
            raise MissingInputError(f"there is no token store in {folder}: {error.strerror}") from error
        with files.report_damage(path, "prepare the corpus again"):
            described = files.parse_json(content)
            if (version := described["format"]) == FORMAT:
                return cls(folder, described)
        raise DataError(f"{path} has format {version}, this version reads {FORMAT}: prepare the corpus again")

    def _open_shard(self, name: str, tokens: int) -> int:
        path = self.folder / name
        try:
            with files.retry_stale(lambda: files.open_regular(path)) as file:
                descriptor = os.dup(file.fileno())
        except OSError as error:
            raise DataError(f"the shard {path} cannot be read ({error.strerror}): prepare the corpus again") from error
        size, expected = os.fstat(descriptor).st_size, tokens * self.dtype.itemsize
        if size != expected:
            os.close(descriptor)
            raise DataError(f"the shard {path} is damaged: {size:,} bytes instead of {expected:,}; prepare it again")
        return descriptor

    def __len__(self) -> int:
        return self.num_tokens

    def __repr__(self) -> str:
        return f"TokenStore({str(self.folder)!r}, num_tokens={self.num_tokens:,}, dtype={self.dtype.name})"

    def __reduce__(self) -> tuple[Callable[[Path], TokenStore], tuple[Path]]:
        return TokenStore.open, (self.folder,)

    def __del__(self) -> None:
        for shard in getattr(self, "_shards", []):
            os.close(shard.descriptor)

    def read(self, start: int, count: int) -> np.ndarray:
        """Return ids `start` to `start + count`, as they are stored (count,). Raises IndexError outside the store."""
        ids = np.empty(count, dtype=self.dtype)
        self.read_into(start, ids)
        return ids

    def read_into(self, start: int, ids: np.ndarray) -> None:
        """Fill the contiguous array `ids`, of the store's dtype, with the ids from `start`.

        Raises IndexError outside the store, DataError when a file was truncated after it was opened.
        """
        if start < 0 or start + ids.size > self.num_tokens:
            raise IndexError(f"tokens {start}..{start + ids.size} of a store of {self.num_tokens}")
        buffer = ids.data.cast("B")
        number = int(np.searchsorted(self._starts, start, side="right")) - 1 if len(self._shards) > 1 else 0
        while buffer:
            shard = self._shards[number]
            wanted = min(len(buffer), (shard.start + shard.tokens - start) * self.dtype.itemsize)
            self._read_shard(shard, (start - shard.start) * self.dtype.itemsize, buffer[:wanted])
            buffer = buffer[wanted:]
            start += wanted // self.dtype.itemsize
            number += 1

    def _read_shard(self, shard: _Shard, offset: int, buffer: memoryview) -> None:
        while buffer:
            try:
                got = read_into(shard.descriptor, buffer, offset)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                got = self._read_anew(shard, offset, buffer, error)
            if got == 0:
                raise DataError(f"the shard {self.folder / shard.name} became shorter while it was in use")
            buffer, offset = buffer[got:], offset + got

    def _read_anew(self, shard: _Shard, offset: int, buffer: memoryview, error: OSError) -> int:
        """Open a shard again that another machine has replaced, if its content is the same; return the bytes read.

        Raises StaleFileError if the shard cannot be opened, DataError if it has other ids now.
        """
        path = self.folder / shard.name
        try:
            described = files.read_json(self.folder / TOKENS)
            hashes = {entry["file"]: entry["sha256"] for entry in described["shards"]}
            if hashes.get(shard.name) != shard.sha256:
                raise DataError(f"the shard {path} was replaced by another while it was in use: start the run again")
            with files.retry_stale(lambda: files.open_regular(path)) as file:
                os.dup2(file.fileno(), shard.descriptor, inheritable=False)
            return files.retry_stale(lambda: read_into(shard.descriptor, buffer, offset))
        except (OSError, MissingInputError, KeyError, TypeError):
            raise files.cannot_read(path, error) from error

    def document_lengths(self) -> np.ndarray:
        """Return the tokens of every document, EOS tokens included, int64 (documents,); their sum is `num_tokens`.

        What follows the last end, as in a text that was cut in two, is a document as well. Raises DataError when the
        file of lengths is missing or damaged.
        """
        path = self.folder / DOCUMENTS
        try:
            with files.open_regular(path) as file:
                lengths = np.load(file, allow_pickle=False).astype(np.int64)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} cannot be read ({error}): prepare the corpus again") from error
        rest = self.num_tokens - int(lengths.sum())
        if lengths.shape != (self.num_documents,) or rest < 0:
            raise DataError(f"{path} is damaged: its documents are not those of the shards; prepare the corpus again")
        return np.append(lengths, rest) if rest else lengths

"""Text in chunks, whose borders depend on the text around them alone, and chunks as token ids.

Each has a key that tells whether the same text was encoded before.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from textmill.data.preparing.split import Fragment
from textmill.data.preparing.unknown_text import refuse_dropped_text
from textmill.tokenizers import Tokenizer

MOST = 1 << 21
"""Characters of a chunk at most, unless one fragment has more."""

LARGE = 1 << 17
"""Characters: a chunk is at least as long unless its file, or a document of this length, ends it."""

_ONE_IN = 8  # documents that may end a chunk


def chunks(fragments: Iterable[Fragment]) -> Iterator[list[Fragment]]:
    """Yield `fragments` in chunks, of one file each.

    A change in one document changes the chunk that it is in, and perhaps the next, but none after that, and none of
    another file. A document of more than LARGE characters shares no chunk with another one.
    """
    chunk: list[Fragment] = []
    characters, document = 0, 0
    for fragment in fragments:
        begins_large = document == 0 and len(fragment.text) >= LARGE
        if chunk and (begins_large or characters + len(fragment.text) > MOST or fragment.file is not chunk[0].file):
            yield chunk
            chunk, characters = [], 0
        chunk.append(fragment)
        characters += len(fragment.text)
        document += len(fragment.text)
        if fragment.ends:
            if document >= LARGE or (characters >= LARGE and zlib.crc32(fragment.text.encode()) % _ONE_IN == 0):
                yield chunk
                chunk, characters = [], 0
            document = 0
    if chunk:
        yield chunk


def batches_of_chunks(fragments: Iterable[Fragment]) -> Iterator[list[list[Fragment]]]:
    """Yield the chunks of `fragments`, as many at a time as are work worth handing to a thread."""
    batch: list[list[Fragment]] = []
    characters = 0
    for chunk in chunks(fragments):
        batch.append(chunk)
        characters += sum(len(fragment.text) for fragment in chunk)
        if characters >= LARGE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


@dataclass(frozen=True)
class EncodedChunk:
    """The ids of some text of one side, tokens around documents included.

    Attributes:
        ids: uint16 or uint32 (n,).
        ends: uint32 (documents,): for each document that ends here, how many ids are up to its end.
        num_bytes: UTF-8 bytes of the text.
        unknown: how many ids are the unknown token.
    """

    ids: np.ndarray
    ends: np.ndarray
    num_bytes: int
    unknown: int


@dataclass(frozen=True)
class Encoding:
    """How the text of a corpus becomes ids.

    Attributes:
        tokenizer: makes the ids.
        eos_id: follows every document; None for no token.
    """

    tokenizer: Tokenizer
    eos_id: int | None

    @property
    def dtype(self) -> np.dtype:
        """The type that stores the ids."""
        return id_type(self.tokenizer.vocab_size)

    @property
    def key(self) -> bytes:
        """A hash, 16 bytes: encodings with the same key make the same ids."""
        return hashlib.blake2b(f"{self.tokenizer.fingerprint} {self.eos_id}".encode(), digest_size=16).digest()

    def encode(self, fragments: Sequence[Fragment]) -> EncodedChunk:
        """Return the ids of `fragments`, with the tokens around every document that begins or ends in them.

        Raises DataError where the tokenizer would drop text without a trace: no loss could be charged for it.
        """
        if self.tokenizer.drops_text:
            refuse_dropped_text(self.tokenizer, (fragment.text for fragment in fragments))
        before, after = list(self.tokenizer.prefix_ids), list(self.tokenizer.suffix_ids)
        if self.eos_id is not None and after[-1:] != [self.eos_id]:
            after.append(self.eos_id)
        start, end = np.array(before, dtype=self.dtype), np.array(after, dtype=self.dtype)
        pieces: list[np.ndarray] = []
        ends, size = [], 0
        for fragment, ids in zip(fragments, self.tokenizer.encode_batch([part.text for part in fragments], 1)):
            pieces += [*[start] * fragment.begins, ids.astype(self.dtype), *[end] * fragment.ends]
            size += start.size * fragment.begins + ids.size + end.size * fragment.ends
            if fragment.ends:
                ends.append(size)
        joined = np.concatenate(pieces)
        unknown = 0 if self.tokenizer.unk_id is None else int((joined == self.tokenizer.unk_id).sum())
        num_bytes = sum(utf8_size(fragment.text) for fragment in fragments)
        return EncodedChunk(joined, np.array(ends, dtype=np.uint32), num_bytes, unknown)


def id_type(vocab_size: int) -> np.dtype:
    """Return the smallest type, uint16 or uint32, that stores the ids of a vocabulary."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def utf8_size(text: str) -> int:
    """Return the number of bytes of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def chunk_key(fragments: Sequence[Fragment]) -> bytes:
    """Return a hash of the text of `fragments` and of where documents begin and end in it, 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for fragment in fragments:
        content = fragment.text.encode("utf-8")
        digest.update(len(content).to_bytes(8, "little") + bytes([fragment.ends + 2 * (not fragment.begins)]))
        digest.update(content)
    return digest.digest()

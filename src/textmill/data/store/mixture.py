"""Several corpora in given proportions: one long stream in which each is repeated as often as its share asks for."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from textmill.data.store.token_shards import TokenStore
from textmill.errors import DataError
from textmill.files import json_sha256


@dataclass(frozen=True)
class Part:
    """One corpus of a mixture: a range of the training ids.

    Attributes:
        name: as it was given.
        weight: its share of the training tokens, relative to the other weights.
        tokens: its ids, at least one.
        bytes: UTF-8 bytes of its text.
    """

    name: str
    weight: float
    tokens: int
    bytes: int


def mixture_parts(weights: Sequence[tuple[str, float, int]], sizes: Sequence[Sequence[int]]) -> list[Part]:
    """Return the corpora of a mixture; none where nothing is mixed.

    weights: name, weight and number of files of each. sizes: its training tokens and bytes. Raises DataError for a
    corpus without any.
    """
    parts = []
    for number, (name, weight, _) in enumerate(weights):
        tokens, num_bytes = sizes[number] if number < len(sizes) else (0, 0)
        if not tokens:
            raise DataError(f"no text of {name} is left to train on: give --val-data, or leave it out")
        parts.append(Part(name, weight, tokens, num_bytes))
    return parts


class Mixture(TokenStore):
    """A view of a store as a stream in which every part has its share. Nothing is copied.

    The stream is the shortest that contains every part completely: the part that is largest for its weight once, the
    others repeated, each up to its share. So an epoch reads all text, and the rows of a step remain a pure function of
    the step, as with any other store. Attributes are those of TokenStore, with repetitions counted.
    """

    def __init__(self, store: TokenStore, parts: Sequence[Part]) -> None:
        """`parts` are the whole of `store`, in its order; weights are above zero."""
        self.store, self.parts = store, list(parts)
        self.folder, self.dtype = store.folder, store.dtype
        self.max_id, self.eos_id = store.max_id, store.eos_id
        total = sum(part.weight for part in parts)
        length = max(part.tokens * total / part.weight for part in parts)
        self.counts = [max(part.tokens, round(length * part.weight / total)) for part in parts]
        self.num_tokens = sum(self.counts)
        self.num_bytes = sum(round(part.bytes * self.repeats(n)) for n, part in enumerate(parts))
        self.num_documents = self.document_lengths().size
        self._starts = np.cumsum([0, *(part.tokens for part in parts)])  # of each part in the store
        self._stream_starts = np.cumsum([0, *self.counts])  # of each part in the stream
        identity = [store.fingerprint, [asdict(part) for part in parts]]
        self.fingerprint = json_sha256(identity)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Mixture, (self.store, self.parts)

    def repeats(self, number: int) -> float:
        """Return how often the part of that number is read in an epoch."""
        return self.counts[number] / self.parts[number].tokens

    def read_into(self, start: int, ids: np.ndarray) -> None:
        """See TokenStore."""
        if start < 0 or start + ids.size > self.num_tokens:
            raise IndexError(f"tokens {start}..{start + ids.size} of a mixture of {self.num_tokens}")
        done = 0
        while done < ids.size:
            number = int(np.searchsorted(self._stream_starts, start + done, side="right")) - 1
            into = int(start + done - self._stream_starts[number])
            offset = into % self.parts[number].tokens
            size = min(ids.size - done, self.parts[number].tokens - offset, self.counts[number] - into)
            self.store.read_into(int(self._starts[number]) + offset, ids[done : done + size])
            done += size

    def document_lengths(self) -> np.ndarray:
        """See TokenStore. A document ends where the last repetition of a part breaks off."""
        lengths = self.store.document_lengths()
        ends = np.cumsum(lengths)
        found, start = [], 0
        for part, count in zip(self.parts, self.counts):
            own = lengths[(ends > start) & (ends <= start + part.tokens)]
            start += part.tokens
            whole, rest = divmod(count, part.tokens)
            inside = np.cumsum(own)
            last = own[: int(np.searchsorted(inside, rest, side="right"))]
            broken = rest - int(last.sum())
            found += [np.tile(own, whole), last, np.array([broken] if broken else [], dtype=np.int64)]
        return np.concatenate(found).astype(np.int64)

    def sentences(self) -> list[str]:
        """Return how often an epoch reads each part, one sentence each."""
        found = []
        for number, (part, count) in enumerate(zip(self.parts, self.counts)):
            share = f"{count / self.num_tokens:.1%}"
            of_text = f"{part.bytes * self.repeats(number) / max(self.num_bytes, 1):.1%}"
            bytes_too = f", {of_text} of their bytes" if of_text != share else ""
            found.append(
                f"{part.name} is {share} of the training tokens{bytes_too}: "
                f"an epoch reads it {self.repeats(number):.3g} times"
            )
        return found

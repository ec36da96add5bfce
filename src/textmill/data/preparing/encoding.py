"""The last step of preparing: text to ids on all cores, in its order into the stores."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textmill.data.preparing.encoded_chunks import (
    EarlierStretches,
    Ledger,
    Stretch,
    encode_stretch,
    encoding_key,
    stretch_key,
)
from textmill.data.preparing.split import TRAIN, Fragment
from textmill.data.store.shards import ShardWriter
from textmill.machine.devices import cores
from textmill.tokenizers import Tokenizer

_MOST = 1 << 21  # characters of a stretch
_LARGE = 1 << 17  # characters; a stretch is at least as long unless its file, or a document of this length, ends it
_ONE_IN = 8  # documents that may end a stretch


@dataclass
class Written:
    """What became of the text.

    Attributes:
        sizes: [tokens, bytes] of training text by corpus of a mixture.
        unknown: unknown tokens by side.
        taken: bytes of text whose ids were there already.
    """

    sizes: list[list[int]]
    unknown: list[int]
    taken: int = 0


class _Encoded(NamedTuple):
    side: int
    corpus: int
    key: bytes
    stretch: Stretch
    taken: bool


def write_stores(
    fragments: Iterable[Fragment],
    tokenizer: Tokenizer,
    eos_id: int | None,
    writers: Sequence[ShardWriter],
    earlier: Sequence[Path],
    workers: int | None,
) -> Written:
    """Every fragment is encoded, or taken from a corpus in `earlier`, and written by the writer of its side, in order.

    workers: threads, None for one per core. Memory: two batches for each.
    """
    encoding = encoding_key(tokenizer, eos_id)
    ledgers = [Ledger(writer, encoding) for writer in writers]
    written = Written([], [0] * len(writers))
    with EarlierStretches(earlier, encoding) as known:
        encode = partial(_encode, known=known, tokenizer=tokenizer, eos_id=eos_id, dtype=writers[TRAIN].dtype)
        for encoded in _in_order(encode, _batches(stretches(fragments)), workers or cores()):
            for side, corpus, key, stretch, taken in encoded:
                ledgers[side].write(key, stretch)
                written.unknown[side] += stretch.unknown
                written.taken += stretch.num_bytes * taken
                if side == TRAIN:
                    written.sizes += [[0, 0] for _ in range(corpus + 1 - len(written.sizes))]
                    written.sizes[corpus][0] += stretch.ids.size
                    written.sizes[corpus][1] += stretch.num_bytes
            for ledger in ledgers:
                ledger.flush()
    for ledger in ledgers:
        ledger.close()
    return written


def _encode(
    batch: list[list[Fragment]], known: EarlierStretches, tokenizer: Tokenizer, eos_id: int | None, dtype: np.dtype
) -> list[_Encoded]:
    """Return the stretches of `batch`, of every side in its order, from what is `known` where it is there."""
    found = []
    for fragments in batch:
        for side in sorted({part.side for part in fragments}):
            parts = [part for part in fragments if part.side == side]
            key = stretch_key(parts)
            earlier = known.find(key)
            stretch = earlier or encode_stretch(parts, tokenizer, eos_id, dtype)
            found.append(_Encoded(side, parts[0].corpus, key, stretch, earlier is not None))
    return found


def stretches(fragments: Iterable[Fragment]) -> Iterator[list[Fragment]]:
    """Yield `fragments` in stretches, of one file each, whose borders depend on the text around them alone.

    So a change in one document changes the stretch that it is in, and perhaps the next, but none after that, and none
    of another file. A document of more than _LARGE characters shares no stretch with another one.
    """
    stretch: list[Fragment] = []
    characters, document = 0, 0
    for part in fragments:
        begins_large = document == 0 and len(part.text) >= _LARGE
        if stretch and (begins_large or characters + len(part.text) > _MOST or part.file is not stretch[0].file):
            yield stretch
            stretch, characters = [], 0
        stretch.append(part)
        characters += len(part.text)
        document += len(part.text)
        if part.ends:
            if document >= _LARGE or (characters >= _LARGE and zlib.crc32(part.text.encode()) % _ONE_IN == 0):
                yield stretch
                stretch, characters = [], 0
            document = 0
    if stretch:
        yield stretch


def _batches(stretches: Iterable[list[Fragment]]) -> Iterator[list[list[Fragment]]]:
    """Yield `stretches`, as many at a time as are work worth handing to a thread."""
    batch: list[list[Fragment]] = []
    characters = 0
    for stretch in stretches:
        batch.append(stretch)
        characters += sum(len(part.text) for part in stretch)
        if characters >= _LARGE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _in_order(
    encode: Callable[[list[list[Fragment]]], list[_Encoded]], batches: Iterable[list[list[Fragment]]], workers: int
) -> Iterator[list[_Encoded]]:
    """Yield what `encode` makes of every batch, in order, on so many threads, reading a little ahead."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[list[_Encoded]]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(encode, batch))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

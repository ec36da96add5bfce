"""The last step of preparing: chunks of text to ids on all cores, and in their order into the stores."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from textmill.data.preparing.chunks import EncodedChunk, Encoding, batches_of_chunks, chunk_key
from textmill.data.preparing.pipeline_output import ChunkWriter, Destination, EarlierChunks
from textmill.data.preparing.split import TRAIN, Fragment
from textmill.data.preparing.unknown_text import UnknownText
from textmill.machine.devices import cores


@dataclass
class Written:
    """What became of the text.

    Attributes:
        unknown: by side, how much text there is, and what of it the tokenizer does not know.
        sizes: [tokens, bytes] of training text by corpus of a mixture.
        reused: bytes of text that was encoded before.
    """

    unknown: list[UnknownText]
    sizes: list[list[int]] = field(default_factory=list)
    reused: int = 0


class _Encoded(NamedTuple):
    side: int
    corpus: int
    key: bytes
    chunk: EncodedChunk
    reused: bool
    unknown: UnknownText


def encode_and_write(
    fragments: Iterable[Fragment],
    encoding: Encoding,
    writers: Sequence[ChunkWriter],
    destination: Destination,
    workers: int | None,
    done: Callable[[int, Sequence[UnknownText]], None],
) -> Written:
    """Encode every fragment, or find it encoded, and write it with the writer of its side, in order.

    workers: threads, None for one per core. Memory: two batches for each. done: gets the characters that were written,
    and what is unknown of each side so far; it may raise.
    """
    written = Written([UnknownText() for _ in writers])
    with destination.earlier(encoding) as earlier:
        encode = partial(_encode, encoding=encoding, earlier=earlier)
        for batch in _in_order(encode, batches_of_chunks(fragments), workers or cores()):
            for side, corpus, key, chunk, reused, unknown in batch:
                writers[side].write(key, chunk)
                written.unknown[side].add(unknown)
                written.reused += chunk.num_bytes * reused
                if side == TRAIN:
                    written.sizes += [[0, 0] for _ in range(corpus + 1 - len(written.sizes))]
                    written.sizes[corpus][0] += chunk.ids.size
                    written.sizes[corpus][1] += chunk.num_bytes
            for writer in writers:
                writer.flush()
            done(sum(part.unknown.characters for part in batch), written.unknown)
    return written


def _encode(batch: list[list[Fragment]], encoding: Encoding, earlier: EarlierChunks) -> list[_Encoded]:
    """Return the chunks of `batch`, those of every side in their order."""
    encoded = []
    for fragments in batch:
        for side in sorted({fragment.side for fragment in fragments}):
            of_side = [fragment for fragment in fragments if fragment.side == side]
            key = chunk_key(of_side)
            found = earlier.find(key)
            chunk = found or encoding.encode(of_side)
            unknown = UnknownText(chunk.unknown, characters=sum(len(fragment.text) for fragment in of_side))
            for fragment in of_side if chunk.unknown else ():
                unknown.found += encoding.tokenizer.unknown_in(fragment.text)
            encoded.append(_Encoded(side, of_side[0].corpus, key, chunk, found is not None, unknown))
    return encoded


def _in_order(
    encode: Callable[[list[list[Fragment]]], list[_Encoded]], batches: Iterable[list[list[Fragment]]], workers: int
) -> Iterator[list[_Encoded]]:
    """Yield what `encode` makes of every batch, in order, on so many threads, reading a little ahead."""
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[list[_Encoded]]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(encode, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)

"""Fragments of text into chunks, whose borders depend on the text around them alone."""

import zlib
from collections.abc import Iterable, Iterator

from textmill.data.preparing.split import Fragment

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

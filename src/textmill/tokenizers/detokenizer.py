"""Turn ids into text one at a time; characters appear only when complete."""

import codecs
from collections.abc import Callable, Sequence

INCOMPLETE = "\ufffd"
"""What stands for bytes that are no character, or not yet."""


class ByteDetokenizer:
    """Streams the text of a byte-level tokenizer: bytes wait until they form a complete character.

    Bytes that are not UTF-8 come out as U+FFFD, exactly where decoding all ids at once puts them.
    """

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the characters that `token_id` completed, often one word, sometimes none."""
        return self._decoder.decode(self._bytes_of(token_id))

    def flush(self) -> str:
        """Return the rest: U+FFFD for an incomplete character. The stream starts again."""
        return self._decoder.decode(b"", final=True)


class TextDetokenizer:
    """Streams the text of any other tokenizer by decoding a short window twice and returning the difference.

    The window starts at the last place where the text was whole, because tokenizers of the SentencePiece kind treat the
    first token of a text specially.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._given = 0  # ids of the window whose text has been returned

    def push(self, token_id: int) -> str:
        """Return the characters that `token_id` completed."""
        self._window.append(token_id)
        before, after = self._decode(self._window[: self._given]), self._decode(self._window)
        if len(after) <= len(before) or after.endswith(INCOMPLETE):
            return ""
        self._window = self._window[self._given :]
        self._given = len(self._window)
        return after[len(before) :]

    def flush(self) -> str:
        """Return the rest, incomplete characters as U+FFFD. The stream starts again."""
        before, after = self._decode(self._window[: self._given]), self._decode(self._window)
        self._window, self._given = [], 0
        return after[len(before) :]


Detokenizer = ByteDetokenizer | TextDetokenizer

"""How well a tokenizer suits a text: how many tokens it makes of it, and which entries it uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from textmill.data.preparing.chunks import chunks, utf8_size
from textmill.data.preparing.split import Fragment, whole_documents
from textmill.data.reading.document import Reading
from textmill.data.reading.odd_files import OddFiles
from textmill.data.reading.read_documents import read_documents
from textmill.tokenizers import Tokenizer

SAMPLE_CHARACTERS = 160


@dataclass
class TokenizerStatistics:
    """What was counted.

    Attributes:
        counts: int64 (vocab_size,): how often each id occurs.
        num_bytes, characters, documents: of the text.
        sample: ids of the first text that is not blank.
    """

    counts: np.ndarray
    num_bytes: int = 0
    characters: int = 0
    documents: int = 0
    sample: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Ids of the whole text, without EOS tokens."""
        return int(self.counts.sum())

    def unused(self, tokenizer: Tokenizer) -> list[int]:
        """Return the ids that never occur, except those of the EOS and the unknown token."""
        special = {tokenizer.eos_id, tokenizer.unk_id}
        return [number for number in np.flatnonzero(self.counts == 0).tolist() if number not in special]

    def most_used(self, count: int) -> list[int]:
        """Return the ids that occur most, at most `count`."""
        order = np.argsort(-self.counts, kind="stable")[:count]
        return [number for number in order.tolist() if self.counts[number]]


def tokenizer_statistics(
    tokenizer: Tokenizer,
    files: Sequence[Path],
    reading: Reading,
    on_bytes: Callable[[int], None] = lambda num_bytes: None,
    odd: OddFiles | None = None,
) -> TokenizerStatistics:
    """Return what `tokenizer` makes of the text in `files`. `odd` may skip some. Raises what reading raises."""
    statistics = TokenizerStatistics(np.zeros(tokenizer.vocab_size, dtype=np.int64))
    documents = read_documents(files, reading, on_bytes=on_bytes, odd=odd)
    parts = (Fragment(0, part.text, not part.continues) for part in documents)
    for chunk in chunks(parts if tokenizer.exact_in_parts else whole_documents(parts)):
        texts = [part.text for part in chunk]
        for text, ids in zip(texts, tokenizer.encode_batch(texts)):
            statistics.counts += np.bincount(ids, minlength=statistics.counts.size)
            statistics.num_bytes += utf8_size(text)
            statistics.characters += len(text)
            if not statistics.sample and text.strip():
                statistics.sample = tokenizer.encode(text.strip()[:SAMPLE_CHARACTERS]).tolist()
        statistics.documents += sum(part.ends for part in chunk)
    return statistics

"""Some text from all of a corpus, a part of which is not learned from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from textmill.data.examine.trigram_baseline import trigram_bits
from textmill.data.preparing.chunks import utf8_size
from textmill.data.preparing.learning_text import share_of_marks
from textmill.data.preparing.tokenizer_choice import suitable_pattern, suitable_vocab_size
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.char_and_byte import LONGEST_CHARACTER
from textmill.tokenizers.new_tokenizers import make_byte, make_char, train_bpe
from textmill.tokenizers.normal_forms import normalized

SAMPLE = 1 << 20
"""Characters of the sample."""

PIECE = 1 << 12
_HELD_OUT = 10  # one piece in so many


@dataclass
class TextSample:
    """Pieces of a corpus of about `size` characters, in its order and evenly from all of it."""

    size: int
    pieces: list[str] = field(default_factory=list)
    _owed: float = 0.0

    def add(self, text: str) -> None:
        """Take the next text of the corpus, or some of it."""
        share = min(1.0, SAMPLE / max(self.size, 1))
        for start in range(0, len(text), PIECE):
            piece = text[start : start + PIECE]
            self._owed += share * len(piece)
            if self._owed > 0 and piece.strip():
                self.pieces.append(piece)
                self._owed -= len(piece)

    def divided(self) -> tuple[list[str], list[str]]:
        """Return the pieces to learn from, and those to measure on: the tail, a tenth of the characters or more."""
        limit, at = sum(map(len, self.pieces)) / _HELD_OUT, len(self.pieces)
        characters = 0
        while at > 0 and characters < limit:
            at -= 1
            characters += len(self.pieces[at])
        if at == 0 and self.pieces:  # a single piece
            whole = "".join(self.pieces)
            cut = len(whole) - len(whole) // _HELD_OUT
            return [whole[:cut]], [whole[cut:]] if whole[cut:] else []
        return self.pieces[:at], self.pieces[at:]


def tokenizer_trials(sample: TextSample, form: str | None) -> list[dict[str, Any]]:
    """Return what each kind of tokenizer makes of text that it has not learned from; nothing for too little text.

    Each is learned from the same pieces of the sample, and so is the trigram model. An unknown character costs as many
    bits more as it does in `evaluate`. form: the normal form that text is brought into.
    """
    train, held_out = ([normalized(piece, form) for piece in part] for part in sample.divided())
    if not train or not held_out:
        return []
    marks = share_of_marks("".join(train))
    vocab_size = suitable_vocab_size(sample.size)
    made = [make_char(train), make_byte(), train_bpe(train, vocab_size, pattern=suitable_pattern(marks))]
    return [_trial(tokenizer, train, held_out) for tokenizer in made]


def _trial(tokenizer: Tokenizer, train: Sequence[str], held_out: Sequence[str]) -> dict[str, Any]:
    learned, measured = tokenizer.encode_batch(list(train)), tokenizer.encode_batch(list(held_out))
    num_bytes, tokens = sum(map(utf8_size, held_out)), sum(len(ids) for ids in measured)
    unknown = sum(int((ids == tokenizer.unk_id).sum()) for ids in measured) if tokenizer.unk_id is not None else 0
    bits = trigram_bits(learned, measured, tokenizer.vocab_size) + 8 * LONGEST_CHARACTER * unknown
    return {
        "tokenizer": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "bytes_per_token": num_bytes / tokens,
        "characters_per_token": sum(map(len, held_out)) / tokens,
        "unknown": unknown,
        "trigram_bits_per_byte": bits / num_bytes,
    }

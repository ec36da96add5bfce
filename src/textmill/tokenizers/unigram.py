"""Learn a Unigram tokenizer: pieces of text with probabilities, of which the most probable spelling is taken.

Source: Kudo, "Subword Regularization" (2018). Characters that are too rare for a piece of their own are spelled by
their bytes, so that every text comes back. Expectation maximisation is that of the library tokenizers.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, trainers

from textmill.errors import ConfigError
from textmill.tokenizers.byte_fallback import BYTE_NAMES
from textmill.tokenizers.new_tokenizers import END_OF_TEXT, add_end_and_special_tokens, without_special_tokens
from textmill.tokenizers.tokenizer import Tokenizer
from textmill.tokenizers.word_patterns import GPT4O, cut_long_words, splitter

LONGEST_PIECE = 16
"""Characters of a piece."""

_DECIMALS = 6
"""Of a logarithm of a probability; the last digits are of chance."""

_NUMBERED = 0.0001  # what the library adds for each character that it had dropped

_LEAST_ROOM = 16  # entries besides the bytes and special tokens
_BYTE_PENALTY = 10.0
_OFTEN = 2  # occurrences from which on a character may have an entry


def train_unigram(
    texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = (), *, pattern: str = GPT4O.name
) -> Tokenizer:
    """Return a Unigram tokenizer with byte fallback, learned from `texts`, which are cut into words by `pattern`.

    Its ids are the 256 bytes, pieces from the most to the least probable, <|endoftext|>, and `special_tokens`. It is
    smaller than `vocab_size` when the texts do not support as many pieces. At most half of its pieces are single
    characters; rarer ones are spelled by their bytes. All of `texts` are kept in memory while it learns. An exception
    raised by `texts` passes through. Raises ConfigError if `vocab_size` is too small for the bytes, and for a `pattern`
    that is neither a name in PATTERNS nor a regular expression.
    """
    smallest = len(BYTE_NAMES) + 1 + _LEAST_ROOM + len(special_tokens)
    if vocab_size < smallest:
        raise ConfigError(
            f"vocab_size {vocab_size} is too small for Unigram: the bytes, {END_OF_TEXT}, {len(special_tokens)} "
            f"special tokens and a few pieces need {smallest}"
        )
    room = vocab_size - len(BYTE_NAMES) - 1 - len(special_tokens)
    words = splitter(pattern)
    kept = list(cut_long_words(without_special_tokens([END_OF_TEXT, *special_tokens], texts), pattern))
    scores = _learn(kept, room, words)
    lowest = min(scores.values(), default=0.0)
    # The library would read the name of a byte in a text as that byte, but `splitter` cuts within every name.
    vocabulary = [(name, lowest - _BYTE_PENALTY) for name in BYTE_NAMES] + list(scores.items())
    backend = Backend(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = words
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    add_end_and_special_tokens(backend, special_tokens)
    return Tokenizer.from_backend(backend, {"eos_token": END_OF_TEXT})


def _learn(texts: list[str], room: int, words: object) -> dict[str, float]:
    """Return at most `room` pieces and the logarithms of their probabilities, the most probable first."""
    frequent = _frequent_characters(texts, room // 2)
    if not frequent:
        return {}
    trainer = trainers.UnigramTrainer(
        vocab_size=room, special_tokens=[], max_piece_length=LONGEST_PIECE, show_progress=False
    )
    backend = Backend(models.Unigram())
    backend.pre_tokenizer = words
    backend.train_from_iterator(_between_rare_characters(texts, frequent), trainer)
    learned: list[tuple[str, float]] = json.loads(backend.to_str())["model"]["vocab"]
    lowest = min(score for _, score in learned)
    rounded = [(piece, _without_chance(piece, score, lowest, len(frequent))) for piece, score in learned]
    return dict(sorted(rounded, key=lambda entry: (-entry[1], entry[0])))


def _without_chance(piece: str, score: float, lowest: float, characters: int) -> float:
    """Return `score` without what depends on the order in which the library keeps words and characters.

    It adds up in that order, and numbers the characters that it had dropped from the lowest score upwards.
    """
    numbered = len(piece) == 1 and score < lowest + _NUMBERED * (characters + 1)
    return round(lowest if numbered else score, _DECIMALS)


def _frequent_characters(texts: list[str], most: int) -> set[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    order = sorted((-count, character) for character, count in counts.items() if count >= _OFTEN)
    return {character for _, character in order[:most]}


def _between_rare_characters(texts: list[str], frequent: set[str]) -> Iterator[str]:
    rare = re.compile(f"[^{re.escape(''.join(sorted(frequent)))}]+")
    for text in texts:
        yield from filter(None, rare.split(text))

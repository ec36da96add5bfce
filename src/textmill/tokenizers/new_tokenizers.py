"""Make new tokenizers: characters, bytes, and byte-level BPE trained on text."""

import re
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from textmill.errors import ConfigError, DataError
from textmill.tokenizers.byte_alphabet import CHARACTER_OF_BYTE
from textmill.tokenizers.split_long_text import pieces
from textmill.tokenizers.tokenizer import Tokenizer
from textmill.tokenizers.word_patterns import GPT2, cut_long_words, pre_tokenizer

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<unk>"
_END = AddedToken(END_OF_TEXT, special=True, normalized=False)

_TRAINING_PIECE = 65536  # characters; the trainer counts words of many pieces in parallel


def make_byte(special_tokens: Sequence[str] = ()) -> Tokenizer:
    """Return the tokenizer whose ids 0..255 are the bytes of UTF-8, 256 is <|endoftext|>, then `special_tokens`.

    Here and below, `special_tokens` are words that never split: where one stands in a text, it is one id.
    """
    vocabulary = {CHARACTER_OF_BYTE[byte]: byte for byte in range(256)}
    backend = Backend(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    add_end_and_special_tokens(backend, special_tokens)
    return Tokenizer.from_backend(backend, {"eos_token": END_OF_TEXT})


def make_char(texts: Iterable[str], special_tokens: Sequence[str] = ()) -> Tokenizer:
    """Return the tokenizer of single characters: those of `texts` in code point order, <unk>, then `special_tokens`.

    Every other character becomes <unk>, which decodes to "<unk>". There is no end-of-text token. Raises DataError when
    `texts` contain no character.
    """
    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    if not characters:
        raise DataError("there is no text to learn characters from")
    vocabulary = {character: index for index, character in enumerate(sorted(characters))}
    vocabulary[UNKNOWN] = len(vocabulary)
    # <unk> is in the vocabulary and not an added token: the five characters "<unk>" in a text stay five characters.
    backend = Backend(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN, fuse_unk=False))
    backend.decoder = decoders.Fuse()
    _add(backend, special_tokens)
    return Tokenizer.from_backend(backend)


def train_bpe(
    texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = (), *, pattern: str = GPT2.name
) -> Tokenizer:
    """Return a byte-level BPE tokenizer trained on `texts`, which are cut into words by `pattern`.

    Its vocabulary is <|endoftext|> (id 0), the 256 bytes, merges of pairs seen at least twice, and `special_tokens`; so
    it spells every text, and it is smaller than `vocab_size` when the texts do not support as many merges. An exception
    raised by `texts` passes through. What is learned from a word of more than LONGEST_WORD characters is learned from
    its parts. Raises ConfigError if `vocab_size` is too small for the bytes, and for a `pattern` that is neither a name
    in PATTERNS nor a regular expression.
    """
    smallest = 257 + len(special_tokens)
    if vocab_size < smallest:
        raise ConfigError(
            f"vocab_size {vocab_size} is too small for BPE: the bytes, {END_OF_TEXT} and {len(special_tokens)} special "
            f"tokens need {smallest}"
        )
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizer(pattern)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special_tokens),
        min_frequency=2,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(cut_long_words(without_special_tokens(special_tokens, texts), pattern), trainer)
    _add(backend, special_tokens)
    return Tokenizer.from_backend(backend, {"eos_token": END_OF_TEXT})


def without_special_tokens(special_tokens: Sequence[str], texts: Iterable[str]) -> Iterator[str]:
    """Yield the text between special tokens, in pieces: merges inside special tokens would never be used."""
    between = re.compile("|".join(map(re.escape, special_tokens))) if special_tokens else None
    for text in texts:
        for piece in pieces(text, _TRAINING_PIECE):
            yield from between.split(piece) if between is not None else (piece,)


def add_end_and_special_tokens(backend: Backend, special_tokens: Sequence[str]) -> None:
    """Give `backend` the token <|endoftext|>, found in no text, and `special_tokens`, found wherever they stand.

    Raises ConfigError for a special token that is in the vocabulary.
    """
    backend.add_special_tokens([_END])
    _add(backend, special_tokens)


def _add(backend: Backend, special_tokens: Sequence[str]) -> None:
    for name in special_tokens:
        if name == END_OF_TEXT and backend.token_to_id(name) is not None:
            raise ConfigError(
                f"special_tokens: {name} is in the vocabulary already, it follows every document. Where a text has it "
                f"between documents, --document-separator '{name}' ends them there"
            )
        if not name or backend.token_to_id(name) is not None:
            raise ConfigError(f"the special token {name!r} is empty or already in the vocabulary: choose another")
        # The backend's "special" tokens are not found in texts; these are meant to be.
        backend.add_tokens([AddedToken(name, special=False, normalized=False)])

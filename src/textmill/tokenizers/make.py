"""New tokenizers: characters, bytes, and byte-level BPE learned from text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from textmill.errors import ConfigError, DataError
from textmill.tokenizers.bytelevel import CHARACTER_OF_BYTE
from textmill.tokenizers.pieces import pieces
from textmill.tokenizers.tokenizer import Tokenizer

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<unk>"

_TRAINING_PIECE = 65536  # characters; the trainer counts words of many pieces in parallel


def make_byte(special_tokens: Sequence[str] = ()) -> Tokenizer:
    """Return the tokenizer whose ids 0..255 are the bytes of UTF-8, 256 is <|endoftext|>, then `special_tokens`."""
    vocabulary = {CHARACTER_OF_BYTE[byte]: byte for byte in range(256)}
    backend = Backend(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    _add_special(backend, [END_OF_TEXT, *special_tokens])
    return Tokenizer.from_backend(backend, {"eos_token": END_OF_TEXT})


def make_char(texts: Iterable[str], special_tokens: Sequence[str] = ()) -> Tokenizer:
    """Return the tokenizer of single characters: those of `texts` in code point order, <unk>, then `special_tokens`.

    Every other character becomes <unk>, which decodes to "<unk>". There is no end-of-text token. Raises DataError when
    `texts` hold no character.
    """
    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    if not characters:
        raise DataError("there is no text to learn characters from")
    vocabulary = {character: index for index, character in enumerate(sorted(characters))}
    vocabulary[UNKNOWN] = len(vocabulary)
    # <unk> is a word of the model and not an added token: the five characters "<unk>" in a text stay five characters.
    backend = Backend(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN, fuse_unk=False))
    backend.decoder = decoders.Fuse()
    _add_special(backend, special_tokens)
    return Tokenizer.from_backend(backend)


def train_bpe(texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = ()) -> Tokenizer:
    """Return a byte-level BPE tokenizer with GPT-2's word pattern, learned from `texts`.

    Its vocabulary is <|endoftext|> (id 0), `special_tokens`, the 256 bytes, and merges of pairs seen at least twice; so
    it spells every text, and it is smaller than `vocab_size` when the texts do not support as many merges. An exception
    raised by `texts` passes through. Raises ConfigError when `vocab_size` leaves no room for the bytes.
    """
    named = [END_OF_TEXT, *special_tokens]
    if vocab_size < 256 + len(named):
        raise ConfigError(
            f"vocab_size {vocab_size} is too small for BPE: the bytes and {len(named)} special tokens "
            f"need {256 + len(named)}"
        )
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=_special(named),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((piece for text in texts for piece in pieces(text, _TRAINING_PIECE)), trainer)
    return Tokenizer.from_backend(backend, {"eos_token": END_OF_TEXT})


def _special(names: Sequence[str]) -> list[str | AddedToken]:
    if len(set(names)) < len(names) or not all(names):
        raise ConfigError(f"special tokens must be different and not empty: {', '.join(map(repr, names))}")
    return [AddedToken(name, special=True, normalized=False) for name in names]


def _add_special(backend: Backend, names: Sequence[str]) -> None:
    for token in _special(names):
        if backend.token_to_id(str(token)) is not None:
            raise ConfigError(f"the special token {str(token)!r} is already in the vocabulary")
        backend.add_special_tokens([token])

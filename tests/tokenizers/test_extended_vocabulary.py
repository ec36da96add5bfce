"""Characters added to a tokenizer that exists: its own ids stay, in every text that it could spell."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from textmill.errors import ConfigError
from textmill.tokenizers import Tokenizer, load_tokenizer, make_byte, make_char
from textmill.tokenizers.extend_vocabulary import added_symbols, extends, with_characters

KHMER = "មនុស្ស"
NEW = sorted({*KHMER, "é"})


def chars() -> Tokenizer:
    return make_char(["abc ."], ["<|user|>"])


def pieces_of_words() -> Tokenizer:
    names = ["[PAD]", "[UNK]", *"abc.", *("##" + letter for letter in "abc."), "ab", "##bc"]
    backend = Backend(models.WordPiece({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[PAD]", "[UNK]"])
    backend.add_tokens([AddedToken("<|user|>", special=False)])  # behind the vocabulary
    return Tokenizer.from_backend(backend)


def merges_with_ends() -> Tokenizer:
    names = ["<unk>", *"abc.", *(letter + "</w>" for letter in "abc."), "ab", "ab</w>"]
    model = models.BPE(
        {name: number for number, name in enumerate(names)},
        [("a", "b"), ("a", "b</w>")],
        unk_token="<unk>",
        end_of_word_suffix="</w>",
    )
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.BPEDecoder()
    return Tokenizer.from_backend(backend)


def probable_pieces() -> Tokenizer:
    pieces = [("<unk>", 0.0), ("▁", -2.0), *((letter, -4.0) for letter in "abc."), ("ab", -5.0), ("▁a", -3.0)]
    backend = Backend(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return Tokenizer.from_backend(backend)


KINDS = [chars, pieces_of_words, merges_with_ends, probable_pieces]


@pytest.mark.parametrize("make", KINDS)
@settings(max_examples=40, deadline=None)
@given(text=st.text("abc. ", max_size=30), more=st.text("abc. " + KHMER, max_size=30))
def test_known_text_keeps_its_ids_and_new_text_has_no_unknown_token(
    make: Callable[[], Tokenizer], text: str, more: str
) -> None:
    """Text without new characters has the ids it had; in any other one nothing is unknown."""
    tokenizer = make()
    extended = with_characters(tokenizer, NEW)
    assert extended.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert extended.unk_id not in extended.encode(more) and not extended.unknown_in(more)


@pytest.mark.parametrize("make", KINDS)
def test_ids_are_appended_and_survive_saving(make: Callable[[], Tokenizer], tmp_path: Path) -> None:
    """New ids begin where the old ones end, one or two for a character; textmill and transformers read the same."""
    tokenizer = make()
    extended = with_characters(tokenizer, NEW)
    old, new = tokenizer.vocabulary(), extended.vocabulary()
    assert old.items() <= new.items() and extends(extended, tokenizer) and not extends(tokenizer, extended)
    assert sorted(new.values()) == list(range(extended.vocab_size))
    added = added_symbols(extended, tokenizer)
    assert sorted(added) == list(range(tokenizer.vocab_size, extended.vocab_size))
    assert sorted({*added.values()}) == NEW
    assert (extended.kind, extended.unk_id, extended.roles) == (tokenizer.kind, tokenizer.unk_id, tokenizer.roles)
    extended.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = f"ab {KHMER} abé. {KHMER}a<|user|>{KHMER}"
    assert loaded.fingerprint == extended.fingerprint
    assert loaded.encode(text).tolist() == extended.encode(text).tolist()
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text, add_special_tokens=False)["input_ids"] == extended.encode(text).tolist()
    assert theirs.decode(extended.encode(f"ab {KHMER} é")) == f"ab {KHMER} é"


def test_what_the_normalizer_makes_of_a_character_is_added() -> None:
    """A tokenizer that lowercases gets the small letter, which the capital becomes, once."""
    extended = with_characters(pieces_of_words(), ["Ж"])
    assert sorted(added_symbols(extended, pieces_of_words()).values()) == ["ж", "ж"]
    assert extended.encode("Ж").tolist() == extended.encode("ж").tolist() == [extended.vocabulary()["ж"]]


def test_nothing_new_is_the_same_tokenizer() -> None:
    """Characters that it knows change nothing, not even its fingerprint."""
    tokenizer = chars()
    assert with_characters(tokenizer, "abc").fingerprint == tokenizer.fingerprint
    assert with_characters(make_byte(), "").fingerprint == make_byte().fingerprint


def test_vocabularies_that_cannot_grow_are_refused() -> None:
    """Whole words cannot be spelled by characters, and an id behind the pieces of a Unigram model would move."""
    words = Tokenizer.from_backend(Backend(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")))
    with pytest.raises(ConfigError, match="cannot add characters to a vocabulary of the kind WordLevel: use another"):
        with_characters(words, ["b"])
    backend = Backend(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    backend.add_tokens([AddedToken("<|user|>", special=False)])
    with pytest.raises(ConfigError, match="Unigram with tokens behind its pieces"):
        with_characters(Tokenizer.from_backend(backend), ["b"])


def test_a_foreign_vocabulary(shared: Path) -> None:
    """512 pieces of a trained Llama, without its bytes: English keeps its ids, and Khmer and accents come back."""
    data = (shared / "data/stories260K/tok512.bin").read_bytes()
    pieces, at = [], 4
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        pieces.append((data[at + 8 : at + 8 + length].decode("utf-8", "replace").replace(" ", "▁"), score))
        at += 8 + length
    assert len(pieces) == 512
    pieces = [pieces[0], *((piece, score) for piece, score in pieces[259:])]  # <unk>, and no bytes
    backend = Backend(models.Unigram(list(dict(pieces).items()), unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer = Tokenizer.from_backend(backend)
    extended = with_characters(tokenizer, NEW)
    story = "Once upon a time, Lily saw a big dog. It was happy."
    assert tokenizer.unk_id not in tokenizer.encode(story)
    assert extended.encode(story).tolist() == tokenizer.encode(story).tolist()
    mixed = f"Lily said {KHMER} to the dog, né?"
    assert tokenizer.unk_id in tokenizer.encode(mixed) and extended.unk_id not in extended.encode(mixed)
    assert extended.decode(extended.encode(mixed)) == mixed
    assert json.loads(extended.content)["model"]["vocab"][: tokenizer.vocab_size] == [
        list(piece) for piece in json.loads(tokenizer.content)["model"]["vocab"]
    ]

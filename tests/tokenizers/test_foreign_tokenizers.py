"""Tokenizers that somebody else made: what crashes or exhausts the library behind them is refused in one sentence."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from textmill.cli.main import main
from textmill.errors import DataError
from textmill.tokenizers import existing_tokenizers, load_tokenizer, make_byte, make_char, train_bpe

LETTERS = {letter: number for number, letter in enumerate("abz -.0123456789")}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's cache folder for each test: what was tried is noted there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg"


def written(folder: Path, backend: Backend, **parts: Any) -> Path:
    """The folder of a tokenizer, some parts of its tokenizer.json replaced."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps({**json.loads(backend.to_str()), **parts}))
    return folder


def letters(**parts: Any) -> Backend:
    backend = Backend(models.BPE(LETTERS, []))
    for name, value in parts.items():
        setattr(backend, name, value)
    return backend


def precompiled(table: bytes) -> dict[str, str]:
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def nested(count: int) -> Any:
    return normalizers.Sequence([normalizers.Replace("z", "z" * 10) for _ in range(count)])


HARMFUL: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a table that is cut off": (
        lambda folder: written(folder, letters(), normalizer=precompiled(b"")),
        "the library tokenizers fails",
    ),
    "a table that points elsewhere": (
        lambda folder: written(folder, letters(), normalizer=precompiled(b"\x08\0\0\0abcdefgh")),
        "the library tokenizers fails",
    ),
    "a table of an impossible size": (
        lambda folder: written(folder, letters(), normalizer=precompiled(b"\xff\xff\xff\x7f" + b"x" * 40)),
        "MB for a short text, or crashes",
    ),
    "a pattern that tries everything": (
        lambda folder: written(folder, letters(pre_tokenizer=pre_tokenizers.Split(Regex("(a+)+$"), "isolated"))),
        "retry-limit-in-match over",
    ),
    "a pattern of digits that tries everything": (
        lambda folder: written(folder, letters(pre_tokenizer=pre_tokenizers.Split(Regex(r"(\d+)+$"), "isolated"))),
        "retry-limit-in-match over",
    ),
    "replacements that grow": (lambda folder: written(folder, letters(normalizer=nested(4))), "its normalizer makes"),
    "replacements without end": (
        lambda folder: written(folder, letters(normalizer=nested(9))),
        "MB for a short text, or crashes",
    ),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_harmful_tokenizer_is_refused(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In bounded time and memory, by name, and without a word of the library's on the screen."""
    write, reason = HARMFUL[name]
    folder = write(tmp_path / "tok")
    started = time.monotonic()
    with pytest.raises(DataError, match=r"tokenizer\.json is damaged or harmful: .*Use another tokenizer") as raised:
        load_tokenizer(folder)
    assert reason in str(raised.value) and time.monotonic() - started < 120
    assert capfd.readouterr() == ("", "")


def test_the_command_says_it_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 65, one error on stderr, no traceback, and no run folder."""
    monkeypatch.chdir(tmp_path)
    HARMFUL["a table that points elsewhere"][0](tmp_path / "tok")
    (tmp_path / "t.txt").write_text("some text")
    assert main(["train", "t.txt", "--tokenizer", "./tok", "--device", "cpu"]) == 65
    assert not (tmp_path / "runs").exists()
    assert capfd.readouterr().err.startswith(
        f"textmill: error: {tmp_path}/tok/tokenizer.json is damaged or harmful: the library"
    )


USUAL: dict[str, Callable[[], Backend]] = {
    "Llama 3": lambda: letters(
        pre_tokenizer=pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(
                    Regex(
                        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
                    ),
                    "isolated",
                ),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        decoder=decoders.ByteLevel(),
    ),
    "Llama 2": lambda: letters(
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    ),
    "BERT": lambda: letters(normalizer=normalizers.BertNormalizer(), pre_tokenizer=pre_tokenizers.BertPreTokenizer()),
    "T5": lambda: letters(
        normalizer=normalizers.Replace(Regex(" {2,}"), " "), pre_tokenizer=pre_tokenizers.Metaspace()
    ),
    "compatible forms": lambda: letters(normalizer=normalizers.NFKD()),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_tokenizers_pass(name: str, tmp_path: Path) -> None:
    """The patterns and normalizers of well-known models are not taken for harmful."""
    assert load_tokenizer(written(tmp_path / "tok", USUAL[name]())).encode("ab").size


def test_a_large_vocabulary_passes(tmp_path: Path) -> None:
    """100,000 entries with scores, as the largest models have, stay within the limits."""
    entries = [("<unk>", 0.0), *((f"▁w{number:x}", -float(number % 97)) for number in range(100_000))]
    backend = Backend(models.Unigram(entries, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    assert load_tokenizer(written(tmp_path / "tok", backend)).vocab_size == 100_001


def processes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that are started from now on."""
    started: list[Any] = []
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: (started.append(a), real(*a, **k))[1])
    return started


def test_a_tokenizer_is_tried_once(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same content is not tried again, under whatever name; other content is, and what is refused stays so."""
    started = processes(monkeypatch)
    one, same = (written(tmp_path / name, USUAL["BERT"]()) for name in ("one", "same"))
    load_tokenizer(one)
    load_tokenizer(same)
    assert len(started) == 1
    load_tokenizer(written(tmp_path / "other", USUAL["T5"]()))
    assert len(started) == 2 and len(list((own_cache / "textmill" / "checked" / "tokenizers").iterdir())) == 2
    harmful = HARMFUL["a table that is cut off"][0](tmp_path / "harmful")
    for _ in range(2):
        with pytest.raises(DataError):
            load_tokenizer(harmful)
    assert len(started) == 4


def test_what_textmill_makes_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters, bytes and byte-level BPE, GPT-2's included, start no process."""
    started = processes(monkeypatch)
    for number, made in enumerate((make_byte(["<x>"]), make_char(["ab"]), train_bpe(["ab ab"], 260))):
        folder = tmp_path / str(number)
        folder.mkdir()
        made.save(folder)
        assert load_tokenizer(folder).fingerprint == made.fingerprint
    assert started == []


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"b": 0, "c": 1}, unk_token="[UNK]"),
        models.WordPiece({"b": 0, "c": 1}, unk_token="[UNK]"),
        models.Unigram([("b", -1.0), ("c", -2.0)]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_vocabulary_without_an_unknown_token(model: Any, tmp_path: Path) -> None:
    """It encodes what it can spell; any other text is refused as data, with the reason, in Python and by commands."""
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    folder = written(tmp_path / "tok", backend)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.encode("b c b").tolist() == [0, 1, 0]
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch([text, "b"], workers=1)):
        with pytest.raises(DataError, match=r"(?i)cannot spell the text \(.*unk.*\): use another tokenizer"):
            encode("b a")


def test_without_an_unknown_token_training_ends_in_65(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The text is at fault, or the tokenizer; textmill is not."""
    folder = written(tmp_path / "tok", Backend(models.WordLevel({"b": 0}, unk_token="[UNK]")))
    text = tmp_path / "t.txt"
    text.write_text("some text")
    arguments = ["train", str(text), "--tokenizer", str(folder), "--device", "cpu", "--output-dir", str(tmp_path / "o")]
    assert main(arguments) == 65
    said = capfd.readouterr().err
    assert "Missing [UNK] token" in said and "defect" not in said


def test_a_panic_at_work_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is worse than those that were tried: an error like others, not an exception that nothing catches."""
    monkeypatch.setattr(existing_tokenizers, "check_foreign", lambda *given: None)
    pattern = pre_tokenizers.Split(Regex("(é+)+ß"), "isolated")
    folder = written(tmp_path / "tok", letters(pre_tokenizer=pattern))
    with pytest.raises(DataError):
        load_tokenizer(folder).encode("é" * 200)


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    """A tokenizer.json of 200 MB, a hole on the disk, is refused by its size."""
    folder = tmp_path / "tok"
    folder.mkdir()
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(200 << 20)
    with pytest.raises(DataError, match="is larger than 128 MB"):
        load_tokenizer(folder)


def test_where_no_process_can_be_started_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an application that brings no interpreter: nothing is tried."""
    monkeypatch.setattr(sys, "executable", os.devnull)
    assert load_tokenizer(written(tmp_path / "tok", USUAL["BERT"]())).encode("ab").size

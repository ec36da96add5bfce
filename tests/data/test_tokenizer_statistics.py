"""How a tokenizer does on a text: counts that can be checked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textmill.cli.main import main
from textmill.data.preparing.tokenizer_statistics import tokenizer_statistics
from textmill.data.reading.document import Reading
from textmill.tokenizers import make_byte, make_char, train_bpe


def test_bytes_are_counted_as_they_stand(tmp_path: Path) -> None:
    """Bytes of two files: each letter as often as it is there, every other byte unused."""
    (tmp_path / "a.txt").write_text("aab\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "é"}) + "\n" + json.dumps({"text": "b"}) + "\n")
    use = tokenizer_statistics(make_byte(), [tmp_path / "a.txt", tmp_path / "b.jsonl"], Reading())
    assert {number: count for number, count in enumerate(use.counts.tolist()) if count} == {
        ord("a"): 2,
        ord("b"): 2,
        ord("\n"): 1,
        0xC3: 1,
        0xA9: 1,
    }
    assert (use.tokens, use.num_bytes, use.characters, use.documents) == (7, 7, 6, 3)
    assert len(use.unused(make_byte())) == 256 - 5  # the EOS token is not text and not missed
    assert use.most_used(2) == [ord("a"), ord("b")]
    assert bytes(use.sample).decode() == "aab"


def test_a_vocabulary_that_fits_is_used_whole(tmp_path: Path) -> None:
    """Characters of the text itself: none is unused; those of another text are."""
    (tmp_path / "a.txt").write_text("some text")
    exact = make_char(["some text"])
    assert tokenizer_statistics(exact, [tmp_path / "a.txt"], Reading()).unused(exact) == []
    wider = make_char(["some text, and more"])
    unused = tokenizer_statistics(wider, [tmp_path / "a.txt"], Reading()).unused(wider)
    assert sorted(wider.token_text(number) for number in unused) == sorted(set(", and more") - set("some text"))


def test_inspect_measures_on_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """textmill tokenizer inspect --data tells compression, unused and frequent entries; an empty text is refused."""
    text = "the cat sat on the mat\n" * 100
    (tmp_path / "a.txt").write_text(text)
    tokenizer = train_bpe([text, "xylophone " * 9], 300)
    tokenizer.save(tmp_path / "tok")
    assert main(["tokenizer", "inspect", str(tmp_path / "tok"), "--data", str(tmp_path / "a.txt"), "--json"]) == 0
    use = json.loads(capsys.readouterr().out)["data"]
    ids = tokenizer.encode(text)
    assert use["tokens"] == len(ids) and use["bytes_per_token"] == pytest.approx(len(text) / len(ids))
    assert use["unused"] == tokenizer.vocab_size - 1 - len(set(ids.tolist()))
    assert "".join(use["sample"]) == text[:160] and use["most_used"][0]["share"] > 0.1
    assert main(["tokenizer", "inspect", str(tmp_path / "tok"), "--data", str(tmp_path / "a.txt")]) == 0
    out = capsys.readouterr().out
    assert "bytes, " in out and "never occur" in out and "|" in out
    (tmp_path / "blank.txt").write_text("")
    assert main(["tokenizer", "inspect", str(tmp_path / "tok"), "--data", str(tmp_path / "blank.txt")]) == 65

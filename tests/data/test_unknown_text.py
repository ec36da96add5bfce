"""Text that a tokenizer does not know: said where it is a little, refused where it is more."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from support.small_corpora import write
from support.small_models import small_model
from textmill.checkpoint.model_folder import save_model_folder
from textmill.cli.main import main
from textmill.data import prepare
from textmill.errors import DataError
from textmill.evaluation.evaluate_saved_model import evaluate_model
from textmill.generation.text_generation import prompt_ids
from textmill.tokenizers import Tokenizer, make_char, train_bpe

LATIN = make_char(["abcdefghijklmnopqrstuvwxyz \n"])


def text_with(folder: Path, unknown: int, of: int = 1000) -> Path:
    """A file with so many characters that LATIN does not know, spread over it."""
    text = ["a"] * of
    for number in range(unknown):
        text[number * of // unknown] = "\u0301" if number % 3 == 1 else "ម"
    path = folder / "a.txt"
    path.write_text("".join(text), encoding="utf-8")
    return path


def test_a_little_is_said_once_and_more_is_refused(tmp_path: Path) -> None:
    """Ten of a thousand characters are a hundredth, eleven are more: share, characters and ways out are named."""
    said: list[str] = []
    corpus = prepare(text_with(tmp_path, 10), tokenizer=LATIN, val_split=0, cache_dir=tmp_path, say=said.append)
    assert len([sentence for sentence in said if "counted as unknown: 10 tokens of the text" in sentence]) == 1
    assert corpus.report["train"]["unknown"]["share"] == 0.01
    path = text_with(tmp_path, 11)
    with pytest.raises(DataError) as refused:
        prepare(path, tokenizer=LATIN, val_split=0, cache_dir=tmp_path)
    assert str(refused.value) == (
        f"the tokenizer does not know 1.1% of 1,000 characters of {path}, such as 'ម' (U+1798), '◌\u0301' (U+0301), "
        "and max_unknown is 0.01: use a tokenizer made for such text (for a new model --tokenizer bpe, unigram, "
        "char or byte), train with --extend-vocab, which adds its characters, or accept it with --max-unknown 1"
    )


def test_what_was_accepted_once_is_refused_again_without_the_setting(tmp_path: Path) -> None:
    """A corpus that is found in the cache is measured by the setting of the run that finds it."""
    path = text_with(tmp_path, 200)
    one = prepare(path, tokenizer=LATIN, cache_dir=tmp_path, max_unknown=1)
    assert prepare(path, tokenizer=LATIN, cache_dir=tmp_path, max_unknown=0.3).key == one.key
    with pytest.raises(DataError, match=r"does not know 20\.\d% of 900 characters of the train text of"):
        prepare(path, tokenizer=LATIN, cache_dir=tmp_path)
    prepare(path, tokenizer=LATIN, output=tmp_path / "made", max_unknown=1)
    assert prepare(tmp_path / "made").key == one.key  # who prepared it has accepted it


def test_validation_text_is_measured_too_but_not_the_tail_of_the_text_that_was_learned_from(tmp_path: Path) -> None:
    """The tail of a text may have characters that its beginning lacks; a file that is given is of another text."""
    (tmp_path / "a.txt").write_text("abc" * 30 + "zz" + "abc" * 2)
    (tmp_path / "b.txt").write_text("abcx" * 30)
    said: list[str] = []
    prepare(tmp_path / "a.txt", tokenizer="char", cache_dir=tmp_path, say=said.append)
    assert any("unknown: 2 tokens of the validation text" in sentence for sentence in said)
    with pytest.raises(DataError, match=r"does not know 25\.0% of 120 characters of the validation text of .*b.txt"):
        prepare(tmp_path / "a.txt", val_data=tmp_path / "b.txt", tokenizer="char", cache_dir=tmp_path)


def test_a_foreign_tokenizer_hides_characters_behind_one_token(tmp_path: Path) -> None:
    """Unigram joins what it does not know to one token: characters are counted, and a word of known ones as one."""
    unigram = models.Unigram([("<unk>", 0.0), *((letter, -1.0) for letter in "ab ")], unk_id=0)
    tokenizer = Tokenizer.from_backend(Backend(unigram))
    (tmp_path / "a.txt").write_text("ab ab ab xyz ", encoding="utf-8")
    with pytest.raises(DataError, match=r"23\.1% of 13 characters .* such as 'x' \(U\+0078\), 'y'"):
        prepare(tmp_path / "a.txt", tokenizer=tokenizer, val_split=0, cache_dir=tmp_path)
    words = Backend(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    (tmp_path / "a.txt").write_text("a b ab a b a b a ", encoding="utf-8")
    with pytest.raises(DataError, match=r"5\.9% of 17 characters of .*a.txt, and max_unknown"):
        prepare(tmp_path / "a.txt", tokenizer=Tokenizer.from_backend(words), val_split=0, cache_dir=tmp_path)


def test_a_tokenizer_that_would_drop_text_is_refused(tmp_path: Path) -> None:
    """BPE without a token for unknown characters, over letters and over a part of all bytes; with all it spells all."""
    letters = Tokenizer.from_backend(Backend(models.BPE({"a": 0, "b": 1, " ": 2, "ab": 3}, [("a", "b")])))
    partial = Backend(models.BPE({"a": 0, "b": 1, "Ġ": 2}, []))
    partial.pre_tokenizer, partial.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    said: list[str] = []
    for tokenizer in (letters, Tokenizer.from_backend(partial)):
        assert tokenizer.encode("aកb").tolist() == tokenizer.encode("ab").tolist()  # without a trace
        assert tokenizer.unknown_in("aកb ក") == {"ក": 2}
        (tmp_path / "a.txt").write_text("ab ab ab ក ", encoding="utf-8")
        with pytest.raises(DataError, match=r"'ក' \(U\+1780\), and would drop them"):
            prepare(tmp_path / "a.txt", tokenizer=tokenizer, val_split=0, max_unknown=1, cache_dir=tmp_path)
        (tmp_path / "a.txt").write_text("ab ab ab ab ", encoding="utf-8")
        assert prepare(tmp_path / "a.txt", tokenizer=tokenizer, val_split=0, cache_dir=tmp_path).train.num_tokens
        assert prompt_ids(tokenizer, "aក", said.append) == [0]
    assert len(said) == 2 and "'ក'" in said[0]
    assert not train_bpe(["ab ab ab"], 260).drops_text


def test_it_is_refused_as_soon_as_it_is_certain(tmp_path: Path) -> None:
    """Of five long documents in another script the first is enough; the sentence counts what was read."""
    path = write(tmp_path / "a.jsonl", ["ម " * 100_000] * 5)
    with pytest.raises(DataError, match=r"does not know 50\.0% of 200,000 characters of"):
        prepare(path, tokenizer=LATIN, val_split=0, cache_dir=tmp_path, workers=1)


def test_evaluation_is_refused_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a text of another script there is no figure unless it is asked for."""
    save_model_folder(tmp_path / "model", small_model(vocab_size=LATIN.vocab_size, max_seq_len=32), LATIN)
    path = text_with(tmp_path, 50)
    arguments = ["evaluate", str(tmp_path / "model"), str(path), "--cache-dir", str(tmp_path)]
    assert main(arguments) == 65
    assert "does not know 5.0% of 1,000 characters" in capsys.readouterr().err
    assert main([*arguments, "--max-unknown", "0.05"]) == 0
    measured = evaluate_model(tmp_path / "model", path, cache_dir=tmp_path, max_unknown=1)
    assert measured["bits_per_byte"] > 0

"""Sorting out: planted copies, leaks, broken encodings and rubbish are found, and clean text is left alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.small_corpora import kept, made, paragraphs_of, write
from textmill.data import prepare
from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.text_quality import Measure, Shares
from textmill.errors import ConfigError
from textmill.runs.layout import CORPUS_REPORT

ARTICLES = 400
PLANTED = 60


@pytest.fixture(scope="module")
def articles(shared: Path) -> list[str]:
    """Four hundred different paragraphs."""
    paragraphs = paragraphs_of(shared / "data/wikitext2-test.txt", 60)
    return paragraphs[:ARTICLES]


def changed_a_little(text: str, chance: random.Random) -> str:
    """The text with one word in forty exchanged, and other case and punctuation."""
    words = text.replace(",", " ;").split()
    for place in chance.sample(range(len(words)), max(1, len(words) // 40)):
        words[place] = "elsewhere"
    return " ".join(words).upper()


def test_exact_copies_are_found_all_of_them_and_nothing_else(tmp_path: Path, articles: list[str]) -> None:
    """Sixty planted copies, some of them copies of copies: one of each stays, the first, in order."""
    chance = random.Random(1)
    texts = articles + [articles[chance.randrange(PLANTED)] for _ in range(PLANTED)]
    corpus = made(tmp_path, texts, dedup="exact")
    assert kept(corpus) == articles
    dropped = corpus.report["train"]["dropped"]["copies of other documents"]
    assert dropped["documents"] == PLANTED and dropped["examples"][0] == f"{tmp_path / 'train.jsonl'}:{ARTICLES + 1}"
    assert kept(made(tmp_path, texts)) == texts  # unless asked for, nothing is left out


def test_near_copies_are_found(tmp_path: Path, articles: list[str]) -> None:
    """Copies with changed words, case and punctuation: precision and recall of at least 0.95."""
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    chance = random.Random(2)
    originals = chance.sample(articles, PLANTED)
    planted = {changed_a_little(text, chance) for text in originals}
    corpus = made(tmp_path, articles + sorted(planted), dedup="near")
    left_out = set(articles) | planted
    left_out -= set(kept(corpus))
    found = len(left_out & planted)
    assert found / len(planted) >= 0.95 and found / len(left_out) >= 0.95


@pytest.mark.parametrize("dedup", [None, "exact", "near"])
def test_leaks_are_always_said_and_removed_on_request(tmp_path: Path, articles: list[str], dedup: str | None) -> None:
    """Validation documents among the training text: all are counted, and the training copies go, never the others."""
    if dedup == "near":
        pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    chance = random.Random(3)
    validation, training = articles[:100], articles[100:]
    exact, near = validation[:PLANTED], [changed_a_little(text, chance) for text in validation[PLANTED:]]
    corpus = made(tmp_path, training + exact + near, validation, dedup=dedup)
    removed = "and were removed" if dedup is not None else "the validation loss does not tell"
    said = [note for note in corpus.notes if f"{PLANTED} training documents" in note]
    assert len(said) == 1 and removed in said[0]
    left_out = set(training + exact + near) - set(kept(corpus))
    planted = {None: set(), "exact": set(exact), "near": set(exact + near)}[dedup]
    found = len(left_out & planted)
    assert found >= 0.95 * len(planted) and found >= 0.95 * len(left_out)
    assert corpus.validation is not None and corpus.validation.num_documents == 100


def test_copies_on_both_sides_of_one_text_are_said(tmp_path: Path) -> None:
    """Few documents, split by characters: a training document that stands in the tail again is counted."""
    texts = [f"Chapter {number} of a book that has several chapters." for number in range(9)]
    path = write(tmp_path / "a.jsonl", [*texts, texts[0]])
    said: list[str] = []
    prepare(path, tokenizer="byte", val_split=0.2, cache_dir=tmp_path, say=said.append)
    (leak,) = [sentence for sentence in said if sentence.startswith("1 training document is in the validation text")]
    assert "--dedup exact keeps only the first of equal documents" in leak
    said.clear()
    clean = prepare(
        path, val_split=0.2, cache_dir=tmp_path, tokenizer="byte", cleaning=Cleaning(dedup="exact"), say=said.append
    )
    assert kept(clean)[0] == texts[0] and not any("validation text" in sentence for sentence in said)


def test_broken_encodings_are_mended(tmp_path: Path, articles: list[str]) -> None:
    """Text decoded with the wrong table comes back letter by letter; everything else stays as it is."""
    pytest.importorskip("ftfy", reason="needs ftfy, of the extra data")
    words = ["schön", "größer", "l’été", "“quoted”", "façade", "naïve – dash", "Ünïcödé", "señor"]
    whole = [
        f"{text} {words[n % len(words)]} and {words[(n * 3) % len(words)]}." for n, text in enumerate(articles[:200])
    ]
    broken = [text.encode().decode("cp1252", "replace") if n < PLANTED else text for n, text in enumerate(whole)]
    usable = [n for n in range(PLANTED) if "\ufffd" not in broken[n]]
    corpus = made(tmp_path, broken, repair="ftfy")
    repaired = kept(corpus)
    right = sum(repaired[n] == whole[n] for n in usable)
    assert len(usable) > 30 and right / len(usable) >= 0.95
    assert repaired[PLANTED:] == whole[PLANTED:]
    assert len(usable) <= corpus.report["train"]["repaired"]["documents"] <= PLANTED


def test_rubbish_is_told_from_text(tmp_path: Path, articles: list[str]) -> None:
    """Repeated lines, tables of symbols and of numbers go, each for its reason; ordinary articles stay."""
    chance = random.Random(4)
    repeated = ["Subscribe to our newsletter and never miss a story again. " * chance.randint(5, 30) for _ in range(20)]
    symbols = ["".join(chance.choices("<>{}|=+*#~^ ab", k=400)) for _ in range(20)]
    numbers = [" ".join(str(chance.randrange(10**6)) for _ in range(80)) for _ in range(20)]
    limits: dict[str, Any] = {"max_repetition": 0.3, "max_symbols": 0.1, "min_alphabetic": 0.6}
    corpus = made(tmp_path, articles + repeated + symbols + numbers, **limits)
    assert kept(corpus) == articles
    dropped = {reason: what["documents"] for reason, what in corpus.report["train"]["dropped"].items()}
    assert list(dropped.values()) == [20, 20, 20]
    assert [reason.split()[3] for reason in dropped] == ["of", "of", "of"] and "symbols" in list(dropped)[1]


def test_clean_text_raises_nothing(tmp_path: Path, shared: Path) -> None:
    """Shakespeare and every paragraph of WikiText's validation text pass through everything unchanged."""
    pytest.importorskip("ftfy", reason="needs ftfy, of the extra data")
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    paragraphs = paragraphs_of(shared / "data/wikitext2-valid.txt", 30)
    texts = [(shared / "data/tinyshakespeare.txt").read_text(encoding="utf-8"), *paragraphs]
    limits: dict[str, Any] = {"max_repetition": 0.3, "max_symbols": 0.1, "min_alphabetic": 0.6}
    corpus = made(tmp_path, texts, repair="ftfy", dedup="near", **limits)
    assert kept(corpus) == texts and corpus.notes == []


def test_the_report_tells_what_was_done(tmp_path: Path, articles: list[str]) -> None:
    """REPORT.md names counts, reasons and sources, and the numbers add up."""
    texts = ["", "too short", *articles[:30], *articles[:5]]
    path = write(tmp_path / "train.jsonl", texts)
    corpus = prepare(path, tokenizer="byte", min_length=20, cleaning=Cleaning(dedup="exact"), output=tmp_path / "out")
    found = corpus.report["train"]
    kept_documents = [corpus.report[name]["kept_documents"] for name in ("train", "validation")]
    kept_characters = [corpus.report[name]["kept_characters"] for name in ("train", "validation")]
    assert found["documents"] == 37 and sum(kept_documents) == 30 and min(kept_documents) > 0
    assert found["documents"] == 30 + sum(what["documents"] for what in found["dropped"].values())
    assert found["characters"] == sum(map(len, texts)) and sum(kept_characters) == sum(map(len, articles[:30]))
    assert corpus.validation is not None
    assert corpus.tokenizer is not None
    ends = [
        int((store.read(0, store.num_tokens) == corpus.tokenizer.eos_id).sum())
        for store in (corpus.train, corpus.validation)
    ]
    assert kept_documents == ends
    page = (corpus.folder / CORPUS_REPORT).read_text()
    assert f"`{path}:1`" in page and "copies of other documents | 5" in page and "shorter than 20" in page
    assert corpus.report["train"]["tokens"] == corpus.train.num_tokens


def test_the_report_counts_the_tail_as_validation(tmp_path: Path) -> None:
    """Of one text of 1,000 characters the last 100 validate; training has the others."""
    path = tmp_path / "book.txt"
    path.write_text("0123456789" * 100)
    corpus = prepare(path, tokenizer="byte", output=tmp_path / "out")
    kept = {name: (found["kept_documents"], found["kept_characters"]) for name, found in corpus.report.items()}
    assert kept == {"train": (1, 900), "validation": (1, 100)}
    page = (corpus.folder / CORPUS_REPORT).read_text()
    assert "| train | 1 | 1 | 1,000 | 900 | 900 |" in page and "| validation |  | 1 |  | 100 | 100 |" in page


def test_cleaning_is_part_of_the_identity(tmp_path: Path) -> None:
    """The cache keeps differently cleaned corpora apart; wrong settings and ids are refused."""
    path = write(tmp_path / "a.jsonl", [f"text number {number}" for number in range(30)] * 2)
    plain = prepare(path, tokenizer="byte", cache_dir=tmp_path)
    clean = prepare(path, tokenizer="byte", cleaning=Cleaning(dedup="exact"), cache_dir=tmp_path)
    assert plain.folder != clean.folder and clean.train.num_documents < plain.train.num_documents
    np.save(tmp_path / "ids.npy", np.arange(100, dtype=np.uint16))
    with pytest.raises(ConfigError, match="neither repaired, scrubbed nor left out"):
        prepare(tmp_path / "ids.npy", cleaning=Cleaning(dedup="exact"))
    mistakes: list[dict[str, Any]] = [{"repair": "magic"}, {"dedup": "fuzzy"}, {"max_symbols": 3}]
    for wrong in mistakes:
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Cleaning(**wrong)


def measured(*parts: str) -> Shares:
    measure = Measure()
    for part in parts:
        measure.add(part)
    return measure.finish()


def test_shares_by_hand() -> None:
    """Ten words twice: 16 sequences, 10 of them new; letters, digits and symbols counted over visible signs."""
    words = "one two three four five six seven eight nine ten "
    assert measured(words * 2).repetition == pytest.approx(1 - 10 / 16)
    shares = measured("ab 1 #$ .é")
    assert (shares.alphabetic, shares.symbols, shares.repetition) == (3 / 7, 2 / 7, 0.0)
    assert measured("") == measured(" \n") == Shares(0.0, 0.0, 0.0)


@given(st.lists(st.text(max_size=20), max_size=5))
def test_shares_do_not_depend_on_the_parts(parts: list[str]) -> None:
    """Parts cut before white space add up to the whole."""
    spaced = [f" {part}" for part in parts]
    assert measured(*spaced) == measured("".join(spaced))

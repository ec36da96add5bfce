"""Copies, leaks and broken encodings planted in real text: how many are found, and how much else is found with them."""

from __future__ import annotations

import random
import re
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from support.small_corpora import kept, made, paragraphs_of
from textmill.data import prepare
from textmill.data.reading.document import Reading
from textmill.data.reading.read_documents import read_documents
from textmill.errors import DataError

GOOD_ENOUGH = 0.95
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))]
DOCUMENTS, PLANTED = 400, 80


def articles(shared: Path) -> list[str]:
    """Paragraphs of WikiText without the signs of its makers, each once."""
    return paragraphs_of(shared / "data/wikitext2-valid.txt", 40)


def functions(shared: Path) -> list[str]:
    """Definitions of the standard library, each once, licence texts and the like left out by their length."""
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for part in path.read_text(encoding="utf-8", errors="replace").split("\ndef ")[1:]:
            if 60 < len(part.split()) < 400 and "\ufffd" not in part:
                found.setdefault(f"def {part.strip()}")
    return list(found)


TEXTS: dict[str, Callable[[Path], list[str]]] = {"articles": articles, "functions": functions}
of_every_text = pytest.mark.parametrize("kind", TEXTS)
with_every_seed = pytest.mark.parametrize("seed", SEEDS)


def scores(found: set[str], planted: set[str]) -> tuple[float, float]:
    """Return precision and recall."""
    right = len(found & planted)
    return right / max(len(found), 1), right / len(planted)


def altered(text: str, chance: random.Random) -> str:
    """The text as copies on the web differ: one word in fifty exchanged, another case, other punctuation."""
    words = [word.span() for word in re.finditer(r"\w+", text)]
    for start, end in sorted(chance.sample(words, max(1, len(words) // 50)), reverse=True):
        text = f"{text[:start]}elsewhere{text[end:]}"
    return text.replace(",", " ;").upper()


@of_every_text
@with_every_seed
def test_planted_copies(tmp_path: Path, shared: Path, kind: str, seed: int) -> None:
    """Exact copies are all found and nothing else; near ones with precision and recall of at least 0.95."""
    chance = random.Random(seed)
    texts = chance.sample(TEXTS[kind](shared), DOCUMENTS)
    copies = chance.sample(texts, PLANTED)
    assert sorted(kept(made(tmp_path, texts + copies, dedup="exact"))) == sorted(texts)
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    planted = {altered(text, chance) for text in copies}
    found = {*texts, *planted} - {*kept(made(tmp_path, texts + sorted(planted), dedup="near"))}
    precision, recall = scores(found, planted)
    assert precision >= GOOD_ENOUGH and recall >= GOOD_ENOUGH, (precision, recall)


@of_every_text
@with_every_seed
def test_planted_leaks(tmp_path: Path, shared: Path, kind: str, seed: int) -> None:
    """Validation documents that stand in the training text, exactly and nearly, leave the training text alone."""
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    chance = random.Random(seed)
    texts = chance.sample(TEXTS[kind](shared), DOCUMENTS)
    validation, training = texts[:PLANTED], texts[PLANTED:]
    half = PLANTED // 2
    planted = {*validation[:half], *(altered(text, chance) for text in validation[half:])}
    mixed = [*training, *sorted(planted)]
    chance.shuffle(mixed)
    corpus = made(tmp_path, mixed, validation, dedup="near")
    assert corpus.validation is not None and corpus.validation.num_documents == PLANTED
    assert any(note.startswith(f"{half} training documents were in the validation text") for note in corpus.notes)
    precision, recall = scores({*mixed} - {*kept(corpus)}, planted)
    assert precision >= GOOD_ENOUGH and recall >= GOOD_ENOUGH, (precision, recall)


WORDS = ["schön", "größer", "l’été", "“quoted”", "façade", "naïve – dash", "Ünïcödé", "señor", "déjà vu", "£5"]

BREAKAGES: dict[str, Callable[[str], bytes]] = {
    "latin-1 bytes": lambda text: text.encode("cp1252"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "cut in a character": lambda text: text.encode() + "é".encode()[:1],
}
"""What makes bytes of a text that are no UTF-8."""


@of_every_text
@with_every_seed
def test_planted_files_of_another_encoding(tmp_path: Path, shared: Path, kind: str, seed: int) -> None:
    """Of files of which some are no UTF-8, exactly those are refused, each naming the file and byte."""
    chance = random.Random(seed)
    texts = [f"{text} {chance.choice(WORDS)}." for text in chance.sample(TEXTS[kind](shared), 200)]
    planted, found = set(), set()
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.txt"
        breakage = chance.choice(list(BREAKAGES.values())) if number % 3 == 0 else str.encode
        try:
            path.write_bytes(breakage(text))
        except UnicodeEncodeError:  # a sign that the old encoding has not
            path.write_bytes(text.encode() + b"\xff")
        if number % 3 == 0:
            planted.add(path.name)
        try:
            assert "".join(part.text for part in read_documents([path])) == text
        except DataError as error:
            assert path.name in str(error) and "byte" in str(error)
            found.add(path.name)
    assert scores(found, planted) == (1, 1)


@of_every_text
@with_every_seed
def test_planted_broken_encodings(tmp_path: Path, shared: Path, kind: str, seed: int) -> None:
    """Text that was decoded with the wrong table, once, is mended letter by letter; what is right is left alone."""
    pytest.importorskip("ftfy", reason="needs ftfy, of the extra data")
    chance = random.Random(seed)
    whole = [f"{text} {chance.choice(WORDS)} {chance.choice(WORDS)}." for text in TEXTS[kind](shared)[:300]]
    texts, planted = list(whole), set()
    for number in chance.sample(range(len(texts)), PLANTED):
        broken = whole[number].encode().decode("cp1252", "replace")
        if "\ufffd" not in broken:  # else it is lost for good, and said: see below
            texts[number], planted = broken, planted | {number}
    mended = kept(made(tmp_path, texts, repair="ftfy"))
    changed = {number for number in range(len(texts)) if mended[number] != texts[number]}
    right = {number for number in changed if mended[number] == whole[number]}
    assert len(planted) > PLANTED // 2
    assert len(right & planted) / max(len(changed), 1) >= GOOD_ENOUGH and len(right) / len(planted) >= GOOD_ENOUGH


@with_every_seed
def test_planted_signs_of_loss_are_said(tmp_path: Path, shared: Path, seed: int) -> None:
    """U+FFFD in a text file is kept and said, with the number of files that have it, and is said of no other."""
    chance = random.Random(seed)
    texts = chance.sample(articles(shared), 60)
    planted = set(chance.sample(range(60), 12))
    for number, text in enumerate(texts):
        (tmp_path / f"{number:02d}.txt").write_text(text + ("\ufffd" if number in planted else ""))
    notes = prepare(tmp_path, tokenizer="byte", val_split=0, cache_dir=tmp_path / "cache").notes
    lost = "U+FFFD, which stands for what was lost when text was decoded, is part of the text, 12 of them"
    (said,) = notes
    assert said.startswith(f"{lost}: {tmp_path / f'{min(planted):02d}.txt'}") and said.endswith(" and 11 more")


@of_every_text
def test_clean_text_raises_nothing(tmp_path: Path, shared: Path, kind: str) -> None:
    """Real text, all of it, with every check on: nothing is left out, mended or remarked on."""
    pytest.importorskip("ftfy", reason="needs ftfy, of the extra data")
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    texts = TEXTS[kind](shared)
    if kind == "functions":  # the library has functions that are nearly others: those are copies in earnest
        apart = kept(made(tmp_path, texts, dedup="near"))
        assert len(apart) > 0.9 * len(texts)
        texts = apart
    corpus = made(tmp_path, texts, repair="ftfy", dedup="near", max_repetition=0.5, max_symbols=0.5, min_alphabetic=0.3)
    assert kept(corpus) == texts and corpus.notes == []


def test_clean_files_are_read_as_they_are(shared: Path) -> None:
    """Every file of the standard library that is UTF-8 is read to the letter, and the others are refused."""
    refused = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        whole = path.read_bytes()
        try:
            assert "".join(part.text for part in read_documents([path], Reading())).encode() == whole.removeprefix(
                b"\xef\xbb\xbf"
            )
        except DataError:
            refused.append(path.name)
            with pytest.raises(UnicodeDecodeError):
                whole.decode("utf-8")
    assert len(refused) < 3

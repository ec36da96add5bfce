"""Subtitles (.srt, .vtt): what is spoken, without numbers, times and marks of style, as one document."""

import html
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.page_text import closes_up
from textmill.data.reading.formats.utf8_lines import read_lines
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}")
_MARKS = re.compile(r"</?[A-Za-z][^<>]*>|<[\d:.]+>|\{\\[^{}]*\}")
"""Tags such as <i> and <v Anna>, times within a cue, and the positions {\\an8} of other programs."""

PART = 1 << 16  # characters
_SENTENCE_ENDS = tuple('.!?…。！？؟।።:;」』"”»)]♪')
_SPEAKERS = ("-", "–", "—")  # before what each of several says
_COMMAS = (",", "،", "、", "，", "፣")

REPEATED = "lines of subtitles that repeat those before without a pause are left out, {number} of them"


class _Cue(NamedTuple):
    """What is shown at once: `start` and `end` in milliseconds."""

    start: int
    end: int
    lines: list[str]


def read_srt(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield what is spoken. A cue is a line; one that ends within a sentence and the next one are one line.

    Lines that a cue repeats of the one before it are left out if there is no time between the two, and noted. Raises
    DataError for a file without times.
    """
    yield from _document(_cues(_lines(file, name, reading, notes), name, blank_ends=False), name, notes)


def read_vtt(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """As `read_srt`; a blank line ends a cue, and what is no cue, as notes and styles, is left out."""
    cues = _cues(_lines(file, name, reading, notes), name, blank_ends=True)
    spoken = (cue._replace(lines=[html.unescape(line) for line in cue.lines]) for cue in cues)
    yield from _document(spoken, name, notes)


def _lines(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[str]:
    for _, line in read_lines(file, name, reading, notes, "subtitles have short lines"):
        yield line.rstrip("\r\n")


def _cues(lines: Iterable[str], name: str, *, blank_ends: bool) -> Iterator[_Cue]:
    """Yield the cues; the number or name in the line before the times belongs to none."""
    times: tuple[int, int] | None = None
    found: list[str] = []
    is_blank, has_times = True, False
    for line in lines:
        is_blank = is_blank and not line.strip()
        if begins := _TIMES.match(line):
            if times is not None:
                yield _Cue(*times, _spoken(_without_number(found)))
            times, found = (_milliseconds(*begins.groups()[:4]), _milliseconds(*begins.groups()[4:])), []
            has_times = True
        elif blank_ends and not line:  # a line of spaces, as recognised speech has it, ends none
            if times is not None:
                yield _Cue(*times, _spoken(found))
            times, found = None, []
        else:
            found.append(line)
    if times is not None:
        yield _Cue(*times, _spoken(found))
    if not has_times and not is_blank:
        raise DataError(
            f"{name} has no times such as 00:01:02,500 --> 00:01:04,000, so it is not a subtitle file: read it as text "
            "with --format text"
        )


def _without_number(lines: list[str]) -> list[str]:
    """Return the lines of a cue without the number of the next one, which follows a blank line."""
    numbered = bool(lines) and lines[-1].strip().isdecimal() and not "".join(lines[-2:-1]).strip()
    return lines[:-1] if numbered else lines


def _spoken(lines: list[str]) -> list[str]:
    shown = (re.sub("[ \t]+", " ", _MARKS.sub("", line)).strip(" ") for line in lines)
    return [line for line in shown if line]


def _milliseconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> int:
    return 1000 * (3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)) + int(fraction.ljust(3, "0"))


def _document(cues: Iterable[_Cue], name: str, notes: Notes) -> Iterator[Document]:
    """Yield the text of `cues` as one document, in parts that end where lines do."""
    text, ready = "", ""
    before: _Cue | None = None
    for cue in cues:
        repeated = _repeated(before.lines, cue.lines) if before is not None and cue.start <= before.end else 0
        if repeated:
            notes.add(REPEATED, name, repeated)
        before = cue
        for number, line in enumerate(cue.lines[repeated:]):
            if text and (_goes_on(text, line) if number == 0 else not line.startswith(_SPEAKERS)):
                text += _between(text, line) + line
            else:
                ready += text + "\n" * bool(text)
                text = line
        if len(ready) > PART:
            yield Document(ready, name, continues=True)
            ready = ""
    yield Document(ready + text + "\n" * bool(text), name)


def _repeated(before: list[str], lines: list[str]) -> int:
    """Return how many lines, at the end of one cue and at the beginning of the next, are the same."""
    most = min(len(before), len(lines))
    return next((count for count in range(most, 0, -1) if before[-count:] == lines[:count]), 0)


def _goes_on(text: str, line: str) -> bool:
    """Return whether a sentence that `text` begins goes on in the next cue, which begins with `line`."""
    if not text or text.endswith(_SENTENCE_ENDS):
        return False
    return text.endswith(_COMMAS) or line[0].islower()


def _between(text: str, line: str) -> str:
    return "" if closes_up(text[-1], line[0]) else " "

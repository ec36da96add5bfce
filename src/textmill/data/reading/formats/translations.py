"""Translation memories (.tmx): the segments in one language, or in several side by side."""

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO
from xml.parsers import expat

from textmill.data.reading.document import Document, Reading
from textmill.data.sources.findings import Notes
from textmill.data.sources.text_columns import TextColumns
from textmill.errors import DataError, listed

_BLOCK = 1 << 16
_LONGEST_UNIT = 16 << 20  # characters
_LOOKED_AT = 1000  # units, in which all languages of a file occur
_DEFAULT = Reading().text_column
_CODES = {"bpt", "ept", "ph", "it", "ut", "sub"}
"""Elements whose content is markup of the program that was translated, or text beside the sentence."""

INCOMPLETE = "units without a segment in each of the languages skipped, {number} of them"

Unit = tuple[int, dict[str, str]]


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield, for every unit, the segment in the language `reading.text_column`, or a template of several languages.

    A language is `en`, which means `en-GB` as well, or `en-GB`. A file with a single language needs no choice. Units
    without one of the languages are skipped and noted. Raises DataError for a language that does not occur, for what is
    not well-formed XML, and for definitions of entities, which are never expanded.
    """
    units = _units(file, name)
    first = list(islice(units, _LOOKED_AT))
    languages = list(dict.fromkeys(language for _, segments in first for language in segments))
    columns = _chosen(languages, name, reading.text_column)
    for part in (first, units):
        for line, segments in part:
            texts = [_segment(segments, language) for language in columns.names]
            if None in texts:
                notes.add(INCOMPLETE, name)
            else:
                yield Document(columns.fill(texts) or "", f"{name}:{line}")


def _chosen(languages: list[str], name: str, text_column: str) -> TextColumns:
    if text_column == _DEFAULT:
        if len(languages) < 2:
            return TextColumns.of(next(iter(languages), _DEFAULT))
        one, other = languages[:2]
        raise DataError(
            f"{name} has the languages {listed(languages)}: choose one, as --text-column {one}, or several, as "
            f"--text-column '{{{one}}}\\n{{{other}}}'"
        )
    columns = TextColumns.of(text_column)
    for language in columns.names:
        if languages and _segment(dict.fromkeys(languages, ""), language) is None:
            raise DataError(
                f"{name} has no language {language!r}, it has {listed(languages)}: choose one with --text-column"
            )
    return columns


def _segment(segments: dict[str, str], language: str) -> str | None:
    """Return the segment in `language`, or in the first of its regional forms."""
    wanted = language.lower()
    exact = next((text for found, text in segments.items() if found.lower() == wanted), None)
    if exact is not None:
        return exact
    return next((text for found, text in segments.items() if found.lower().startswith(f"{wanted}-")), None)


def _units(file: BinaryIO, name: str) -> Iterator[Unit]:
    """Yield line and language -> segment of every unit."""
    parser = expat.ParserCreate()
    content = _Content(parser, name)
    ended = False
    while not ended:
        block = file.read(_BLOCK)
        ended = not block
        try:
            parser.Parse(block, ended)
        except expat.ExpatError as error:
            raise DataError(f"{name}, line {error.lineno} is not XML: {expat.ErrorString(error.code)}") from error
        yield from content.taken()


class _Content:
    """What a parser of XML has found so far."""

    def __init__(self, parser: expat.XMLParserType, name: str) -> None:
        self._parser, self._name = parser, name
        self._ready: list[Unit] = []
        self._segments: dict[str, str] = {}
        self._line, self._characters = 0, 0
        self._language = ""
        self._text: list[str] | None = None  # of the segment that is read
        self._codes = 0  # elements of _CODES that are open
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add
        parser.EntityDeclHandler = self._refuse_entity
        parser.SkippedEntityHandler = self._refuse_skipped

    def taken(self) -> list[Unit]:
        """Return the units that are complete, once."""
        ready, self._ready = self._ready, []
        return ready

    def _begin(self, element: str, attributes: dict[str, str]) -> None:
        if element == "tu":
            self._segments, self._characters, self._line = {}, 0, self._parser.CurrentLineNumber
        elif element == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang") or ""
        elif element == "seg":
            self._text, self._codes = [], 0
        elif element in _CODES:
            self._codes += 1

    def _end(self, element: str) -> None:
        if element == "seg" and self._text is not None:
            self._segments.setdefault(self._language, "".join(self._text))
            self._text = None
        elif element == "tu" and self._segments:
            self._ready.append((self._line, self._segments))
        elif element in _CODES:
            self._codes -= 1

    def _add(self, text: str) -> None:
        if self._text is None or self._codes:
            return
        self._characters += len(text)
        if self._characters > _LONGEST_UNIT:
            raise DataError(
                f"{self._name}, line {self._line}: a unit is longer than {_LONGEST_UNIT >> 20} million characters"
            )
        self._text.append(text)

    def _refuse_entity(self, entity: str, *definition: object) -> None:
        raise DataError(
            f"{self._name}, line {self._parser.CurrentLineNumber} defines the entity {entity!r}: entities are not "
            "expanded, replace them by their text"
        )

    def _refuse_skipped(self, entity: str, is_parameter: bool) -> None:
        if not is_parameter:
            raise DataError(
                f"{self._name}, line {self._parser.CurrentLineNumber} contains the entity {entity!r}, which the file "
                "does not define: replace it by its text"
            )

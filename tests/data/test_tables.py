"""Tables as people have them: without names of columns, with quotation marks that quote nothing, several columns."""

from __future__ import annotations

import csv
import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.data import prepare, read_documents
from textmill.data.preparing.corpus_cache_key import content_key
from textmill.data.reading.document import Reading
from textmill.data.sources.file_selection import Files
from textmill.data.sources.findings import Notes
from textmill.errors import ConfigError, DataError

SENTENCES = [  # as in Tatoeba's sentences.csv, which quotes nothing
    (1, "cmn", "我們試試看！"),
    (77, "eng", '"Hello," he said, "come in."'),
    (78, "eng", '"I don\'t know."'),
    (79, "eng", 'The "end".'),
    (80, "fra", '"Il pleut'),
    (81, "fra", 'encore", dit-elle.'),
    (82, "eng", "Well, well, well, well."),
]


def written(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


def texts(path: Path, notes: Notes | None = None, **how: Any) -> list[str]:
    return [document.text for document in read_documents([path], Reading(**how), notes)]


def lines(separator: str) -> str:
    return "".join(f"{number}{separator}{language}{separator}{text}\n" for number, language, text in SENTENCES)


@pytest.mark.parametrize("name", ["sentences.tsv", "sentences.csv"])
def test_a_table_without_names_has_as_many_rows_as_lines(tmp_path: Path, name: str) -> None:
    """The column by its number, quotation marks as they stand, none swallowing lines; both is said."""
    notes = Notes()
    path = written(tmp_path / name, lines("\t"))
    assert texts(path, notes, text_column="3") == [text for *_, text in SENTENCES]
    said = notes.sentences()
    assert said == [
        f"the first line is a row, not names of columns, as --text-column gives numbers: {path}",
        f"quotation marks around or before a field stay, as this table does not quote fields, in 3 of its rows: {path}",
    ]
    sources = [document.source for document in read_documents([path], Reading(text_column="3"))]
    assert sources == [f"{path}:{number}" for number in range(1, 8)]


def test_names_come_first_and_numbers_are_from_one(tmp_path: Path) -> None:
    """A number is never the name of a column, except where the first line counts the columns, as pandas does."""
    ids = written(tmp_path / "ids.tsv", "3\teng\tOne.\n2\teng\tTwo.\n")
    assert texts(ids, text_column="3") == ["One.", "Two."]
    counted = written(tmp_path / "counted.csv", ",0,1\n0,a,b\n1,c,d\n")
    assert texts(counted, text_column="1") == ["b", "d"]
    named = written(tmp_path / "named.csv", "id,text\n1,a\n")
    assert texts(named) == ["a"] and texts(named, text_column="{text} {1}") == ["a 1"]
    for column, message in [
        ("4", "has 3 columns, and no column 4: the first one is 1"),
        ("0", "has 3 columns, and no column 0: the first one is 1"),
        ("text", "has no column 'text', it has '3', 'eng', 'One.': name the column.*give its number, such as 2"),
    ]:
        with pytest.raises(DataError, match=message):
            texts(ids, text_column=column)
    with pytest.raises(DataError, match="has no column '2', it has '', '0', '1'"):
        texts(counted, text_column="2")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('id\ttext\n1\t"a ""b"""\n2\t"c"\n', ['a "b"', "c"]),
        ('id\ttext\n1\t"two\nlines"\n2\t"c"\n', ["two\nlines", "c"]),
        ('id\ttext\n1\t"two\n\nparagraphs"\n2\t"c"\n', ["two\n\nparagraphs", "c"]),
        ('id\ttext\n1\t"a\ttab"\n2\t"c"\n', ["a\ttab", "c"]),
        ('"id"\t"text"\n"1"\t"a"\n"2"\t"b"\n', ["a", "b"]),
        ('id\ttext\n1\t"a, b"\n2\t"c, d"\n3\t"e, f"\n4\tg\n', ["a, b", "c, d", "e, f", "g"]),
        ('id\ttext\n1\t"a"\n2\tb\n', ['"a"', "b"]),
        ('id\ttext\n1\t"a"\n2\t"b" c\n3\t"d ""e"""', ['"a"', '"b" c', '"d ""e"""']),
        ('id\ttext\r\n1\t"Oh\r\n2\tno"\r\n', ['"Oh', 'no"']),
    ],
)
def test_the_table_decides_what_quotation_marks_are(tmp_path: Path, content: str, expected: list[str]) -> None:
    """They quote where they hide a tab or a line end, are doubled, or stand on all lines or around all commas."""
    assert texts(written(tmp_path / "x.tsv", content)) == expected


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.text(st.characters(exclude_characters="\t\0", exclude_categories=["Cs"])), min_size=1))
def test_what_programs_quote_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    """Any text without tabs that Python's own writer quoted in a table with tabs."""
    table = io.StringIO(newline="")
    csv.writer(table, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [("id", "text"), *enumerate(rows)]
    )
    path = written(tmp_path_factory.getbasetemp() / "quoted.tsv", table.getvalue())
    assert texts(path) == rows


ROWS: list[dict[str, str | None]] = [{"title": "One", "body": "a {b}"}, {"title": None, "body": "c"}]


def test_a_template_is_the_same_in_every_format(tmp_path: Path) -> None:
    """Columns in braces, a brace doubled, line ends as typed in a shell; what is null is empty, all null is no row."""
    template = r"{{{title}}}\n\n{body}{title}"
    expected = ["{One}\n\na {b}One", "{}\n\nc"]
    rows = [*ROWS, {"title": None, "body": None}]
    written(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    written(tmp_path / "a.json", json.dumps(rows))
    written(tmp_path / "a.csv", "title,body\nOne,a {b}\n,c\n")
    written(tmp_path / "a.tsv", "One\ta {b}\n\tc\n")
    for name in ("a.jsonl", "a.json", "a.csv"):
        assert texts(tmp_path / name, text_column=template) == expected, name
    assert texts(tmp_path / "a.tsv", text_column=r"{{{1}}}\n\n{2}{1}") == expected
    corpus = prepare(
        (row for row in rows), tokenizer="byte", val_split=0, text_column=template, cache_dir=tmp_path / "cache"
    )
    assert corpus.report["train"]["characters"] == sum(map(len, expected))


def test_a_template_of_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra data")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({name: [row[name] for row in ROWS] for name in ("title", "body")}), path)
    assert texts(path, text_column="{title}|{title}: {body}") == ["One|One: a {b}", "|: c"]
    with pytest.raises(DataError, match="has no column 'x', it has 'title', 'body'"):
        texts(path, text_column="{title}{x}")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{title", "brace at position 0"),
        ("a}", "brace at position 1"),
        ("{}", "brace at position 0"),
        ("{{a}}", "names no column"),
    ],
)
def test_broken_templates_are_refused(template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"text_column is .*{message}"):
        Reading(text_column=template)


def test_a_template_reaches_nothing_but_columns(tmp_path: Path) -> None:
    """What Python would take for an attribute, an index or a format is a name of a column."""
    path = written(tmp_path / "a.jsonl", json.dumps({"a": "x", "a.__class__": "y", "a[0]": "z", "a!r:>9": "w"}))
    assert texts(path, text_column="{a.__class__}{a[0]}{a!r:>9}") == ["yzw"]
    with pytest.raises(DataError, match=r"no field 'a\.upper', it has 'a',"):
        texts(path, text_column="{a.upper}")


def test_numbered_lines_of_plain_text_are_noted(tmp_path: Path) -> None:
    """The corpora of Leipzig are tables that end in .txt: what reads them is said, and reads them."""
    path = written(tmp_path / "x.txt", "".join(f'{number}\t"Sentence {number},\n' for number in range(1, 7)))
    notes = Notes()
    assert texts(path, notes) == [path.read_text()]
    (said,) = notes.sentences()
    assert "--format tsv --text-column 2" in said
    assert texts(path, format="tsv", text_column="2") == [f'"Sentence {number},' for number in range(1, 7)]


def test_a_corpus_of_before_is_not_taken_for_one_of_now(tmp_path: Path) -> None:
    """The key of a table with quotation marks differs from that of one without, which was read as it is now."""
    for content, same in [("text\na\n", True), ('text\n"a"\n', False)]:
        path = written(tmp_path / "a.tsv", content)
        before = json.dumps([{}, [[".tsv", sha256(content.encode()).hexdigest()]], None, {}, None])
        key = content_key(Files([path]), {}, Reading(), lambda count: None, lambda sentence: None)
        assert (key == sha256(before.encode()).hexdigest()) == same

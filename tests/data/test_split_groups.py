"""What belongs together is on one side of the split."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.data import prepare
from textmill.data.preparing.split import Survey
from textmill.data.preparing.split_groups import split_by_groups
from textmill.data.store.corpus import Corpus
from textmill.errors import ConfigError, DataError

WORDS = [f"word{number}" for number in range(3000)]


def a_tree(root: Path, *, repositories: bool = False) -> None:
    """Twelve projects of five folders with three files; `repositories`: each project has a .git."""
    draw = random.Random(0)
    for project in range(12):
        for part in range(5):
            folder = root / f"project{project}" / f"part{part}"
            folder.mkdir(parents=True)
            for number in range(3):
                text = f"project{project} part{part} " + " ".join(draw.choices(WORDS, k=40))
                (folder / f"{number}.txt").write_text(text)
        if repositories:
            (root / f"project{project}" / ".git").mkdir()


def sides(corpus: Corpus, word: int) -> dict[str, set[int]]:
    """Return what the documents of each side have as their word of that number."""
    found: dict[str, set[int]] = defaultdict(set)
    for side, store in enumerate((corpus.train, corpus.validation)):
        assert store is not None
        ids = store.read(0, store.num_tokens)
        for document in np.split(ids, np.flatnonzero(ids == store.eos_id) + 1):
            if len(document):
                found[" ".join(bytes(document[:-1].tolist()).decode().split()[:word])].add(side)
    return found


@pytest.mark.parametrize(("by", "word", "repositories"), [("folder", 2, False), ("repo", 1, False), ("repo", 1, True)])
def test_no_group_is_parted(by: str, word: int, repositories: bool, tmp_path: Path) -> None:
    """Every folder, and every repository, is on one side; both sides have some, and about the share is met."""
    a_tree(tmp_path / "tree", repositories=repositories)
    said: list[str] = []
    corpus = prepare(
        tmp_path / "tree", tokenizer="byte", split_by=by, val_split=0.2, cache_dir=tmp_path / "cache", say=said.append
    )
    found = sides(corpus, word)
    assert len(found) == (60 if by == "folder" else 12)
    assert all(len(on) == 1 for on in found.values())
    validating = sum(on == {1} for on in found.values())
    assert 0.1 < validating / len(found) <= 0.2
    assert any(f"split_by {by}: {validating} of {len(found)}" in sentence for sentence in said)


def test_it_does_not_depend_on_where_the_tree_lies(tmp_path: Path) -> None:
    """A copy of the tree elsewhere is the same corpus; another grouping of the same files is another."""
    for name in ("here", "there"):
        a_tree(tmp_path / name)
    settings = {"tokenizer": "byte", "split_by": "folder", "cache_dir": tmp_path / "cache"}
    here = prepare(tmp_path / "here", **settings)
    assert prepare(tmp_path / "there", **settings).folder == here.folder
    assert prepare(tmp_path / "here", **{**settings, "split_by": "repo"}).folder != here.folder


def test_one_group_cannot_be_parted(tmp_path: Path) -> None:
    """Files of one folder are refused by name, and so is a word that means nothing."""
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"text number {number}")
    with pytest.raises(DataError, match=r"split_by folder: all documents are of one folder, so none can validate"):
        prepare(tmp_path, tokenizer="byte", split_by="folder", cache_dir=tmp_path / "cache")
    with pytest.raises(ConfigError, match="split_by is 'author': choose folder, repo, near or field:NAME"):
        prepare(tmp_path, tokenizer="byte", split_by="author", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("format", ["jsonl", "json", "csv", "parquet"])
def test_rows_of_one_value_are_on_one_side(format: str, tmp_path: Path) -> None:
    """Whatever the format, all rows of an author validate or train; a column that is not there is refused."""
    rows = [{"author": number % 12, "text": f"author{number % 12} wrote text number {number}"} for number in range(96)]
    file = tmp_path / f"rows.{format}"
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra data")
        from pyarrow import Table, parquet

        parquet.write_table(Table.from_pylist(rows), file)
    elif format == "csv":
        file.write_text("author,text\n" + "".join(f"{row['author']},{row['text']}\n" for row in rows))
    else:
        lines = [json.dumps(row) for row in rows]
        file.write_text("\n".join(lines) if format == "jsonl" else f"[{','.join(lines)}]")
    settings = {"tokenizer": "byte", "val_split": 0.2, "cache_dir": tmp_path / "cache"}
    found = sides(prepare(file, split_by="field:author", **settings), 1)
    assert len(found) == 12 and all(len(on) == 1 for on in found.values())
    assert sum(on == {1} for on in found.values()) == 2
    with pytest.raises(DataError, match=r"has no (field|column) 'editor'.*field:NAME"):
        prepare(file, split_by="field:editor", **settings)
    (tmp_path / "plain.txt").write_text("no rows here")
    with pytest.raises(DataError, match=r"plain\.txt is no row with fields: split_by field:author is for JSON"):
        prepare(tmp_path / "plain.txt", split_by="field:author", **settings)


def test_near_copies_are_on_one_side(tmp_path: Path) -> None:
    """Of 40 texts with four slightly changed copies each, none is on both sides, and all of them are kept."""
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    draw = random.Random(1)
    for original in range(40):
        words = draw.choices(WORDS, k=80)
        for copy in range(5):
            changed = [*words[:20], f"changed{copy}", *words[21:]]
            (tmp_path / f"{draw.random()}.txt").write_text(" ".join([f"original{original}", *changed]))
    corpus = prepare(tmp_path, tokenizer="byte", split_by="near", val_split=0.2, cache_dir=tmp_path / "cache")
    found = sides(corpus, 1)
    assert len(found) == 40 and all(len(on) == 1 for on in found.values())
    parted = sides(prepare(tmp_path, tokenizer="byte", val_split=0.2, cache_dir=tmp_path / "cache"), 1)
    assert sum(len(on) == 2 for on in parted.values()) > 20


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50), st.booleans()), min_size=2, max_size=60),
    st.floats(0.01, 0.6),
)
def test_groups_stay_whole_whatever_their_sizes(documents: list[tuple[int, int, bool]], share: float) -> None:
    """No group on both sides, both sides with text, and no more than the share unless one group alone is more."""
    keys = np.array([key for key, *_ in documents], dtype=np.uint64)
    characters = np.array([size for _, size, _ in documents], dtype=np.int64)
    kept = np.array([keeps and size > 0 for _, size, keeps in documents])
    found = Survey(characters, characters, keys, kept)
    if np.unique(keys[kept]).size < 2:
        with pytest.raises(DataError, match="so none can validate"):
            split_by_groups(found, keys, share, "folder", lambda sentence: None)
        return
    split = split_by_groups(found, keys, share, "folder", lambda sentence: None)
    validates = split.validates & kept
    assert set(keys[validates]).isdisjoint(keys[kept & ~validates])
    assert validates.any() and (kept & ~validates).any()
    groups = np.unique(keys[validates])
    assert groups.size == 1 or characters[validates].sum() <= share * characters[kept].sum()

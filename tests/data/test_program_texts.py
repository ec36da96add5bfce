"""Texts that a program gives: every kind of object, what is kept of it, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from textmill.data import Document, TextDataset, prepare
from textmill.data.sources import one_time_texts
from textmill.data.sources.one_time_texts import Keeper
from textmill.errors import ConfigError, DataError, MissingInputError

TEXTS = ["The first text.\n", 'Zweiter "Text" \\ mit Umlauten: äöü', "三つ目の文 😀", "A fourth one."]


def generator() -> Iterator[str]:
    yield from TEXTS


def mappings() -> list[dict[str, Any]]:
    return [{"id": number, "text": text} for number, text in enumerate(TEXTS)]


class Indexed(Dataset):
    """A map-style dataset that never raises IndexError."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index % len(self.items)]


class Streamed(IterableDataset):
    """An iterable dataset."""

    def __init__(self, items: list[Any] | None = None) -> None:
        self.items = TEXTS if items is None else items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def hugging_face(*, streaming: bool) -> Any:
    datasets = pytest.importorskip("datasets", reason="needs the library datasets, of the extra data")
    made = datasets.Dataset.from_list(mappings())
    return made.to_iterable_dataset() if streaming else made


KINDS: dict[str, Callable[[], Any]] = {
    "generator": generator,
    "generator function": lambda: generator,
    "function that returns a list": lambda: lambda: TEXTS,
    "Documents": lambda: [Document(text, "here") for text in TEXTS],
    "mappings": mappings,
    "array of strings": lambda: np.array(TEXTS),
    "map-style Dataset of strings": lambda: Indexed(TEXTS),
    "map-style Dataset of mappings": lambda: Indexed(mappings()),
    "iterable Dataset of strings": Streamed,
    "iterable Dataset of mappings": lambda: Streamed(mappings()),
    "class of a Dataset": lambda: Streamed,
    "Hugging Face dataset": lambda: hugging_face(streaming=False),
    "streaming Hugging Face dataset": lambda: hugging_face(streaming=True),
}


def documents(corpus: Any) -> list[str]:
    whole = corpus.tokenizer.decode(corpus.train.read(0, len(corpus.train)), skip_special_tokens=False)
    return whole.split("<|endoftext|>")[:-1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_corpus(tmp_path: Path, kind: str) -> None:
    """The texts in their order, their borders kept, in one file of JSON lines whose name is its hash; said once."""
    said: list[str] = []
    corpus = prepare(KINDS[kind](), tokenizer="byte", val_split=0, cache_dir=tmp_path, say=said.append)
    assert documents(corpus) == TEXTS
    (kept,) = (tmp_path / "texts").iterdir()
    assert [json.loads(line) for line in kept.read_text("utf-8").splitlines()] == [{"text": text} for text in TEXTS]
    assert corpus.sources == [str(kept)]
    assert [sentence for sentence in said if "kept" in sentence] == [f"data: 4 documents, kept in {kept}"]
    again = prepare([{"text": text} for text in TEXTS], tokenizer="byte", val_split=0, cache_dir=tmp_path)
    assert again.folder == corpus.folder and list((tmp_path / "texts").iterdir()) == [kept]


def test_the_column_of_mappings(tmp_path: Path) -> None:
    """text_column names the text; a mapping without a text is skipped and counted, as a row of a table is."""
    rows = [{"body": "one text"}, {"body": None}, {"body": "another text"}]
    said: list[str] = []
    corpus = prepare(rows, tokenizer="byte", val_split=0, text_column="body", cache_dir=tmp_path, say=said.append)
    assert documents(corpus) == ["one text", "another text"]
    assert any("2 documents (1 without a text were skipped)" in sentence for sentence in said)
    with pytest.raises(DataError, match="data: item 0 has no 'text', it has 'body': name the text with text_column"):
        prepare(rows, cache_dir=tmp_path)


def test_documents_in_parts_and_lone_surrogates(tmp_path: Path) -> None:
    """Parts of a long document are one document; a lone surrogate is refused or replaced as in any file."""
    parts = [Document("be", "x", continues=True), Document("gin", "x"), Document("end", "x", continues=True)]
    assert documents(prepare(parts, tokenizer="byte", val_split=0, cache_dir=tmp_path)) == ["begin", "end"]
    broken = ["a \ud800 b", "whole"]
    with pytest.raises(DataError, match="ud800"):
        prepare(iter(broken), tokenizer="byte", val_split=0, cache_dir=tmp_path)
    mended = prepare(iter(broken), tokenizer="byte", val_split=0, encoding_errors="replace", cache_dir=tmp_path)
    assert documents(mended) == ["a � b", "whole"]


def test_validation_texts_and_a_dataset_of_rows(tmp_path: Path) -> None:
    """val_data takes the same objects, and so does TextDataset."""
    corpus = prepare(generator(), val_data=lambda: ["held out"], tokenizer="byte", cache_dir=tmp_path)
    assert documents(corpus) == TEXTS and corpus.validation is not None and corpus.validation.num_bytes == 8
    rows = TextDataset(Indexed(TEXTS), block_size=8, cache_dir=tmp_path)
    assert rows.corpus.train.num_documents == 4


def failing() -> Iterator[str]:
    yield from ["one", "two"]
    raise OSError("the server\nis gone")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (["one", 2], ConfigError, "strings in a list are paths, and beside them is int: give texts as Documents"),
        (iter(["one", 2]), DataError, r"data: item 1 is int, not text: give strings; token ids are trained on from"),
        (iter([b"one"]), DataError, "data: item 0 is bytes, not text: decode it"),
        (Indexed([torch.arange(9)]), DataError, r"data: item 0 is Tensor, not text: .* a \.npy file"),
        (Indexed([(torch.arange(9), torch.arange(9))]), DataError, "data: item 0 is tuple, not text"),
        (np.arange(9), DataError, "data: item 0 is int64, not text"),
        (iter([{"text": 3}]), DataError, "data: item 0, 'text' is int, not text"),
        ({"train": [], "test": []}, ConfigError, r"data is dict of 'train', 'test': give one of them"),
        (7, ConfigError, "data: int gives no texts: give an iterable of texts or Documents, a function"),
        (iter([]), DataError, "data gives no text"),
        (failing, DataError, "data failed at item 2: OSError: the server is gone"),
        (lambda: 3, DataError, "data failed at item 0: TypeError"),
        ("nowhere:texts", MissingInputError, "data: nowhere:texts is neither a file nor an object: cannot import"),
        (f"{__name__}:nothing", MissingInputError, "neither a file nor an object: .* has no 'nothing'"),
    ],
)
def test_what_is_refused(tmp_path: Path, given: Any, error: type[Exception], message: str) -> None:
    """One line that names the item and what to do; nothing is left in the cache."""
    with pytest.raises(error, match=message) as caught:
        prepare(given, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_strings_in_a_list_are_paths(tmp_path: Path) -> None:
    """A list or tuple of strings names files, as on the command line."""
    (tmp_path / "book.txt").write_text("words of a book")
    for data in ([str(tmp_path / "book.txt")], (tmp_path / "book.txt",)):
        assert prepare(data, tokenizer="byte", val_split=0, cache_dir=tmp_path).train.num_bytes == 15
    assert not (tmp_path / "texts").exists()


def test_an_import_string_names_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the weight or the name around it; an object that names paths gives these; a file of that name wins."""
    (tmp_path / "listed_texts.py").write_text(
        f"def stories():\n    yield from {TEXTS!r}\n\n\nfiles = [{str(tmp_path / 'a.txt')!r}]\n"
    )
    (tmp_path / "a.txt").write_text("a file")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    keeper = Keeper(cache_dir=tmp_path / "cache")
    (kept,) = keeper.keep("listed_texts:stories") or []
    assert Path(kept).parent == tmp_path / "cache/texts"
    assert keeper.keep(["listed_texts:stories=0.5", "a.txt=0.5"]) == [f"{kept}=0.5", "a.txt=0.5"]
    assert keeper.keep("news=listed_texts:stories", "val_data") == [f"news={kept}"]
    assert keeper.keep(["listed_texts:files", "hf:name"]) == [str(tmp_path / "a.txt"), "hf:name"]
    (tmp_path / "listed_texts:stories").write_text("a file with an odd name")
    assert keeper.keep("listed_texts:stories") == ["listed_texts:stories"]


def test_long_reading_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That reading has begun, at once, and how much there is so far, in growing pauses."""
    monkeypatch.setattr(one_time_texts, "FIRST_PAUSE", 0.0)
    said: list[str] = []
    heard: list[int] = []

    def texts() -> Iterator[str]:
        for _ in range(3):
            heard.append(len(said))
            yield "x" * 2_000_000

    Keeper(cache_dir=tmp_path, say=said.append).keep(texts)
    assert said[0] == "data: reading what the program gives" and heard[0] == 1
    assert "2.0 MB read so far" in said and said[-1].startswith("data: 3 documents, kept in ")


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    """What `interrupted` raises ends the reading between two documents."""

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(generator(), cache_dir=tmp_path, interrupted=stop)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Sixty megabytes of texts pass through less than two."""
    text = "word " * 20_000
    tracemalloc.start()
    (kept,) = Keeper(cache_dir=tmp_path).keep(text for _ in range(600)) or []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Path(kept).stat().st_size > 60_000_000 and peak < 2_000_000


def test_standard_input(tmp_path: Path) -> None:
    """What is piped in is kept under the hash of its content and read like a file; nothing piped in is an error."""
    program = (
        "import sys; from textmill.data import prepare;"
        f"corpus = prepare('-', tokenizer='byte', val_split=0, cache_dir={str(tmp_path)!r});"
        "print(corpus.train.num_bytes, corpus.train.num_documents, corpus.sources[0])"
    )

    def run(content: bytes) -> str:
        done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=False)
        return (done.stdout or done.stderr.splitlines()[-1]).decode()

    assert run(b"a text of thirty characters...").startswith("30 1 ")
    rows = run("".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode())
    assert rows.startswith(f"{sum(len(text.encode()) for text in TEXTS)} 4 ") and rows.endswith(".jsonl\n")
    assert "standard input is empty" in run(b"") and "standard input is empty" in run(b" \n")
    assert len(list((tmp_path / "stdin").iterdir())) == 2

"""Runs on text from elsewhere than a file: named validation sets, standard input, datasets, compressed rows."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.run_commands import rows
from textmill.checkpoint.model_folder import load_model
from textmill.cli.main import main
from textmill.config import load_config
from textmill.evaluation import evaluate_model

SMALL = [
    *("--tokenizer", "byte", "--d-model", "16", "--num-layers", "1", "--num-heads", "1", "--max-seq-len", "16"),
    *("--batch-size", "2", "--max-steps", "4", "--device", "cpu", "--sample-steps", "0", "--preset", "tiny"),
]


class Pipe(io.TextIOWrapper):
    """Standard input of a process that something is piped into."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")


@pytest.fixture
def train(tmp_path: Path) -> Any:
    def run(*arguments: str) -> Path:
        output = tmp_path / "run"
        code = main(["train", *arguments, *SMALL, "--cache-dir", str(tmp_path / "cache"), "--output-dir", str(output)])
        assert code == 0
        return output

    return run


def test_several_validation_sets(tmp_path: Path, book: Path, train: Any) -> None:
    """Every set has its columns, equal to what evaluating the model on its file gives; val_loss is the first's."""
    words = book.read_text().split()
    (tmp_path / "news.txt").write_text(" ".join(reversed(words[:300])))
    (tmp_path / "books.txt").write_text(" ".join(words[300:700]).upper())
    output = train(str(book), "--val-data", f"news={tmp_path / 'news.txt'}", f"books={tmp_path / 'books.txt'}")
    last = rows(output / "metrics.jsonl")[-1]
    assert last["val_loss"] == last["val_loss/news"] != last["val_loss/books"]
    for name in ("news", "books"):
        alone = evaluate_model(output / "final", tmp_path / f"{name}.txt", cache_dir=tmp_path / "cache")
        assert last[f"val_loss/{name}"] == pytest.approx(alone["loss"], abs=1e-6)
        assert last[f"val_bits_per_byte/{name}"] == pytest.approx(alone["bits_per_byte"], abs=1e-6)
    written = yaml.safe_load((output / "config.yaml").read_text())["data"]["val_data"]
    assert written == [f"news={tmp_path / 'news.txt'}", f"books={tmp_path / 'books.txt'}"]
    as_mapping = load_config({"data": {"val_data": {"news": "news.txt", "books": ["a.txt", "b.txt"]}}})
    assert as_mapping.data.val_data == ["news=news.txt", "books=a.txt", "books=b.txt"]


def test_standard_input_trains_and_repeats(tmp_path: Path, book: Path, train: Any, monkeypatch: Any) -> None:
    """What is piped in is a file of the run from then on: config.yaml repeats the run without the pipe."""
    monkeypatch.setattr("sys.stdin", Pipe(book.read_bytes()))
    output = train("-")
    (kept,) = load_config(output / "config.yaml").data.data or []
    assert Path(kept).read_bytes() == book.read_bytes()
    again = tmp_path / "again"
    assert main(["train", "--config", str(output / "config.yaml"), "--output-dir", str(again)]) == 0
    assert rows(again / "metrics.jsonl") == rows(output / "metrics.jsonl")


def test_a_dataset_by_its_settings(tmp_path: Path, train: Any) -> None:
    """dataset_name, dataset_split and text_column lead to the dataset's rows, and its validation split validates."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra data")
    for split in ("train", "validation"):
        folder = tmp_path / "dataset" / split
        folder.mkdir(parents=True)
        table = pyarrow.table({"body": [f"{split} text number {number}, quite short." for number in range(30)]})
        with pyarrow.ipc.new_stream(folder / "data.arrow", table.schema) as writer:
            writer.write_table(table)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
        (folder / "dataset_info.json").write_text("{}")
    (tmp_path / "dataset/dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    output = train("--dataset-name", str(tmp_path / "dataset"), "--text-column", "body", "--val-split", "0.5")
    assert "val_split" in (output / "train.log").read_text()
    size = sum(len(f"validation text number {number}, quite short.") + 1 for number in range(30))
    assert rows(output / "metrics.jsonl")[-1]["val_tokens"] == size - 1


def test_compressed_rows(tmp_path: Path, book: Path, train: Any) -> None:
    """A .jsonl.gz trains like any text, and the model speaks its tokens."""
    path = tmp_path / "rows.jsonl.gz"
    lines = [line for line in book.read_text().splitlines() if line.strip()]
    path.write_bytes(gzip.compress("".join(json.dumps({"text": line}) + "\n" for line in lines).encode()))
    loaded = load_model(train(str(path)) / "final")
    assert loaded.tokenizer is not None and loaded.tokenizer.eos_id == 256


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("broken.jsonl", b'{"text": "a"}\n{"text', 65, "broken.jsonl, line 2 is not JSON"),
        ("table.csv", b"id,body\n1,a\n", 65, "has no column 'text'"),
        ("cut.txt.gz", gzip.compress(b"word " * 1000, mtime=0)[:-5], 65, "is cut off"),
        ("latin.txt", b"caf\xe9", 65, "is not UTF-8: byte 0xE9 at offset 3"),
        ("empty.txt", b"", 65, "there is no text to use"),
        ("ids.npy", b"\x93NUMPY", 65, "is not a .npy file"),
        (None, b"", 66, "No such file"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str | None, content: bytes, code: int, message: str
) -> None:
    """One line on stderr, the right exit code, no run folder."""
    path = tmp_path / (name or "missing.txt")
    if name is not None:
        path.write_bytes(content)
    arguments = ["train", str(path), *SMALL, "--output-dir", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "c")]
    assert main(arguments) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("textmill: error: ") and message in lines[0]
    assert not (tmp_path / "run").exists()

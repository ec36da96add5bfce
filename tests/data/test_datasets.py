"""Datasets of Hugging Face and corpora with a name: local folders, splits, what is said without network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from textmill.config import load_config
from textmill.data import corpus_size_bytes, prepare
from textmill.data.sources.file_selection import absolute, absolute_data, absolute_set, data_or_dataset, select_files
from textmill.data.sources.hub import dataset_item, dataset_splits, is_dataset
from textmill.data.sources.named_corpora import NamedFile, fetch, is_named, named_corpora
from textmill.errors import ConfigError, DataError, MissingExtraError, MissingInputError
from textmill.planning.fit_memory import Hardware
from textmill.training.open_corpus import settle_preset

TRAIN = [f"Story {number} of the training split.\nThe end." for number in range(40)]
VALIDATION = [f"Story {number} nobody trained on." for number in range(5)]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder as `save_to_disk` leaves it, written with pyarrow alone."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra data")
    for split, texts in (("train", TRAIN), ("validation", VALIDATION)):
        folder = tmp_path / "saved" / split
        folder.mkdir(parents=True)
        half = len(texts) // 2
        for number, part in enumerate((texts[:half], texts[half:])):
            table = pyarrow.table({"id": list(range(len(part))), "text": part})
            with pyarrow.ipc.new_stream(folder / f"data-{number:05d}-of-00002.arrow", table.schema) as writer:
                writer.write_table(table)
        files = [{"filename": f"data-{number:05d}-of-00002.arrow"} for number in range(2)]
        (folder / "state.json").write_text(json.dumps({"_data_files": files, "_fingerprint": "1"}))
        (folder / "dataset_info.json").write_text("{}")
    (tmp_path / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    return tmp_path / "saved"


@pytest.fixture
def laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the layout of the hub, read by the library `datasets` itself."""
    datasets = pytest.importorskip("datasets", reason="needs the library datasets, of the extra data")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.utils.tqdm, "_tqdm_active", False, raising=False)
    folder = tmp_path / "laid-out"
    (folder / "data").mkdir(parents=True)
    for split, texts in (("train", TRAIN), ("validation", VALIDATION)):
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (folder / "data" / f"{split}-00000-of-00001.jsonl").write_text(rows)
    return folder


def documents(corpus: Any) -> tuple[list[str], list[str]]:
    def texts(store: Any) -> list[str]:
        whole = corpus.tokenizer.decode(store.read(0, len(store)), skip_special_tokens=False)
        return whole.split("<|endoftext|>")[:-1]

    return texts(corpus.train), texts(corpus.validation)


def test_a_saved_dataset_trains_on_one_split_and_validates_on_the_other(tmp_path: Path, saved: Path) -> None:
    """All rows of both splits, in order, without the library; as a folder and as hf:FOLDER alike."""
    for item in (saved, f"hf:{saved}"):
        corpus = prepare(item, tokenizer="byte", cache_dir=tmp_path / "cache")
        assert documents(corpus) == (TRAIN, VALIDATION) and corpus.sources == [str(item)]
    assert is_dataset(saved) and not is_dataset(tmp_path)
    assert len(list((tmp_path / "cache/corpora").iterdir())) == 1
    alone = prepare(saved / "train", tokenizer="byte", val_split=0, validation_split=None, cache_dir=tmp_path / "cache")
    assert alone.train.num_documents == len(TRAIN) and alone.validation is None


def test_a_folder_in_the_layout_of_the_hub(tmp_path: Path, laid_out: Path) -> None:
    """hf:FOLDER reads its splits through the library; the settings dataset_name and dataset_split mean the same."""
    corpus = prepare(f"hf:{laid_out}", tokenizer="byte", cache_dir=tmp_path / "cache")
    assert documents(corpus) == (TRAIN, VALIDATION)
    config = load_config({"dataset_name": str(laid_out), "dataset_split": "validation", "validation_split": "none"})
    values = config.data
    items = data_or_dataset(values.data, values.dataset_name, values.dataset_config)
    chosen = select_files(items, dataset_split=values.dataset_split, validation_split=values.validation_split)
    other = prepare(
        items,
        tokenizer="byte",
        val_split=0,
        dataset_split=values.dataset_split,
        validation_split=values.validation_split,
        cache_dir=tmp_path / "cache",
    )
    assert chosen.validation is None and other.train.num_documents == len(VALIDATION)
    settled = load_config({"dataset_name": str(laid_out)})
    assert settle_preset(settled, Hardware("cpu", "fp32")) is not None
    assert corpus_size_bytes(items, split="train") > 0


def test_splits_that_are_not_there(tmp_path: Path, saved: Path) -> None:
    """The error names those that are; without the usual validation split a share of the text validates, said."""
    with pytest.raises(ConfigError, match="has no split 'test', it has 'train', 'validation'"):
        prepare(saved, dataset_split="test", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="has no split 'dev'"):
        prepare(saved, validation_split="dev", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="are both 'validation'"):
        prepare(saved, dataset_split="validation", cache_dir=tmp_path)
    said: list[str] = []
    corpus = prepare(saved / "train", tokenizer="byte", cache_dir=tmp_path, say=said.append)
    assert corpus.validation is not None and any("no split called validation" in sentence for sentence in said)
    said.clear()
    prepare(saved, tokenizer="byte", val_split=0.5, cache_dir=tmp_path, say=said.append)
    assert any("val_split has no effect" in sentence for sentence in said)
    (saved / "train" / "state.json").write_text("{")
    with pytest.raises(DataError, match="damaged dataset"):
        dataset_splits(saved)


CONTENT = b"To be, or not to be, that is the question.\n" * 600_000  # 26 MB; the client reads pieces of 10 MB


class Server(HTTPServer):
    """Serves CONTENT; `broken` answers end in the middle, `content` may be exchanged."""

    content = CONTENT
    broken = 0
    asked: ClassVar[list[str]] = []
    ranges = 0


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content, start = self.server.content, 0
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.server.ranges += 1
        gone = self.path.startswith("/gone")
        self.send_response(404 if gone else 416 if start >= len(content) else 206 if start else 200)
        if gone:
            self.send_header("X-Error-Code", "RepoNotFound")  # as the hub says it
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = len(content) // 2 if self.server.broken else len(content)
        if self.command == "GET":
            self.wfile.write(content[start:end])
        self.server.broken = max(0, self.server.broken - 1)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=partial(made.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def first_error(item: str, hub: str, folder: Path) -> tuple[str, float]:
    """Return the error of preparing `item` in a new process whose hub has this address, and the seconds it took."""
    program = (
        "import sys, time, datasets\nfrom textmill.data import prepare\nfrom textmill.errors import TextmillError\n"
        "start = time.monotonic()\ntry:\n    prepare(sys.argv[1], cache_dir=sys.argv[2])\n"
        "except TextmillError as error:\n"
        "    print(f'{time.monotonic() - start:.1f} {type(error).__name__}: {error}')\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(folder / "hf")}
    command = [sys.executable, "-c", program, item, str(folder / "cache")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr
    seconds, _, error = done.stdout.strip().partition(" ")
    return error, float(seconds)


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line at once, naming the dataset and what to do; the extra's name where the library is missing."""
    pytest.importorskip("datasets", reason="needs the library datasets, of the extra data")
    for item in ("hf:Salesforce/wikitext/wikitext-2-raw-v1", dataset_item("wikitext", "x")):
        error, seconds = first_error(item, "http://hub.invalid", tmp_path)
        assert error.startswith(f"MissingInputError: cannot fetch the dataset {item} (no network, or no host hub.in")
        assert error.endswith("check the network, or give local files, or a folder as hf:FOLDER") and seconds < 10
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'textmill\[data\]'"):
        prepare("hf:wikitext", cache_dir=tmp_path)


def test_a_dataset_that_the_hub_does_not_have(tmp_path: Path, server: Server) -> None:
    """`a/b` is owner/name first, name/config second; then the answer is that there is no such dataset."""
    pytest.importorskip("datasets", reason="needs the library datasets, of the extra data")
    error, _ = first_error("hf:wikitext/raw", f"http://127.0.0.1:{server.server_port}/gone", tmp_path)
    assert error.startswith("MissingInputError: there is no dataset hf:wikitext/raw: ")
    asked = [path.partition("/datasets/")[2].partition("/resolve/")[0] for path in server.asked]
    assert [name for name in asked if name] == ["wikitext/raw", "wikitext"]


def test_a_dataset_with_several_configurations(laid_out: Path) -> None:
    """The error lists them and says how to name one; named, it is read."""
    one, two = (f"- config_name: {name}\n  data_files: data/{name}-*.jsonl\n" for name in ("train", "validation"))
    (laid_out / "README.md").write_text(f"---\nconfigs:\n{one}{two}---\n")
    with pytest.raises(ConfigError, match=r"'train', 'validation'\].*; write it as hf:.*:CONFIG"):
        dataset_splits(f"hf:{laid_out}")
    assert list(dataset_splits(f"hf:{laid_out}:validation")) == ["train"]
    assert dataset_splits(f"hf:{laid_out}/validation") == dataset_splits(f"hf:{laid_out}:validation")


def test_a_named_corpus_is_fetched_once(tmp_path: Path, server: Server) -> None:
    """An interrupted fetch goes on where it stopped, the checksum decides, and the second time asks nobody."""
    address = f"http://127.0.0.1:{server.server_port}/corpus"
    known = NamedFile(address, "corpus.txt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    server.broken = 7  # the client tries six times
    with pytest.raises(MissingInputError, match=r"cannot fetch corpus\.txt"):
        fetch(known, cache_dir=tmp_path)
    assert not (tmp_path / "named/corpus.txt").exists()
    server.broken = 0
    asked = server.ranges
    path = fetch(known, cache_dir=tmp_path)
    assert path.read_bytes() == CONTENT and server.ranges == asked + 1
    server.content = b"other"
    assert fetch(known, cache_dir=tmp_path) == path
    assert sorted(file.name for file in path.parent.iterdir()) == ["corpus.txt"]


def test_a_fetch_of_something_else_is_refused(tmp_path: Path, server: Server) -> None:
    """Another hash or size is an error and nothing is kept; an unknown hash is recorded and holds from then on."""
    here = f"http://127.0.0.1:{server.server_port}/corpus"
    expected = NamedFile(here, "corpus.txt", None, hashlib.sha256(b"x").hexdigest())
    with pytest.raises(DataError, match="not the file that was expected"):
        fetch(expected, cache_dir=tmp_path)
    assert not list((tmp_path / "named").iterdir())
    unknown = NamedFile(here, "free.txt", None, None)
    said: list[str] = []
    path = fetch(unknown, cache_dir=tmp_path, say=said.append)
    assert any(hashlib.sha256(CONTENT).hexdigest() in sentence for sentence in said)
    path.unlink()
    server.content = CONTENT + b"!"
    with pytest.raises(DataError, match="not the file that was expected"):
        fetch(unknown, cache_dir=tmp_path)


def test_no_network_is_said_in_one_line(tmp_path: Path, server: Server) -> None:
    """An unknown host and a missing page name the file, the address, and where to put it by hand; both at once."""
    for address in ("http://nowhere.invalid/corpus", f"http://127.0.0.1:{server.server_port}/gone"):
        with pytest.raises(MissingInputError, match=r"or put the file at .*shakespeare\.txt") as caught:
            fetch(replace(named_corpora()["shakespeare"].train, address=address), cache_dir=tmp_path)
        assert address in str(caught.value) and "\n" not in str(caught.value)


def test_shakespeare_is_what_others_train_on(tmp_path: Path, shared: Path) -> None:
    """The file of the known hash, put into the cache, is the corpus; a file of that name in the way wins."""
    content = (shared / "data/tinyshakespeare.txt").read_bytes()
    known = named_corpora()["shakespeare"].train
    assert (len(content), hashlib.sha256(content).hexdigest()) == (known.size, known.sha256)
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / known.file).write_bytes(content)
    corpus = prepare("shakespeare", tokenizer="byte", cache_dir=tmp_path)
    assert corpus.sources == ["shakespeare"] and corpus.train.num_bytes == int(len(content) * 0.9)
    with pytest.raises(MissingInputError, match="did you mean 'shakespeare'"):
        prepare("shakespear", cache_dir=tmp_path)


def test_items_mean_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths become absolute, also behind the name of a set; datasets and names stay as they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert absolute("a.txt") == str(tmp_path / "a.txt") and absolute_set("news=a.txt") == f"news={tmp_path / 'a.txt'}"
    assert absolute_data("a.txt=0.25") == f"{tmp_path / 'a.txt'}=0.25" and absolute_data("b=c.txt") == str(
        tmp_path / "b=c.txt"
    )
    assert absolute("hf:owner/name") == "hf:owner/name" and absolute("hf:folder") == f"hf:{tmp_path / 'folder'}"
    assert absolute("shakespeare") == "shakespeare" and is_named("shakespeare")
    (tmp_path / "shakespeare").write_text("mine")
    assert absolute("shakespeare") == str(tmp_path / "shakespeare")

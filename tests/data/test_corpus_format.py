"""The files of a prepared corpus, written here by hand: what an earlier version wrote is read, or refused clearly."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textmill.data import Corpus, open_corpus, prepare
from textmill.data.store.corpus import corpus_problems
from textmill.errors import DataError
from textmill.tokenizers import make_byte

DOCUMENTS = ["ab", "cde"]
IDS = [97, 98, 256, 99, 100, 101, 256]
ENDS = [3, 7]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blake(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def rows(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def settings_by_hand() -> dict[str, Any]:
    """The settings of a corpus of JSON lines, all to train on, with the byte tokenizer."""
    tokenizer = make_byte()
    return {
        "format": 4,
        "tokenizer": {"fingerprint": tokenizer.fingerprint, "eos_id": 256},
        "val_split": 0.0,
        "text_column": "text",
        "encoding_errors": "strict",
        "min_length": 0,
        "repair": None,
        "dedup": None,
        "max_repetition": None,
        "max_symbols": None,
        "min_alphabetic": None,
    }


def key_by_hand(path: Path) -> str:
    files = [[".jsonl", sha256(path.read_bytes())]]
    return sha256(json.dumps([settings_by_hand(), files, None, {}, None]).encode())


def list_by_hand(folder: Path) -> None:
    """Write the manifest of a folder."""
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    files = {name: {"size": len(bytes_), "sha256": sha256(bytes_)} for name, bytes_ in found.items()}
    manifest: dict[str, Any] = {"format": 1, "step": None, "files": files}
    manifest["sha256"] = sha256(json.dumps(manifest, sort_keys=True).encode())
    (folder / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")


def corpus_by_hand(folder: Path, source: Path, ids: list[int] = IDS, *, hashes: bool = True) -> Path:
    """Write the corpus of DOCUMENTS as format 4 has it. `ids`: other ids than theirs, to see that they are read.

    hashes: False is what was written before descriptions had hashes of all files.
    """
    tokenizer, train = make_byte(), folder / "train"
    train.mkdir(parents=True)
    tokenizer.save(folder / "tokenizer")
    if hashes:
        list_by_hand(folder / "tokenizer")
    content, ends = np.array(ids, "<u2").tobytes(), np.array(ENDS, "<u4").tobytes()
    (train / "00000.bin").write_bytes(content)
    np.save(train / "documents.npy", np.diff(ENDS, prepend=0).astype(np.uint32))
    shards = {
        "format": 2,
        "dtype": "uint16",
        "eos_id": 256,
        "max_id": max(ids),
        "num_documents": 2,
        "documents_sha256": sha256((train / "documents.npy").read_bytes()),
        "shards": [{"file": "00000.bin", "tokens": 7, "bytes": 5, "sha256": sha256(content)}],
    }
    (train / "shards.json").write_text(json.dumps(shards, indent=2) + "\n")
    text = b"".join(len(text).to_bytes(8, "little") + b"\x01" + text.encode() for text in DOCUMENTS)
    head = struct.pack("<8s16sII", b"tmstr\x00\x00\x03", blake(f"{tokenizer.fingerprint} 256".encode()), 2, 1 << 29)
    key, numbers = blake(text), struct.pack("<QQQQI", 0, 7, 5, 0, 2)
    entry = key + blake(key + bytes(16) + numbers + content + ends) + numbers
    (train / "stretches.bin").write_bytes(head + entry + ends)
    counts = {"documents": 2, "characters": 5, "kept_documents": 2, "kept_characters": 5, "dropped": {}}
    described = {
        "format": 4,
        "key": key_by_hand(source),
        "tokenizer": tokenizer.fingerprint,
        "settings": settings_by_hand(),
        "sources": [str(source)],
        "main": None,
        "further": [],
        "report": {"train": {**counts, "repaired": {"documents": 0, "examples": []}, "leaked": 0, "tokens": 7}},
        "mixture": [],
        "notes": [],
    }
    if hashes:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*")}
        described["files"] = {name: {"size": len(bytes_), "sha256": sha256(bytes_)} for name, bytes_ in found.items()}
        described["sha256"] = sha256(json.dumps(described, sort_keys=True).encode())
    (folder / "prepared.json").write_text(json.dumps(described))
    return folder


def made(source: Path, cache: Path, say: Callable[[str], None] = lambda sentence: None) -> Corpus:
    return prepare(source, tokenizer="byte", val_split=0.0, cache_dir=cache, say=say)


def test_what_is_written_is_format_4(tmp_path: Path) -> None:
    """Every file of a prepared corpus is, byte for byte or value for value, the one that is written by hand."""
    source = rows(tmp_path / "rows.jsonl", DOCUMENTS)
    by_hand, corpus = corpus_by_hand(tmp_path / "by-hand", source), made(source, tmp_path / "cache")
    assert corpus.folder == tmp_path / "cache" / "corpora" / key_by_hand(source)[:32]
    names = {str(path.relative_to(by_hand)) for path in by_hand.rglob("*") if path.is_file()}
    written = {str(path.relative_to(corpus.folder)) for path in corpus.folder.rglob("*") if path.is_file()}
    assert written == names | {"REPORT.md"}
    for name in names:
        ours, theirs = (folder / name for folder in (corpus.folder, by_hand))
        if name.endswith(".json"):
            assert json.loads(ours.read_text()) == json.loads(theirs.read_text()), name
        else:
            assert ours.read_bytes() == theirs.read_bytes(), name


def test_a_corpus_in_the_cache_is_found_by_a_key_that_stays(tmp_path: Path) -> None:
    """What lies under the key of content and settings is taken as it is, whatever made it."""
    source = rows(tmp_path / "rows.jsonl", DOCUMENTS)
    planted = [1, 2, 256, 3, 4, 5, 256]
    folder = corpus_by_hand(tmp_path / "cache" / "corpora" / key_by_hand(source)[:32], source, planted)
    corpus = made(source, tmp_path / "cache")
    assert corpus.folder == folder and corpus.train.read(0, 7).tolist() == planted
    assert corpus.train.document_lengths().tolist() == [3, 4] and corpus.train.num_bytes == 5
    assert open_corpus(folder).fingerprint == corpus.fingerprint and corpus_problems(folder) == []


def test_chunks_of_an_earlier_corpus_are_not_encoded_again(tmp_path: Path) -> None:
    """The ids of unchanged text come from the index of the corpus beside: planted ids turn up in the new one."""
    source = rows(tmp_path / "rows.jsonl", DOCUMENTS)
    planted = [1, 2, 256, 3, 4, 5, 256]
    corpus_by_hand(tmp_path / "cache" / "corpora" / "an-earlier-one", source, planted)
    more = rows(tmp_path / "more.jsonl", ["more"])
    corpus = prepare([source, more], tokenizer="byte", val_split=0, cache_dir=tmp_path / "cache")
    assert corpus.train.read(0, len(corpus.train)).tolist() == [*planted, *b"more", 256]


def test_another_format_is_refused_or_made_again(tmp_path: Path) -> None:
    """A corpus that was named is refused, with its format and a remedy; one in the cache is made again, and says so."""
    source = rows(tmp_path / "rows.jsonl", DOCUMENTS)
    folder = corpus_by_hand(tmp_path / "cache" / "corpora" / key_by_hand(source)[:32], source)
    described = {**json.loads((folder / "prepared.json").read_text()), "format": 3}
    (folder / "prepared.json").write_text(
        json.dumps({k: v for k, v in described.items() if k not in ("files", "sha256")})
    )
    with pytest.raises(DataError, match=r"prepared\.json has format 3, this version reads 4: prepare the corpus again"):
        prepare(folder)
    said: list[str] = []
    assert made(source, tmp_path / "cache", said.append).train.read(0, 7).tolist() == IDS
    assert len(said) == 1 and "is made again" in said[0] and "has format 3" in said[0]
    assert json.loads((folder / "prepared.json").read_text())["format"] == 4


def test_a_corpus_without_hashes_is_read_and_said(tmp_path: Path) -> None:
    """An earlier version hashed the ids only: they are checked, everything else is taken as it is, which is said."""
    source = rows(tmp_path / "rows.jsonl", DOCUMENTS)
    folder = corpus_by_hand(tmp_path / "earlier", source, hashes=False)
    said: list[str] = []
    assert prepare(folder, say=said.append).train.read(0, 7).tolist() == IDS
    [sentence] = said
    assert sentence == (
        f"{folder} was prepared by an earlier version: of its files only the ids are checked for damage; "
        "delete it and prepare the corpus again to have all of them checked"
    )
    make_byte(["<new>"]).save(folder / "tokenizer")
    with pytest.raises(DataError, match="is not the one that made its ids"):
        prepare(folder)
    make_byte().save(folder / "tokenizer")
    shard = folder / "train" / "00000.bin"
    shard.write_bytes(b"\x00" + shard.read_bytes()[1:])
    with pytest.raises(DataError, match=r"00000\.bin has changed .* restore it from a copy, or delete"):
        prepare(folder)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["corpus", "a.txt"], "corpus is a prepared corpus, which can only be given alone"),
        (["corpus/train"], "corpus/train is a part of a prepared corpus: give the whole, which is .*corpus$"),
        (["corpus/train", "a.txt"], "is a part of a prepared corpus"),
    ],
)
def test_the_files_of_a_corpus_are_not_read_as_text(tmp_path: Path, given: list[str], said: str) -> None:
    """Least of all the table of its documents, which has the form of token ids."""
    (tmp_path / "a.txt").write_text("one two three four five six\n" * 50)
    prepare(tmp_path / "a.txt", tokenizer="byte", output=tmp_path / "corpus", cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match=said):
        prepare([tmp_path / name for name in given], tokenizer="byte", cache_dir=tmp_path / "cache")


def test_a_corpus_under_the_name_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    """A folder of the cache that was copied over another: the text that was asked for is prepared again."""
    cache = tmp_path / "cache"
    made = {}
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"the text of number {name}\n" * 50)
        made[name] = prepare(tmp_path / f"{name}.txt", tokenizer="byte", cache_dir=cache)
    shutil.rmtree(made["two"].folder)
    shutil.copytree(made["one"].folder, made["two"].folder)
    again = prepare(tmp_path / "two.txt", tokenizer="byte", cache_dir=cache)
    assert again.fingerprint == made["two"].fingerprint != made["one"].fingerprint

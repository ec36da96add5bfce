"""Files of every format made bad: read, or refused in one line that names the file, and nothing is left behind."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import shutil
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from support.damaged_inputs import damaged_bytes, damaged_json
from support.hypothesis_campaign import campaign
from support.well_behaved_commands import files_below, well_behaved
from textmill.checkpoint.manifest import write_manifest

TEXTS = ["A plain text, with a comma.", 'Two\nlines; "quoted" – 日本語 😀', "third\ttabbed, and long enough to split"]


def _csv() -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([["text", "id"], *([text, "7"] for text in TEXTS)])
    return out.getvalue().encode()


def _jsonl() -> bytes:
    return "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in TEXTS).encode()


def _cues() -> bytes:
    times = (f"{n}\n00:00:0{n},000 --> 00:00:0{n},500\n" for n in range(1, 4))
    return "\n".join(f"{time}<i>{text}</i>\n" for time, text in zip(times, TEXTS)).encode()


def _tmx() -> bytes:
    units = "".join(f'<tu><tuv xml:lang="en"><seg>{text} <ph>x</ph></seg></tuv></tu>\n' for text in TEXTS)
    return f'<?xml version="1.0"?>\n<tmx version="1.4"><header/><body>\n{units}</body></tmx>\n'.encode()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(300, dtype=np.uint16))
    return out.getvalue()


def _arrow(parquet: bool) -> bytes:
    import pyarrow
    from pyarrow import parquet as tables

    table, out = pyarrow.table({"text": TEXTS * 9, "id": list(range(27))}), io.BytesIO()
    if parquet:
        tables.write_table(table, out, row_group_size=5)
        return out.getvalue()
    with pyarrow.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _zst() -> bytes:
    import zstandard

    return zstandard.compress("\n".join(TEXTS * 5).encode())


def _html() -> bytes:
    body = "".join(f"<p>Paragraph {n} of the article tells something about bears &amp; rivers.</p>" for n in range(9))
    return f"<html><head><title>Bears</title></head><body><article>{body}</article></body></html>".encode()


def _mhtml() -> bytes:
    head = b"MIME-Version: 1.0\nContent-Type: multipart/related; boundary=x\n\n--x\nContent-Type: text/html\n\n"
    return head + _html() + b"\n--x--\n"


def _epub() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:x"><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>',
        )
        book.writestr(
            "b.opf",
            '<package xmlns="urn:y"><manifest><item id="a" href="a.xhtml" media-type="text/html"/></manifest>'
            '<spine><itemref idref="a"/></spine></package>',
        )
        book.writestr("a.xhtml", _html())
    return out.getvalue()


def _pdf() -> bytes:
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 5 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
        b"<< /Length 41 >>\nstream\nBT /F1 12 Tf 1 1 Td (A page of words) Tj ET\nendstream",
    ]
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, part) for number, part in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer\n<< /Size 6 /Root 1 0 R >>\n%%EOF\n"


few_or_many = pytest.mark.parametrize("examples", [4, pytest.param(250, marks=pytest.mark.slow)])
"""There are thirty kinds of files: together thousands of examples."""

GOOD: dict[str, tuple[Callable[[], bytes], str]] = {
    "a.txt": (lambda: "\n".join(TEXTS).encode(), ""),
    "a.jsonl": (_jsonl, ""),
    "a.json": (lambda: json.dumps([{"text": text} for text in TEXTS]).encode(), ""),
    "a.csv": (_csv, ""),
    "a.tsv": (lambda: b'text\tid\n"A," she said\t1\nand "B"\t2\n' * 9, ""),
    "a.srt": (_cues, ""),
    "a.vtt": (lambda: b"WEBVTT\n\n" + _cues().replace(b",", b"."), ""),
    "a.tmx": (_tmx, ""),
    "a.ipynb": (lambda: json.dumps({"cells": [{"source": text} for text in TEXTS]}).encode(), ""),
    "a.parquet": (lambda: _arrow(True), "pyarrow"),
    "a.arrow": (lambda: _arrow(False), "pyarrow"),
    "a.npy": (_npy, ""),
    "a.bin": (lambda: np.arange(300, dtype=np.uint16).tobytes(), ""),
    "a.txt.gz": (lambda: gzip.compress("\n".join(TEXTS).encode()), ""),
    "a.jsonl.bz2": (lambda: bz2.compress(_jsonl()), ""),
    "a.csv.xz": (lambda: lzma.compress(_csv()), ""),
    "a.txt.zst": (_zst, "zstandard"),
    "a.html": (_html, "trafilatura"),
    "a.mhtml": (_mhtml, "trafilatura"),
    "a.pdf": (_pdf, "pypdfium2"),
    "a.epub": (_epub, ""),
}
"""Name -> how a good file of that format is made, and the package that it needs."""


@few_or_many
@pytest.mark.parametrize("name", GOOD)
def test_any_file_of_text_or_ids_is_read_or_refused(text_folder: Path, name: str, examples: int) -> None:
    """Flipped, cut, swapped and random bytes: prepared whole, or refused by name with the folder left empty."""
    make, package = GOOD[name]
    if package and find_spec(package) is None:
        pytest.skip(f"needs {package}, of the extra data")
    good, before = cached_bytes(name), files_below(text_folder)
    del make

    def check(one: tuple[bytes, bytes]) -> None:
        content, inner = one
        if name == "a.epub":
            content = content if len(inner) % 2 else repacked(content, inner)
        (text_folder / name).write_bytes(content)
        words = ["prepare", name, "--tokenizer", "byte", "--val-split", "0", "--output", "out", "--cache-dir", "cache"]
        try:
            said = well_behaved(words)
            if said.code:
                assert said.code == 65 and name in said.error, said
                assert files_below(text_folder) - before == {str(text_folder / name)} and not said.out
        finally:
            shutil.rmtree(text_folder / "out", ignore_errors=True)

    inner = damaged_bytes(_html()) if name == "a.epub" else st.just(b"")
    campaign(examples, st.tuples(damaged_bytes(good), inner), check)


@cache
def cached_bytes(name: str) -> bytes:
    return GOOD[name][0]()


def repacked(content: bytes, chapter: bytes) -> bytes:
    """An archive that is whole and whose chapter, or table of contents, is not."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_epub())) as good, zipfile.ZipFile(out, "w") as book:
        for member in good.namelist():
            damaged = member == ("a.xhtml" if len(content) % 2 else "b.opf")
            book.writestr(member, chapter if damaged else good.read(member))
    return out.getvalue()


ENCODE = [["tokenizer", "encode", "F", "Some words."], ["tokenizer", "inspect", "F", "Some words."]]
USE = [["generate", "F", "--prompt", "a", "--max-new-tokens", "2", "--device", "cpu"], ["evaluate", "F", "text.txt"]]
RUN = [["verify", "run"], ["runs", "."], ["report", "run", "--output", "page.html"], ["runs", "compare", "run", "run"]]
RESUME = [["train", "text.txt", "--output-dir", "run", "--resume", "--dry-run", "--max-steps", "2"]]
FORK = [["train", "text.txt", "--output-dir", "out", "--resume-from", "run/checkpoints/step-0000001", "--dry-run"]]
CORPUS = [["train", "prepared", "--output-dir", "out", "--dry-run", "--device", "cpu"], ["verify", "prepared"]]
STEP = "run/checkpoints/step-0000001"

PARTS: dict[str, list[list[str]]] = {
    "run/final/tokenizer.json": ENCODE + USE,
    "run/final/tokenizer_config.json": ENCODE + USE,
    "run/final/config.json": USE,
    "run/final/model.safetensors": USE,
    f"{STEP}/state.json": [*RESUME, *FORK, ["verify", "run"], ["generate", "run/epoch-1", "--max-new-tokens", "1"]],
    f"{STEP}/MANIFEST.json": [*RESUME, ["verify", "run"], ["generate", "run/last", "--max-new-tokens", "1"]],
    f"{STEP}/optimizer.safetensors": [*RESUME, ["verify", "run"]],
    "run/config.yaml": [*RUN, *RESUME],
    "run/status.json": [*RUN, *RESUME],
    "run/environment.json": [*RUN, *RESUME],
    "run/metrics.jsonl": RUN,
    "run/steps.jsonl": [*RUN, ["generate", "run/epoch-1", "--max-new-tokens", "1"]],
    "prepared/prepared.json": CORPUS,
    "prepared/train/shards.json": CORPUS,
    "prepared/train/documents.npy": CORPUS,
    "prepared/tokenizer/tokenizer.json": CORPUS,
}
"""File of a trained folder -> the commands that read it. F is the folder it is in."""


@few_or_many
@pytest.mark.parametrize("name", PARTS)
def test_any_part_of_a_run_is_used_or_refused(
    text_folder: Path, trained_folder: Path, name: str, examples: int
) -> None:
    """Models, tokenizers, checkpoints and logs whose bytes or values are not what they were: one line, nothing lost."""
    shutil.copytree(trained_folder / "run", text_folder / "run")
    shutil.copytree(trained_folder / "prepared", text_folder / "prepared")
    file, before = text_folder / name, files_below(text_folder)
    good = file.read_bytes()

    def check(one: tuple[bytes, bool, list[str]]) -> None:
        content, sealed, words = one
        file.write_bytes(content)
        folder = file.parent
        if sealed and folder.name.startswith("step-") and file.name != "MANIFEST.json":
            write_manifest(folder, 1)  # as if it had been saved so
        try:
            said = well_behaved([str(folder) if word == "F" else word for word in words])
            new = {path for path in files_below(text_folder) - before if not path.startswith(f"{text_folder}/cache/")}
            assert said.code == 0 or not new, (words, said, new)
            assert not before - files_below(text_folder), words
        finally:
            (text_folder / "page.html").unlink(missing_ok=True)

    other = damaged_json(json.loads(good)) if name.endswith(".json") else header_changed(good, name)
    inputs = st.tuples(st.one_of(other, damaged_bytes(good)), st.booleans(), st.sampled_from(PARTS[name]))
    campaign(examples, inputs, check)


def header_changed(good: bytes, name: str) -> st.SearchStrategy[bytes]:
    """A file of tensors with another header before the same numbers; rows of a log with other values."""
    if name.endswith(".safetensors"):
        size = int.from_bytes(good[:8], "little")
        header = damaged_json(json.loads(good[8 : 8 + size]))
        return header.map(lambda spelled: len(spelled).to_bytes(8, "little") + spelled + good[8 + size :])
    if name.endswith(".jsonl"):
        rows = good.splitlines() or [b'{"step": 1, "epoch": 0.1, "train_loss": 2.5, "learning_rate": 0.01}']
        return damaged_json(json.loads(rows[0])).map(lambda row: good + row + b"\n")
    if name.endswith(".npy"):
        return damaged_bytes(good)
    import yaml

    return damaged_json(yaml.safe_load(good))

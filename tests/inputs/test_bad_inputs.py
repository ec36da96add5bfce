"""Every known kind of bad file, configuration and flag at the command line: its exit code, its one line, no traces.

A row is a kind of bad input; a case is how a person would meet it. What a row holds beyond these cases, and those that
are no refusals but behaviour, is proven by the tests in ELSEWHERE.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from support.well_behaved_commands import TEXT, TINY, files_below, well_behaved

ROOT = Path(__file__).resolve().parents[2]

ELSEWHERE: dict[str, list[str]] = {
    "B01": ["tests/data/test_preparing.py::test_texts_too_small_to_train_on"],
    "B04": ["tests/data/test_reading_files.py::test_what_is_not_text_is_named"],
    "B05": ["tests/data/test_reading_files.py::test_invalid_utf8_is_refused_with_its_offset"],
    "B06": ["tests/data/test_reading_files.py::test_text_comes_as_it_stands"],
    "B07": ["tests/data/test_reading_files.py::test_what_is_not_text_is_named"],
    "B08": [
        "tests/data/test_reading_files.py::test_text_comes_as_it_stands",
        "tests/tokenizers/test_tokenizer_kinds.py::test_bytes_and_bpe_spell_every_text",
    ],
    "B09": ["tests/data/test_reading_files.py::test_text_comes_as_it_stands"],
    "B10": ["tests/inputs/test_input_memory.py::test_five_hundred_megabytes_on_one_line"],
    "B11": ["tests/data/test_preparing.py::test_a_hundred_thousand_tiny_files"],
    "B12": ["tests/data/test_reading_files.py::test_names_that_lead_nowhere"],
    "B13": [
        "tests/data/test_formats.py::test_archives_that_cannot_be_trusted",
        "tests/inputs/test_input_memory.py::test_bombs_do_not_go_off",
    ],
    "B14": ["tests/data/test_id_arrays.py::test_large_ids_are_never_wrapped"],
    "B15": ["tests/data/test_id_arrays.py::test_ids_outside_the_vocabulary"],
    "B16": ["tests/data/test_id_arrays.py::test_arrays_of_the_wrong_kind"],
    "B17": ["tests/data/test_id_arrays.py::test_arrays_of_the_wrong_kind"],
    "B18": ["tests/data/test_id_arrays.py::test_damaged_files"],
    "B19": ["tests/data/test_reading_files.py::test_bad_json_lines_are_refused_by_number"],
    "B20": ["tests/data/test_formats.py::test_parquet_and_arrow"],
    "B21": ["tests/data/test_formats.py::test_broken_tables_are_refused_by_line"],
    "B22": ["tests/tokenizers/test_tokenizer_folders.py::test_missing_and_broken_tokenizers"],
    "B23": ["tests/config/test_config_files.py::test_bad_files_get_one_line"],
    "B24": ["tests/config/test_consistency.py::test_heads_fit_or_are_refused_with_those_that_do"],
    "B25": ["tests/data/test_preparing.py::test_a_validation_share_that_leaves_nothing_is_refused"],
    "B26": ["tests/guides/test_acceptance.py::test_a_tiny_text_shrinks_what_does_not_fit"],
    "B27": ["tests/config/test_consistency.py::test_a_given_batch_that_is_too_large_is_refused"],
    "B28": ["tests/config/test_consistency.py::test_warmup_is_shortened_whoever_chose_it"],
    "B29": ["tests/data/test_packing.py::test_every_token_is_an_input_and_every_target_counts_once"],
    "B30": [
        "tests/generation/test_sampling.py::test_values_out_of_range_are_named",
        "tests/generation/test_token_loop.py::test_the_window_fits_and_shows_the_newest",
        "tests/generation/test_generated_text.py::test_an_empty_prompt_starts_a_text",
    ],
    "B31": ["tests/data/test_formats.py::test_paths_of_every_kind"],
    "B32": ["tests/engine/test_choosing.py::test_contradictions_are_refused"],
    "B33": ["tests/checkpoint/test_folder.py::test_weights_that_do_not_fit_are_named"],
}
"""Row -> tests of other rooms that prove it from inside."""


class Case(NamedTuple):
    """A row's name, what lies in the folder, the command, its exit code, and what its line must hold."""

    row: str
    files: dict[str, Any]
    words: list[str]
    code: int
    line: str


def array(*ids: Any, **options: Any) -> Callable[[Path], None]:
    """Return what writes a .npy file."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.array(*ids, **options))

    return write


def prepared(row: str, name: str, content: Any, line: str, *flags: str, code: int = 65) -> Case:
    """A case of preparing one file, whose name its line holds."""
    words = ["prepare", name, "--tokenizer", "byte", "--output", "out", *flags]
    return Case(row, {name: content}, words, code, f"(?=.*{re.escape(name)}).*{line}")


def configured(row: str, content: str, line: str, ending: str = "yaml", code: int = 2) -> Case:
    """A case of reading a configuration file, which its line names with the place."""
    name = f"c.{ending}"
    return Case(row, {name: content}, ["config", "show", "--config", name], code, rf"^{re.escape(name)}.*{line}")


def flagged(row: str, flags: list[str], line: str, code: int = 2) -> Case:
    """A case of training on a good text with a bad flag."""
    return Case(row, {}, ["train", "text.txt", *flags, "--output-dir", "out", "--dry-run"], code, line)


SHORT_TEXT = {"short.txt": "a few words only"}
OF_ANOTHER_TOOL = {"run/final/MANIFEST.json": None}
"""Without its manifest a folder's files are judged by their content, not by their hashes."""

CASES = [
    prepared("B01", "a.txt", b"", "there is no text to use.*empty or blank"),
    prepared("B01", "a.jsonl", b"", "there is no text to use"),
    prepared("B01", "a.npy", b"", "is empty: save a one-dimensional array"),
    prepared("B01", "a.bin", b"", "is empty"),
    Case(
        "B02", {"a.txt": "x"}, ["prepare", "a.txt", "--output", "out"], 65, "the text has 1 characters.*--val-split 0"
    ),
    prepared("B03", "a.txt", b" \n\t \n" * 50, "there is no text to use.*empty or blank"),
    prepared("B04", "a.txt", b"\x7fELF\x02\x01\x01\x00", r"is a program.*byte 0\): extract its text"),
    prepared("B04", "a.txt", b"\x89PNG\r\n\x1a\n\0\0", "is an image"),
    prepared("B04", "a.jsonl", b"PK\x03\x04\x14\0", "is a zip archive"),
    prepared("B05", "a.txt", b"good text, then \xe9 bad", r"byte 0xE9 at offset 16.*--encoding-errors replace"),
    prepared("B05", "a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "line 2 is not UTF-8: byte 0xFF at offset 24"),
    prepared("B07", "a.txt", "Größe".encode("utf-16-le"), "is UTF-16.*read it with --encoding utf-16le"),
    prepared("B12", "a.csv", None, "No such file", code=66),
    Case("B12", {}, ["prepare", "no*match.txt", "--output", "out"], 66, r"no file matches no\*match.txt"),
    Case("B12", {"d/": None}, ["prepare", "d", "--output", "out"], 66, "folder d contains no text file.*name files"),
    Case("B12", {}, ["prepare", "/dev/zero", "--output", "out"], 65, "/dev/zero is neither a file nor a folder"),
    prepared("B12", "pipe", os.mkfifo, "is neither a file nor a folder"),
    prepared("B12", "loop", lambda path: path.symlink_to(path), "cannot read loop: a broken link", code=66),
    prepared("B12", "broken", lambda path: path.symlink_to("gone"), "a broken link", code=66),
    prepared("B13", "a.txt.gz", gzip.compress(os.urandom(3000))[:-9], "is cut off"),
    prepared("B14", "a.npy", array([0, 2**32, 1, 2]), "id 4294967296 at index 1 does not fit"),
    Case(
        *("B15", {"a.npy": array([1, 99, 3, 4])}, ["prepare", "a.npy", "--vocab-size", "50", "--output", "out"], 65),
        "a.npy: id 99 at index 1 does not fit vocab_size 50",
    ),
    prepared("B15", "a.npy", array([1, -7, 3, 4]), "id -7 at index 1 is negative"),
    prepared("B16", "a.npy", array([1.5, 2.5]), "contains float64 values: save a one-dimensional array of integers"),
    prepared("B16", "a.npy", array([[1, 2], [3, 4]]), r"has 2 dimensions \(2, 2\): save"),
    prepared("B16", "a.npy", array(7), "has 0 dimensions"),
    prepared("B16", "a.npy", array([1, 2], dtype=">i4"), "big-endian int32"),
    prepared("B16", "a.npy", array([], dtype="u2"), "contains no ids"),
    prepared("B17", "a.npy", array([[1], "x"], dtype=object), "pickled Python objects, which are never loaded"),
    prepared("B18", "a.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", "is not a .npy file"),
    prepared("B18", "a.npz", b"PK\x03\x04", "is a zip archive"),
    prepared("B18", "a.bin", b"abc", r"3 bytes, which is not a multiple of 2 \(uint16\)"),
    prepared("B19", "a.jsonl", '{"text": "a"}\n\n{"text": \n', "line 3 is not JSON"),
    prepared("B19", "a.jsonl", '{"body": "a"}\n', "line 1 has no field 'text', it has 'body'.*--text-column"),
    prepared("B19", "a.jsonl", '{"text": null}\n', "there is no text to use"),
    prepared("B19", "a.jsonl", '{"text": ["a"]}\n', "line 1: the field 'text' is a list, not text"),
    prepared("B19", "a.jsonl", '{"text": "a", "text": "b"}\n', "line 1 repeats the field 'text'"),
    prepared("B19", "a.jsonl", '{"text": "\\ud800"}\n', r"line 1: .*lone surrogate, \\ud800, at position 0"),
    prepared("B19", "a.jsonl", '[{"text": "a"}]\n', "line 1 is a list, not an object"),
    prepared("B19", "a.json", '[{"text": "a"},\n{"text": 1}]', "line 2: the field 'text' is a number"),
    prepared("B21", "a.csv", 'id,text\n1,"a\n2,b\n', r"line 2: broken row .*check its quotes"),
    prepared("B21", "a.csv", "id,body\n1,a\n", "no column 'text', it has 'id', 'body'.*--text-column"),
    Case(
        "B22", {}, ["prepare", "text.txt", "--tokenizer", "nowhere", "--output", "out"], 66, "no tokenizer at nowhere"
    ),
    Case("B22", {"t/": None}, ["tokenizer", "inspect", "t"], 66, "t contains no tokenizer: expected tokenizer.json"),
    Case(
        "B22", {"t/tokenizer.json": "{"}, ["tokenizer", "encode", "t", "x"], 65, "t/tokenizer.json is not a tokenizer"
    ),
    Case("B22", {"t/tokenizer.json": '{"model": {}}'}, ["tokenizer", "encode", "t", "x"], 65, "t/tokenizer.json"),
    configured("B23", "learning_rat: 1\n", ":1: learning_rat.*did you mean 'learning_rate'"),
    configured("B23", "model:\n  d_model: wide\n", ":2: model.d_model: must be a whole number, not 'wide'"),
    configured("B23", "lr: -1\n", "lr: must be greater than 0, not -1"),
    configured("B23", "lr: .nan\n", "lr: must be a finite number, not nan"),
    configured("B23", "lr: 1e400\n", "lr: must be a finite number"),
    configured("B23", "seed: true\n", "seed: must be a whole number, not True"),
    configured("B23", "seed: 1\nseed: 2\n", ":2: the key 'seed' is repeated, first in line 1"),
    configured("B23", "d_model: 999999999999\n", "d_model: must be at most 1048576"),
    configured("B23", "threads: 100000\n", "threads: must be at most 1024"),
    configured("B23", "seed: !!int x\n", ":1: 'x' is no int: put it in quotes"),
    configured("B23", "seed: 1\nb: *c\n", ":2: not YAML: found undefined alias 'c'"),
    configured("B23", "d_model = 8\nx = ?\n", r"not TOML.*line 2", "toml"),
    configured("B23", '{"d_model": 8,}', r":1: not JSON.*column", "json"),
    configured("B23", "", "ends in .yaml, .yml, .json or .toml", "txt"),
    Case("B23", {}, ["config", "show", "--config", "no.yaml"], 66, "no.yaml: no such configuration file"),
    flagged("B23", ["--epochs", "many"], "--epochs: must be a number, not 'many'"),
    flagged("B23", ["--batch-sise", "4"], "--batch-sise: no such flag; did you mean '--batch-size'"),
    flagged("B24", ["--d-model", "256", "--num-heads", "7"], r"use one of 1, 2, 4, 8"),
    flagged("B24", ["--num-heads", "8", "--num-kv-heads", "3"], r"does not divide num_heads 8.*use one of 1, 2, 4, 8"),
    flagged("B24", ["--d-model", "9", "--num-heads", "3"], "even"),
    flagged("B24", ["--d-model", "0"], "--d-model: must be at least 1"),
    flagged("B24", ["--max-seq-len", "0"], "--max-seq-len: must be at least 1"),
    flagged("B24", ["--vocab-size", "1"], "--vocab-size: must be at least 2"),
    flagged("B24", ["--num-layers", "0"], "--num-layers: must be at least 1"),
    flagged("B25", ["--val-split", "0.999", "--tokenizer", "byte"], "too few for a validation share", code=65),
    flagged("B25", ["--val-split", "1"], "--val-split: must be less than 1"),
    flagged(
        "B27", ["--tokenizer", "byte", "--batch-size", "10000"], "rows per step, and the training text has .*lower"
    ),
    flagged("B28", ["--min-lr", "1", "--lr", "0.1"], "min_learning_rate 1.0 .* is above learning_rate 0.1"),
    Case(
        "B29",
        {"a.jsonl": '{"text": ""}\n' * 9},
        ["prepare", "a.jsonl", "--output", "out"],
        65,
        "no text to use in .*a.js",
    ),
    flagged("B31", ["--run-name", "../../x"], "--run-name: must be a name such as 'first-try'"),
    Case("B31", {}, ["train", "text.txt", "--output-dir", "x" * 300], 2, "--output-dir: .*names of at most 255 bytes"),
    Case("B31", {}, ["train", "text.txt", "--output-dir", ""], 2, "--output-dir: must not be empty: leave it out"),
    Case("B31", {}, ["train", ""], 2, "DATA: must not contain an empty name"),
    Case("B31", {}, ["train", "x" * 5000], 66, "File name too long"),
    Case("B31", {}, ["generate", "x" * 5000], 66, "File name too long"),
    Case("B31", {}, ["prepare", "text.txt", "--output", "x" * 300], 2, "--output.*names of at most 255 bytes"),
    Case(
        "B31", {}, ["prepare", "text.txt", "--output", ""], 2, "contains something else: choose another output folder"
    ),
    flagged("B31", ["--run-name", "two\nlines"], "--run-name: must be a name such as 'first-try'"),
    flagged("B32", ["--device", "cuda"], "PyTorch sees no GPU here; use --device auto or cpu"),
    flagged("B32", ["--device", "tpu"], "--device: must be auto, cpu, cuda, cuda:N or mps"),
    flagged("B32", ["--world-size", "2"], "--world-size"),
]

ON_A_MODEL = [
    Case("B30", {}, ["generate", "run", "--temperature", "-1"], 2, "temperature"),
    Case("B30", {}, ["generate", "run", "--temperature", "nan"], 2, "temperature"),
    Case("B30", {}, ["generate", "run", "--top-p", "0"], 2, "--top-p"),
    Case("B30", {}, ["generate", "run", "--top-p", "1.5"], 2, "--top-p"),
    Case("B30", {}, ["generate", "run", "--top-k", "0"], 2, "--top-k"),
    Case("B30", {}, ["generate", "run", "--max-new-tokens", "-1"], 2, "--max-new-tokens"),
    Case("B30", {}, ["generate", "run/step-77"], 66, "run has no model 'step-77'.*it has"),
    Case(
        "B33",
        {**OF_ANOTHER_TOOL, "run/final/model.safetensors": b"\x08"},
        ["generate", "run/final"],
        65,
        "model.safetensors is damaged",
    ),
    Case(
        "B33", {"run/final/model.safetensors": b"\x08"}, ["generate", "run/final"], 65, "damaged.*delete MANIFEST.json"
    ),
    Case(
        "B33",
        {**OF_ANOTHER_TOOL, "run/final/model.safetensors": None},
        ["generate", "run/final"],
        66,
        "run/final has no weights",
    ),
    Case(
        "B33",
        {**OF_ANOTHER_TOOL, "run/final/config.json": "{}"},
        ["generate", "run/final"],
        65,
        "config.json: .*model_type None is not",
    ),
    Case(
        "B33",
        {**OF_ANOTHER_TOOL, "run/final/config.json": "[" * 9999},
        ["generate", "run/final"],
        65,
        "config.json cannot be read",
    ),
    Case(
        "B22",
        {**OF_ANOTHER_TOOL, "run/final/tokenizer.json": "[]"},
        ["generate", "run/final"],
        65,
        "tokenizer.json is not a tokenizer",
    ),
    Case("B18", {"run/x.pt": b"PK"}, ["generate", "run/x.pt"], 65, "x.pt is a pickle.*not opened: convert it"),
]


def named(case: Case) -> str:
    return f"{case.row} {' '.join(case.words[:2])[:24]} {case.line[:24]}"


def lay_out(place: Path, files: dict[str, Any]) -> None:
    """The folder holds `files`; None is a file that is not there."""
    for name, content in files.items():
        path = place / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if content is None:
            if not name.endswith("/"):
                path.unlink(missing_ok=True)
        elif callable(content):
            content(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)


def refused(place: Path, case: Case) -> None:
    """The case is refused in its own words, and nothing new is there: no folder of a run, no entry of the cache."""
    lay_out(place, case.files)
    before = files_below(place)
    said = well_behaved(case.words)
    assert said.code == case.code, said
    assert re.search(case.line, said.error), said
    new = files_below(place) - before
    if (
        case.row == "B27"
    ):  # how many rows there are is known once the text is prepared, and that is kept for the next try
        new = {path for path in new if not path.startswith(f"{place}/cache/textmill/corpora/")}
    assert not said.out and not new and not before - files_below(place)
    assert not (place / "out").exists() and not (place / "runs").exists()


@pytest.mark.parametrize("case", CASES, ids=named)
def test_bad_input_is_refused_in_one_line(text_folder: Path, case: Case) -> None:
    """Its exit code, one line that says what, where and what to do, nothing on standard output, nothing written."""
    refused(text_folder, case)


@pytest.mark.parametrize("case", ON_A_MODEL, ids=named)
def test_bad_input_for_a_model_is_refused_in_one_line(text_folder: Path, trained_folder: Path, case: Case) -> None:
    """The same of commands that use a model."""
    shutil.copytree(trained_folder / "run", text_folder / "run")
    refused(text_folder, case)


def test_bad_tables_are_refused_in_one_line(text_folder: Path) -> None:
    """The same of Parquet files."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra data")
    tables = pytest.importorskip("pyarrow.parquet")
    tables.write_table(pyarrow.table({"body": ["a"], "text": [1]}), text_folder / "good.parquet")
    good = (text_folder / "good.parquet").read_bytes()
    for case in (
        prepared("B20", "a.parquet", good, "the column 'text' contains int64, not text.*--text-column"),
        prepared("B20", "a.parquet", good, "no column 'x', it has 'body', 'text'.*--text-column", "--text-column", "x"),
        prepared("B20", "a.parquet", good[:-9], "damaged or cut off"),
        prepared("B20", "a.parquet", b"", "damaged or cut off"),
    ):
        refused(text_folder, case)


def test_what_is_no_refusal_is_said(text_folder: Path) -> None:
    """Byte order marks, carriage returns and NULs are kept or dropped, and that is said; rows longer than the text, and
    a warm-up longer than the run, are made to fit, and that is said."""
    (text_folder / "odd.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\0three\rfour " * 9)
    said = well_behaved(["prepare", "odd.txt", "--tokenizer", "byte", "--output", "out"])
    assert said.code == 0
    for sentence in ("byte order mark dropped", "carriage returns", "NUL characters"):
        assert sentence in said.err
    said = well_behaved(["train", "text.txt", "--dry-run", *TINY[:-2], "--threads", "1", "--warmup-steps", "999"])
    assert said.code == 0 and "warmup_steps: 0 instead of 999" in said.out + said.err
    assert well_behaved(["plan", "text.txt", "--max-seq-len", "4096", "--tokenizer", "byte"]).code == 0


@pytest.mark.parametrize("name", ["日本語 😀 with space", "-a=b[1]*?..", "x" * 200])
def test_names_of_every_kind_are_names(text_folder: Path, name: str) -> None:
    """Spaces, other scripts, signs of shells, length: files of text and folders of runs are called as one likes."""
    (text_folder / f"{name}.txt").write_text(TEXT)
    words = ["train", f"./{name}.txt", *TINY, "--run-name", name, "--cache-dir", f"cache/{name}"]
    assert well_behaved(words).code == 0
    assert (text_folder / "runs" / name / "config.yaml").is_file()
    repeated = ["train", "--config", f"runs/{name}/config.yaml", "--output-dir", "again", "--dry-run"]
    assert well_behaved(repeated).code == 0


def test_every_row_has_its_cases_and_its_tests() -> None:
    """B01 to B33 are all here or elsewhere, and every test that is named exists."""
    rows = {case.row for case in (*CASES, *ON_A_MODEL)} | ELSEWHERE.keys()
    assert sorted(rows) == [f"B{number:02d}" for number in range(1, 34)]
    for tests in ELSEWHERE.values():
        for test in tests:
            path, _, function = test.partition("::")
            assert re.search(rf"^def {function}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), test


def test_json_that_is_deep_is_told_from_json_that_is_wrong(text_folder: Path) -> None:
    """A value nested a hundred thousand times is refused wherever JSON is read."""
    deep = "[" * 100_000
    (text_folder / "c.json").write_text(deep)
    (text_folder / "a.jsonl").write_text(json.dumps({"text": "x"}) + "\n" + deep)
    assert "nested too deeply" in well_behaved(["config", "show", "--config", "c.json"]).error
    assert "line 2" in well_behaved(["prepare", "a.jsonl", "--output", "out"]).error

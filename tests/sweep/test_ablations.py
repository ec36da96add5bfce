"""Ablations: each variant once with each seed, paired differences that are right, and nothing lost when stopped."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.run_moments import after_steps
from textmill.cli.main import main
from textmill.errors import ConfigError, ResumeError
from textmill.report.run_record import Record
from textmill.sweep.ablation_table import table_rows, write_tables
from textmill.sweep.paired_differences import paired_difference, student_t, summarise
from textmill.sweep.space import parse_search
from textmill.sweep.variants import read_variants, variants_of


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments that all runs share: a run of a second."""
    folder = tmp_path_factory.mktemp("ablation")
    book = folder / "book.txt"
    book.write_text("to sweep, perchance to find; aye, there's the rub.\n" * 40)
    shape = ["--d-model", "16", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "16", "--batch-size", "4"]
    length = ["--max-steps", "4", "--eval-steps", "2", "--sample-steps", "0", "--save-steps", "4"]
    return [str(book), "--tokenizer", "byte", "--cache-dir", str(folder / "cache"), *shape, *length]


VARIANTS = """
baseline:
the same:
  norm_eps: 1.0000001e-6
slow:
  learning_rate: 1e-7
"""


def test_variants_are_trained_with_every_seed_and_compared(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planted null effect is called none, a rate that learns nothing higher; stopped and extended, runs are kept."""
    (tmp_path / "variants.yaml").write_text(VARIANTS)
    folder = tmp_path / "rates"
    common = [*words, "--learning-rate", "1e-2", "--variants", str(tmp_path / "variants.yaml"), "--json"]
    command = ["sweep", *common, "--output-dir", str(folder)]
    with after_steps(lambda taken: os.kill(os.getpid(), signal.SIGTERM) if taken == 10 else None):
        assert main([*command, "--seeds", "2"]) == 143
    told = json.loads(capsys.readouterr().out)
    assert told["unfinished"] == 4 and [each["name"] for each in told["variants"]] == ["baseline", "the same"]
    first = (folder / "baseline-seed-42" / "metrics.jsonl").read_bytes()
    assert main([*command, "--seeds", "2"]) == 0
    assert main([*command, "--seeds", "3"]) == 0
    told = _last(capsys)
    assert (folder / "baseline-seed-42" / "metrics.jsonl").read_bytes() == first
    names = ["baseline", "slow", "the-same"]
    runs = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert runs == sorted(f"{name}-seed-{seed}" for name in names for seed in (42, 43, 44))
    values = {
        name: {seed: Record(folder / f"{name}-seed-{seed}").best["val_loss"] for seed in (42, 43, 44)} for name in names
    }
    baseline, same, slow = told["variants"]
    assert {int(seed): value for seed, value in slow["values"].items()} == values["slow"]
    differences = [values["slow"][seed] - values["baseline"][seed] for seed in (42, 43, 44)]
    assert slow["difference"]["mean"] == pytest.approx(statistics.fmean(differences))
    assert baseline["difference"] is None and same["difference"]["effect"] == "none"
    assert slow["difference"]["effect"] == "higher" and slow["difference"]["low"] > 0.1
    assert (folder / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert main([*command, "--seeds", "3", "--beta1", "0.8"]) == ResumeError.exit_code


def _last(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the last JSON object that was printed."""
    decoder, text, found = json.JSONDecoder(), capsys.readouterr().out.strip(), {}
    while text:
        found, end = decoder.raw_decode(text)
        text = text[end:].strip()
    return found


def test_differences_are_those_of_pairs() -> None:
    """Against NumPy, by hand: mean, standard error and interval over the seeds that both have."""
    one, other = {1: 2.0, 2: 3.0, 3: 5.0, 9: 100.0}, {1: 1.5, 2: 2.8, 3: 4.1, 4: 0.0}
    found = paired_difference(one, other)
    pairs = np.array([0.5, 0.2, 0.9])
    error = pairs.std(ddof=1) / math.sqrt(3)
    assert found is not None
    assert (found.mean, found.error) == (pytest.approx(pairs.mean()), pytest.approx(error))
    assert (found.low, found.high) == (
        pytest.approx(pairs.mean() - 4.303 * error),
        pytest.approx(pairs.mean() + 4.303 * error),
    )
    assert found.verdict == "none"
    single = paired_difference({1: 2.0}, {1: 1.0})
    assert single is not None and single.verdict == "unknown" and math.isnan(single.error)
    assert paired_difference({1: 2.0}, {2: 1.0}) is None


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 4,000 ablations of 5 seeds without an effect, 95 % are called none, within three standard errors."""
    draws = np.random.default_rng(0).normal(size=(4000, 2, 5))
    none = 0
    for one, other in draws.tolist():
        found = paired_difference(dict(enumerate(one)), dict(enumerate(other)))
        none += found is not None and found.verdict == "none"
    assert abs(none / 4000 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 4000)


def test_students_t_falls_to_that_of_the_normal_distribution() -> None:
    """The table and the expansion meet, and published values are met: t(40) 2.021, t(120) 1.980."""
    values = [student_t(degrees) for degrees in range(1, 200)]
    assert values == sorted(values, reverse=True)
    assert (student_t(40), student_t(120)) == (pytest.approx(2.021, abs=5e-4), pytest.approx(1.980, abs=5e-4))


def test_tables_have_the_same_numbers(tmp_path: Path) -> None:
    """Markdown, CSV and LaTeX; names with signs of their own stay names."""
    summaries = summarise({"a|b": {1: 2.0, 2: 2.5}, "50 % & #1_": {1: 1.0, 2: 1.5}, "empty": {}})
    assert [row[0] for row in table_rows(summaries)] == ["a|b", "50 % & #1_"]
    markdown, table, latex = (path.read_text() for path in write_tables(tmp_path, summaries))
    assert "a\\|b" in markdown and "-1.0000 to -1.0000" in markdown and "lower" in markdown
    assert r"50 \% \& \#1\_ & 2 & 1.2500" in latex
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [float(row["mean"]) for row in rows] == [2.25, 1.25] and rows[1]["seed 2"] == "1.5"


def test_every_combination_is_a_variant() -> None:
    """The first values first; a range has no end of values."""
    variants = variants_of(parse_search(["num_layers=2,4", "dropout=0,0.1,0.2"]))
    assert [variant.values for variant in variants] == [
        {"num_layers": layers, "dropout": dropout} for layers in (2, 4) for dropout in (0.0, 0.1, 0.2)
    ]
    assert variants[0].name == "num_layers=2, dropout=0.0"
    with pytest.raises(ConfigError, match="not a range"):
        variants_of(parse_search(["dropout=0..0.2"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one: {}\n", "two variants at least"),
        ("one: {}\ntwo: {}\n", "one and two have the same settings"),
        ("one: {}\ntwo: {seed: 3}\n", "two: seed cannot differ"),
        ("one: {}\ntwo: {output_dir: x}\n", "two: output_dir cannot differ"),
        ("one: {}\ntwo: 3\n", "two: must be a mapping of settings"),
        ("one: {}\ntwo: {d_modle: 3}\n", "did you mean 'd_model'"),
        ("a b: {}\na  b: {d_model: 32}\n", "would share the folder"),
        ("- one\n", "must contain settings"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With the file and the variant, before anything is trained."""
    file = tmp_path / "variants.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="variants.yaml.*" + said):
        read_variants(file)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--variants", "absent.yaml", "--seeds", "2"], "no such configuration file"),
        (["--search", "dropout=0,0.1", "--seeds", "0"], "at least 1"),
        (["--seeds", "2"], "--search is missing"),
        (["--search", "num_heads=2,3", "--seeds", "2"], "num_heads"),
        (["--search", "dropout=0,0.1", "--seeds", "2", "--val-split", "0"], "validation"),
    ],
)
def test_commands_that_cannot_be_run_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    """In one line, and no folder is made."""
    assert main(["sweep", *words, *flags, "--output-dir", str(tmp_path / "none")]) != 0
    error = capsys.readouterr().err
    assert said in error and "defect" not in error and not (tmp_path / "none").exists()

"""Evaluating stored models: on their run's validation text, and on other text."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from support.small_models import small_model
from textmill.checkpoint.model_folder import load_model, save_model_folder
from textmill.data.prepare import prepare
from textmill.errors import ConfigError, DataError, MissingInputError
from textmill.evaluation.evaluate_saved_model import evaluate_model
from textmill.tokenizers import make_byte

TEXT = "Wer wagt es, Rittersmann oder Knapp,\nzu tauchen in diesen Schlund?\n" * 12


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run as training leaves it: a model, a configuration, and where its token store is."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    corpus = prepare(text, val_split=0.25, tokenizer="byte", cache_dir=tmp_path / "cache")
    run = tmp_path / "run"
    save_model_folder(run / "best_model", small_model(vocab_size=257, max_seq_len=32), make_byte())
    values = {"data": {"data": [str(text)], "val_split": 0.25, "cache_dir": str(tmp_path / "other cache")}}
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    made_with = {"store": str(corpus.folder), "identity": {"data": corpus.fingerprint}}
    (run / "environment.json").write_text(json.dumps(made_with))
    return run


def by_hand(model: Path, text: str) -> tuple[float, int]:
    """Return the nats of a text under a byte model, from rows of 32 cut by hand, and how many targets there are."""
    import torch

    network = load_model(model).model
    ids = list(text.encode())
    nats = 0.0
    for start in range(0, len(ids) - 1, 32):
        row = torch.tensor(ids[start : start + 33])
        with torch.no_grad():
            logits = network(row[None, :-1])[0].double()
        nats += torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").item()
    return nats, len(ids) - 1


def test_without_data_it_is_the_runs_validation_text(run: Path) -> None:
    """The last quarter of the text, in float32, as computed row by row."""
    validation = TEXT[-len(TEXT) // 4 :]
    nats, targets = by_hand(run, validation)
    report = evaluate_model(run, device="cpu", precision="fp32")
    assert report["tokens"] == targets
    assert report["loss"] == pytest.approx(nats / targets, rel=1e-6)
    assert report["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(validation.encode()), rel=1e-6)


def test_data_that_is_given_is_scored_whole(run: Path, tmp_path: Path) -> None:
    """Nothing of a file that is named is split off, whatever the run's validation share was."""
    other = tmp_path / "other.txt"
    other.write_text(TEXT[:333], encoding="utf-8")
    nats, targets = by_hand(run, TEXT[:333])
    done: list[tuple[int, int]] = []
    report = evaluate_model(
        run,
        other,
        batch_size=3,
        device="cpu",
        precision="fp32",
        cache_dir=tmp_path / "cache",
        progress=lambda *counts: done.append(counts),
    )
    assert report["tokens"] == targets and report["loss"] == pytest.approx(nats / targets, rel=1e-6)
    assert done[-1] == (targets, targets)


def test_a_lost_store_is_made_again_from_the_text(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers come from the run's text, and it is said; changed or vanished text is refused."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "usual"))
    before = evaluate_model(run, device="cpu")
    shutil.rmtree(tmp_path / "cache")
    said: list[str] = []
    assert evaluate_model(run, device="cpu", say=said.append) == before
    assert any("store of the run is gone" in sentence for sentence in said)
    assert any("is not one of yours: the usual one is used" in sentence for sentence in said)
    assert not (tmp_path / "other cache").exists()
    shutil.rmtree(tmp_path / "usual")
    (tmp_path / "text.txt").write_text(TEXT + "Ein Zusatz.\n", encoding="utf-8")
    with pytest.raises(DataError, match="has changed since"):
        evaluate_model(run, device="cpu")
    (tmp_path / "text.txt").unlink()
    with pytest.raises(MissingInputError):
        evaluate_model(run, device="cpu")


def test_what_cannot_be_evaluated_is_refused(run: Path, tmp_path: Path) -> None:
    """A model without a run, text without a tokenizer, ids beyond the model, a store of another tokenizer."""
    text = tmp_path / "text.txt"
    alone, mute = tmp_path / "a" / "alone", tmp_path / "a" / "mute"
    shutil.copytree(run / "best_model", alone)
    save_model_folder(mute, small_model(vocab_size=20), None)
    np.save(tmp_path / "ids.npy", np.arange(30, dtype=np.int64))
    other = prepare(text, tokenizer="char", output=tmp_path / "prepared")
    options: dict[str, Any] = {"device": "cpu", "cache_dir": tmp_path / "cache"}
    with pytest.raises(ConfigError, match="belongs to no run"):
        evaluate_model(alone, **options)
    with pytest.raises(ConfigError, match="has no tokenizer"):
        evaluate_model(mute, text, **options)
    with pytest.raises(DataError, match=r"ids\.npy: id 20 at index 20 does not fit vocab_size 20"):
        evaluate_model(mute, tmp_path / "ids.npy", **options)
    with pytest.raises(DataError, match="another tokenizer"):
        evaluate_model(alone, other.folder, **options)
    with pytest.raises(ConfigError, match="batch_size"):
        evaluate_model(run, batch_size=0, **options)


def test_ids_without_text_have_no_bits_per_byte(tmp_path: Path) -> None:
    """Arrays of ids are scored by a model without a tokenizer, in nats per token only."""
    save_model_folder(tmp_path / "model", small_model(vocab_size=40), None)
    np.save(tmp_path / "ids.npy", np.arange(30, dtype=np.int64))
    report = evaluate_model(tmp_path / "model", tmp_path / "ids.npy", device="cpu", cache_dir=tmp_path / "cache")
    assert report["tokens"] == 29 and "bits_per_byte" not in report


def test_a_prepared_corpus_is_scored_on_both_sides(run: Path, tmp_path: Path) -> None:
    """A folder of ids that is named as data is scored whole, training and validation side."""
    corpus = prepare(tmp_path / "text.txt", val_split=0.25, tokenizer="byte", output=tmp_path / "prepared")
    assert corpus.validation is not None
    report = evaluate_model(run, corpus.folder, device="cpu")
    assert report["tokens"] == corpus.train.num_tokens + corpus.validation.num_tokens - 2


OPTIONS: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


@pytest.mark.parametrize("name", ["ids.npy", "ids.bin", "ids.dat"])
def test_a_model_of_ids_is_evaluated_on_ids(tmp_path: Path, name: str) -> None:
    """Any id below the model's vocabulary, as an array, as a file of nothing else, and as what it is said to be."""
    ids = np.random.default_rng(0).integers(0, 900, 200).astype("<u2")
    path = tmp_path / name
    if name == "ids.npy":
        np.save(path, ids)
    else:
        ids.tofile(path)
    model = small_model(vocab_size=900, max_seq_len=16)
    save_model_folder(tmp_path / "model", model, None)
    how = {"format": "bin"} if name == "ids.dat" else {}
    report = evaluate_model(tmp_path / "model", path, cache_dir=tmp_path / "cache", **how, **OPTIONS)
    assert report["loss"] == pytest.approx(nats_of(model, ids.tolist(), 16) / 199, rel=1e-6)
    assert report["tokens"] == 199 and "bits_per_byte" not in report


def nats_of(model: Any, ids: list[int], length: int) -> float:
    """The nats of `ids` in rows of `length`, cut by hand."""
    import torch

    nats = 0.0
    for start in range(0, len(ids) - 1, length):
        row = torch.tensor(ids[start : start + length + 1])
        with torch.no_grad():
            logits = model(row[None, :-1])[0].double()
        nats += torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").item()
    return nats


@pytest.mark.parametrize("recorded", [False, True, None])
@pytest.mark.parametrize("texts", [["one story", "another story"], ["a single story"]])
def test_documents_end_as_in_training(run: Path, tmp_path: Path, recorded: bool | None, texts: list[str]) -> None:
    """An EOS token after every document if training had one, none if it had none; of an older run its store tells."""
    if recorded is not None:
        made_with = json.loads((run / "environment.json").read_text())
        (run / "environment.json").write_text(json.dumps({**made_with, "ends_documents": recorded}))
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    report = evaluate_model(run, tmp_path / "x.jsonl", cache_dir=tmp_path / "cache", **OPTIONS)
    ids = [number for text in texts for number in [*text.encode(), *([256] if recorded else [])]]
    assert report["tokens"] == len(ids) - 1
    assert report["loss"] == pytest.approx(nats_of(load_model(run).model, ids, 32) / (len(ids) - 1), rel=1e-6)


def test_rows_are_no_longer_than_the_text(tmp_path: Path) -> None:
    """A short text costs what it is long, whatever the context; a shorter context can be asked for, no longer one."""
    model = small_model(vocab_size=257, max_seq_len=1024)
    save_model_folder(tmp_path / "model", model, make_byte())
    (tmp_path / "x.txt").write_text(TEXT[:50])
    options: dict[str, Any] = {**OPTIONS, "cache_dir": tmp_path / "cache"}
    widths: set[int] = set()

    def width(logits: Any, batch: Any) -> tuple[float, float]:
        widths.add(logits.shape[1])
        return 0.0, 1.0

    report = evaluate_model(tmp_path / "model", tmp_path / "x.txt", metrics={"width": width}, **options)
    assert widths == {49}
    assert report["loss"] == pytest.approx(nats_of(model, list(TEXT[:50].encode()), 1024) / 49, rel=1e-6)
    shorter = evaluate_model(tmp_path / "model", tmp_path / "x.txt", max_seq_len=8, **options)
    assert shorter["loss"] == pytest.approx(nats_of(model, list(TEXT[:50].encode()), 8) / 49, rel=1e-6)
    for length in (0, 1025):
        with pytest.raises(ConfigError, match=f"max_seq_len is {length}: the model in .* takes 1 to 1024"):
            evaluate_model(tmp_path / "model", tmp_path / "x.txt", max_seq_len=length, **options)


def test_text_is_read_as_the_run_read_it(run: Path, tmp_path: Path) -> None:
    """Column and separator of the run, unless others are given."""
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["data"] |= {"text_column": "body", "document_separator": "---"}
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "x.jsonl").write_text('{"body": "a text of the run", "text": "another"}\n')
    (tmp_path / "x.txt").write_text("one---two")
    options: dict[str, Any] = {**OPTIONS, "cache_dir": tmp_path / "cache"}
    assert evaluate_model(run, tmp_path / "x.jsonl", **options)["tokens"] == 16
    assert evaluate_model(run, tmp_path / "x.jsonl", text_column="text", **options)["tokens"] == 6
    assert evaluate_model(run, tmp_path / "x.txt", **options)["tokens"] == 5
    assert evaluate_model(run, tmp_path / "x.txt", document_separator=None, **options)["tokens"] == 8

"""Runs on texts that a program gives: the run owns a file, which resuming and repeating read instead of the program."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import textmill as tm
from support.run_commands import rows
from textmill.cli.main import main
from textmill.config import load_config
from textmill.console.screen import Screen
from textmill.data import Document, open_corpus
from textmill.errors import ConfigError, DataError
from textmill.evaluation import evaluate_model

SETTINGS: dict[str, Any] = {
    "tokenizer": "byte",
    "d_model": 16,
    "num_layers": 1,
    "num_heads": 1,
    "max_seq_len": 16,
    "dropout": 0.1,
    "batch_size": 2,
    "device": "cpu",
    "sample_steps": 0,
    "eval_steps": 2,
    "save_steps": 2,
    "seed": 3,
    "lr_schedule": "constant",
    "warmup_steps": 0,
}

MODULE = """
from pathlib import Path

def stories():
    with Path("reads").open("a") as file:
        file.write("read\\n")
    for number in range(60):
        yield f"Story {number} of a program, which ends here."
"""


def stories() -> Iterator[str]:
    for number in range(60):
        yield f"Story {number} of a program, which ends here."


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Any]:
    def run(name: str, **settings: Any) -> Any:
        places = {"output_dir": str(tmp_path / name), "cache_dir": str(tmp_path / "cache")}
        given: dict[str, Any] = {**SETTINGS, **places, **settings}
        return tm.train(**given, screen=Screen(quiet=True))

    return run


def names_of_files(run: Path) -> tuple[list[str], list[str]]:
    written = load_config(run / "config.yaml").data
    return written.data or [], written.val_data or []


def test_a_resume_needs_no_generator(tmp_path: Path, train: Callable[..., Any]) -> None:
    """config.yaml names the kept file; four steps and four more without the generator are eight, to the bit."""
    whole = train("whole", data=stories, max_steps=8)
    train("halves", data=stories(), max_steps=4)
    (kept,), _ = names_of_files(tmp_path / "halves")
    assert Path(kept).parent == tmp_path / "cache/texts"
    train("halves", resume=True, max_steps=8)
    for name in ("final/model.safetensors", "metrics.jsonl"):
        one, other = (tmp_path / run / name for run in ("whole", "halves"))
        if name.endswith("jsonl"):
            assert [row["val_loss"] for row in rows(one)] == [row["val_loss"] for row in rows(other)]
        else:
            assert one.read_bytes() == other.read_bytes()
    assert whole.total_steps == 8


def test_a_resume_does_not_read_a_second_time(tmp_path: Path, train: Callable[..., Any]) -> None:
    """The script that began the run goes on with it; while the kept file is there, the generator is not asked."""
    asked = []

    def counted() -> Iterator[str]:
        asked.append(True)
        return stories()

    train("run", data=counted, validation=lambda: ["Held out."], max_steps=2)
    train("run", data=counted, validation=lambda: ["Held out."], max_steps=4, resume=True)
    assert len(asked) == 1
    assert "data: the run continues with the text kept in" in (tmp_path / "run/train.log").read_text()
    (kept,), (held_out,) = names_of_files(tmp_path / "run")
    assert Path(held_out).read_text() == '{"text": "Held out."}\n'
    Path(kept).unlink()
    train("run", data=counted, validation=lambda: ["Held out."], max_steps=6, resume=True)
    assert len(asked) == 2 and Path(kept).is_file()


def test_validation_under_both_names(tmp_path: Path, train: Callable[..., Any]) -> None:
    """val_data= and validation= take the same objects; a validation alone goes with text from files."""
    (tmp_path / "book.txt").write_text("Words of a book. " * 60)
    for name, settings in (
        ("one", {"data": stories, "val_data": [Document("Held out.", "here")]}),
        ("two", {"data": str(tmp_path / "book.txt"), "validation": iter(["Held out."])}),
    ):
        train(name, **settings, max_steps=2)
        _, (held_out,) = names_of_files(tmp_path / name)
        assert Path(held_out).read_text() == '{"text": "Held out."}\n'
        targets = len("Held out.") - (name == "two")  # EOS ends documents where there are several
        assert rows(tmp_path / name / "metrics.jsonl")[-1]["val_tokens"] == targets


def test_an_import_string_from_yaml_and_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both name the same text; after the module is gone, the run of the same configuration file goes on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "texts_for_import.py").write_text(MODULE)
    (tmp_path / "run.yaml").write_text("data: texts_for_import:stories\ncache_dir: cache\n")
    options = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["train", "--config", "run.yaml", *options, "--max-steps", "2", "--output-dir", "a"]) == 0
    command = ["train", "texts_for_import:stories", *options, "--max-steps", "2", "--cache-dir", "cache"]
    assert main([*command, "--output-dir", "b"]) == 0
    assert names_of_files(tmp_path / "a") == names_of_files(tmp_path / "b")
    assert rows(tmp_path / "a/metrics.jsonl")[-1]["val_loss"] == rows(tmp_path / "b/metrics.jsonl")[-1]["val_loss"]
    (tmp_path / "texts_for_import.py").unlink()
    monkeypatch.delitem(__import__("sys").modules, "texts_for_import")
    resumed = ["--config", "run.yaml", *options, "--max-steps", "4", "--output-dir", "a", "--resume"]
    assert main(["train", *resumed]) == 0
    assert rows(tmp_path / "a/metrics.jsonl")[-1]["step"] == 4
    assert (tmp_path / "reads").read_text() == "read\nread\n"


def test_what_is_refused_writes_nothing(tmp_path: Path, train: Callable[..., Any]) -> None:
    """A generator that fails in the middle, ids, two names of the text: no run and nothing in the cache."""

    def fails() -> Iterator[str]:
        yield "one"
        raise ValueError("no more")

    with pytest.raises(DataError, match="data failed at item 1: ValueError: no more"):
        train("run", data=fails, max_steps=2)
    with pytest.raises(DataError, match="val_data: item 0 is int, not text"):
        train("run", data=stories, validation=iter([3]), max_steps=2)
    with pytest.raises(ConfigError, match="data and dataset_name both name the text"):
        train("run", data=stories, dataset_name="wikitext", max_steps=2)
    assert not (tmp_path / "run").exists()


def test_every_verb_that_reads_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """prepare, tokenizer train, tokenizer inspect and evaluate take an import string, with the same result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "texts_for_verbs.py").write_text(MODULE)
    (tmp_path / "same.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in stories()))
    options = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["train", "same.jsonl", *options, "--max-steps", "2", "--output-dir", "run"]) == 0
    found = []
    for number, text in enumerate(("same.jsonl", "texts_for_verbs:stories")):
        assert main(["prepare", text, "--tokenizer", "byte", "--output", f"prepared-{number}"]) == 0
        assert main(["tokenizer", "train", text, "--vocab-size", "300", "--output", f"tok-{number}"]) == 0
        capsys.readouterr()
        assert main(["tokenizer", "inspect", f"tok-{number}", "--data", text, "--json"]) == 0
        used = json.loads(capsys.readouterr().out)["data"]
        assert main(["evaluate", "run", text, "--json"]) == 0
        measured = json.loads(capsys.readouterr().out)["loss"]
        found.append([used, measured, open_corpus(tmp_path / f"prepared-{number}").fingerprint])
    assert found[0] == found[1]
    assert evaluate_model("run", stories())["loss"] == found[0][1]


def test_a_dry_run_and_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A dry run reads the program, a plan says that it does not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "texts_for_a_plan.py").write_text(MODULE)
    assert main(["train", "texts_for_a_plan:stories", "--dry-run", "--cache-dir", "cache", "--device", "cpu"]) == 0
    assert main(["plan", "texts_for_a_plan:stories", "--device", "cpu"]) == 2
    assert "a plan does not read text that is given only once" in capsys.readouterr().err

"""A model and a loss that are named by import strings: the same run as with the objects, and never built unasked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import textmill as tm
from textmill.checkpoint.model_folder import load_model
from textmill.cli.main import main
from textmill.config import ModelConfig
from textmill.errors import ConfigError, DataError, ResumeError
from textmill.model.imported_model import import_model
from textmill.training.load_for_own_loop import load_checkpoint

CODE = '''
import torch
import torch.nn.functional as F
from torch import nn

import textmill as tm


class Recurrent(nn.Module):
    """No transformer, and no attribute `config`; one weight has a name like those that old GPT-2 files shorten."""

    def __init__(self, shape):
        super().__init__()
        self.wte = nn.Embedding(shape.vocab_size, shape.d_model)
        self.rnn = nn.GRU(shape.d_model, shape.d_model, batch_first=True)
        self.head = nn.Linear(shape.d_model, shape.vocab_size)

    def forward(self, ids):
        return self.head(self.rnn(self.wte(ids))[0])


def squared(shape):
    model = tm.build_model(shape, seed=3)
    for module in model.modules():
        if hasattr(module, "activation"):
            module.activation = square
    return model


def square(x):
    return F.relu(x).square()


def plain(shape):
    return tm.build_model(shape, seed=3)


def nothing(shape):
    return None


def fails(shape):
    raise RuntimeError("no such thing")


def doubled(model, batch):
    return 2 * F.cross_entropy(model(batch.tokens).flatten(0, 1), batch.targets.flatten(), reduction="sum")


def of_one(model):
    return 0
'''
SHAPE = {"d_model": 16, "num_layers": 2, "num_heads": 2, "max_seq_len": 16, "dropout": 0.0}
SETTINGS: dict[str, Any] = {
    **SHAPE,
    "tokenizer": "byte",
    "batch_size": 4,
    "eval_steps": 3,
    "sample_steps": 3,
    "seed": 5,
}
FLAGS = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The user's module, in the current folder beside `book.txt`; every test imports it anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "named_parts", raising=False)
    Path("book.txt").write_text("The miller grinds corn. " * 100)
    Path("named_parts.py").write_text(CODE)
    import named_parts  # pyright: ignore[reportMissingImports]

    return named_parts


def losses(run: str) -> list[float]:
    return [json.loads(line)["val_loss"] for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def train(*arguments: str) -> int:
    return main(["train", *arguments])


@pytest.mark.parametrize("name", ["Recurrent", "squared"])
def test_it_is_the_run_with_the_objects(parts: Any, name: str) -> None:
    """By flags, stopped and resumed, to the bit the run that is given model and loss as objects."""
    named = ("--model", f"named_parts:{name}", "--loss", "named_parts:doubled")
    assert train("book.txt", *FLAGS, *named, "--max-steps", "3", "--output-dir", "named") == 0
    assert train("--output-dir", "named", "--resume", *named, "--max-steps", "6") == 0
    shape = ModelConfig(vocab_size=257, **SHAPE)
    model = import_model(getattr(parts, name), shape, seed=5)
    given = {"model": model, "loss": parts.doubled, "data": "book.txt", **SETTINGS}
    tm.train(**given, max_steps=3, output_dir="objects", quiet=True)
    given["model"] = import_model(getattr(parts, name), shape, seed=5)
    tm.train(**given, max_steps=6, output_dir="objects", resume=True, quiet=True)
    assert losses("named") == losses("objects") and len(losses("named")) == 2


@pytest.mark.parametrize("name", ["Recurrent", "squared"])
def test_commands_measure_the_model_that_was_trained(parts: Any, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """`evaluate --model` finds the loss of the training; without it nothing is imported, and the flag is named."""
    flag = ["--model", f"named_parts:{name}"]
    assert train("book.txt", *FLAGS, *flag, "--max-steps", "3", "--output-dir", "run") == 0
    assert f"textmill generate run --model named_parts:{name}" in capsys.readouterr().out
    assert main(["evaluate", "run", *flag, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(losses("run")[-1], abs=1e-6)
    assert main(["generate", "run", *flag, "--prompt", "The", "--max-new-tokens", "40", "--seed", "1"]) == 0
    assert len(capsys.readouterr().out.encode()) > 20
    assert main(["verify", "run"]) == 0
    for verb in ("evaluate", "generate"):
        assert main([verb, "run", *(["--prompt", "The"] if verb == "generate" else [])]) == DataError.exit_code
        assert f"add --model named_parts:{name}" in capsys.readouterr().err


def test_code_that_a_run_names_is_not_imported_unasked(parts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A resume needs the names again, or --trust; code that was changed since is said, other code refused."""
    named = ("--model", "named_parts:squared", "--loss", "named_parts:doubled")
    assert train("book.txt", *FLAGS, *named, "--max-steps", "2", "--output-dir", "run") == 0
    assert train("--output-dir", "run", "--resume", "--max-steps", "4") == ConfigError.exit_code
    assert "named_parts:doubled" in capsys.readouterr().err
    assert train("--output-dir", "run", "--resume", "--trust", "--max-steps", "4") == 0
    assert "the code has changed" not in capsys.readouterr().out
    Path("named_parts.py").write_text(CODE + "\n# another line\n")
    assert train("--output-dir", "run", "--resume", "--trust", "--max-steps", "5") == 0
    assert "named_parts:squared: the code has changed" in capsys.readouterr().out
    other = ("--model", "named_parts:plain", "--trust", "--max-steps", "6")
    assert train("--output-dir", "run", "--resume", *other) == ResumeError.exit_code
    assert "not be the same run" in capsys.readouterr().err


def test_a_plain_family_is_saved_as_such(parts: Any) -> None:
    """What a named function builds as the configuration says needs no code to be loaded."""
    assert train("book.txt", *FLAGS, "--model", "named_parts:plain", "--max-steps", "2", "--output-dir", "run") == 0
    assert load_model("run").model.config.d_model == 16
    with pytest.raises(ConfigError, match="leave --model out"):
        load_model("run", builder=parts.plain)


def test_the_weights_are_those_of_the_module(parts: Any) -> None:
    """`load_model` with the builder has the tensors of the checkpoint, under the module's own names."""
    settings = {**SETTINGS, "model": "named_parts:Recurrent"}
    tm.train(data="book.txt", **settings, max_steps=2, output_dir="run", quiet=True)
    mine = import_model(parts.Recurrent, ModelConfig(vocab_size=257, **SHAPE), seed=0)
    load_checkpoint(mine, None, None, "run")
    loaded = load_model("run/final", builder=parts.Recurrent)
    assert all(torch.equal(tensor, mine.state_dict()[name]) for name, tensor in loaded.model.state_dict().items())
    with pytest.raises(DataError, match="named_parts:Recurrent"):
        load_model("run/final")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model", "named_parts:nothing"], "returned NoneType"),
        (["--model", "named_parts:fails"], "RuntimeError: no such thing"),
        (["--model", "named_parts:absent"], "has no 'absent'"),
        (["--model", "no_such_module:build"], "cannot import 'no_such_module'"),
        (["--model", "named_parts"], "package.module:attribute"),
        (["--loss", "named_parts:of_one"], "cannot be called with (model, batch)"),
    ],
)
def test_what_cannot_be_used_is_refused(
    parts: Any, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    """Before anything is written, in one line."""
    assert train("book.txt", *FLAGS, *flags, "--max-steps", "2", "--output-dir", "run") == ConfigError.exit_code
    assert said in capsys.readouterr().err and not Path("run").exists()


@pytest.mark.parametrize("name", ["Recurrent", "squared"])
def test_a_run_starts_with_the_weights_of_such_a_model(
    parts: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """With --init-from and --model: its first loss is the last one of the other run; other tokens are refused."""
    named = ("--model", f"named_parts:{name}", "--max-steps", "3")
    assert train("book.txt", *FLAGS, *named, "--output-dir", "first") == 0
    start = ("book.txt", "--init-from", "first", *named, "--eval-steps", "3")
    still = ("--learning-rate", "1e-30", "--optimizer", "sgd", "--weight-decay", "0")
    assert train(*start, *still, "--batch-size", "4", "--output-dir", "second") == 0
    assert losses("second")[-1] == pytest.approx(losses("first")[-1], abs=1e-6)
    assert train(*start, "--tokenizer", "char", "--output-dir", "third") == 2
    assert "init-from: which weights of a model of your own belong to a token is not known" in capsys.readouterr().err


def test_such_models_are_compared_if_they_are_trusted(parts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`runs compare --on` imports the code of runs with --trust alone, and measures what evaluate measures."""
    for run, words in {"own": ("--model", "named_parts:squared"), "plain": ()}.items():
        assert train("book.txt", *FLAGS, *words, "--max-steps", "2", "--output-dir", run) == 0
    capsys.readouterr()
    assert main(["runs", "compare", "own", "plain", "--on", "book.txt"]) == 0
    told = capsys.readouterr()
    assert "own is not measured: named_parts:squared builds its model, and is imported with --trust alone" in told.err
    assert main(["runs", "compare", "own", "plain", "--on", "book.txt", "--trust", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]["bits_per_byte_on_text"]
    for run, words in {"own": ("--model", "named_parts:squared"), "plain": ()}.items():
        assert main(["evaluate", run, "book.txt", *words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["bits_per_byte"] in found


def test_a_model_is_given_once(parts: Any) -> None:
    """The setting and an object contradict each other, and so for the loss."""
    model = import_model(parts.plain, ModelConfig(vocab_size=257, **SHAPE), seed=0)
    for twice in (
        {"model": model, "config": {"model": "named_parts:plain"}},
        {"loss": parts.doubled, "config": {"loss": "named_parts:doubled"}},
    ):
        with pytest.raises(ConfigError, match="leave one out"):
            tm.train(data="book.txt", **twice, **SETTINGS, max_steps=2, output_dir="run", quiet=True)

"""Every command that a signal ends exits with 128 + its number and leaves nothing unfinished behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from support.run_moments import after_steps
from textmill.checkpoint.model_folder import save_model_folder
from textmill.cli.main import main
from textmill.config import ModelConfig
from textmill.model import build_model
from textmill.tokenizers import make_byte

TEXTS = """
import signal

def texts():
    for number in range(200):
        if number == 100:
            signal.raise_signal({number})
        yield f"a text that is the {{number}}th of its kind and long enough to train on"
"""

CODES = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}


@pytest.fixture
def interrupting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """From a signal to the name of texts that raise it while they are read."""

    def write(number: int) -> str:
        name = f"texts_that_raise_{int(number)}"
        (tmp_path / f"{name}.py").write_text(TEXTS.format(number=int(number)))
        monkeypatch.syspath_prepend(str(tmp_path))
        return f"{name}:texts"

    return write


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained byte model as a folder."""
    tokenizer = make_byte()
    shape = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, num_heads=2, num_layers=1, max_seq_len=16)
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(folder, build_model(shape, seed=1), tokenizer)
    return folder


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("verb", ["prepare", "tokenizer", "evaluate"])
def test_a_command_that_reads_text(
    interrupting: Callable[[int], str],
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    number: signal.Signals,
) -> None:
    """A signal while text is read: the exit code of the signal, one line, and no output folder."""
    output = tmp_path / "output"
    commands = {
        "prepare": ["prepare", interrupting(number), "--tokenizer", "char", "--output", str(output)],
        "tokenizer": ["tokenizer", "train", interrupting(number), "--tokenizer", "char", "--output", str(output)],
        "evaluate": ["evaluate", str(model), interrupting(number), "--device", "cpu"],
    }
    assert main(commands[verb]) == CODES[number]
    assert capsys.readouterr().err.splitlines()[-1] == "textmill: error: interrupted"
    assert not output.exists()
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("verb", ["evaluate", "generate"])
def test_a_command_that_computes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, number: signal.Signals
) -> None:
    """A signal in the first forward pass: the exit code of the signal, and no result."""
    text = tmp_path / "text.txt"
    text.write_text("some words to be measured, again and again. " * 200)
    commands = {
        "evaluate": ["evaluate", str(model), str(text), "--batch-size", "1", "--device", "cpu"],
        "generate": ["generate", str(model), "--prompt", "some", "--device", "cpu"],
    }
    raised: list[int] = []

    def once(module: nn.Module, arguments: object) -> None:
        if not raised:
            raised.append(number)
            signal.raise_signal(number)

    with nn.modules.module.register_module_forward_pre_hook(once):
        assert main(commands[verb]) == CODES[number]
    assert raised
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == "textmill: error: interrupted"
    assert "perplexity" not in captured.out


def test_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGTERM in a trial ends the sweep with 143, and the same command continues it."""
    pytest.importorskip("optuna")
    text = tmp_path / "text.txt"
    text.write_text("some words to be learned, again and again. " * 200)
    command = [
        *("sweep", str(text), "--tokenizer", "char", "--d-model", "16", "--num-layers", "1", "--num-heads", "1"),
        *("--max-seq-len", "32", "--batch-size", "4", "--max-steps", "4", "--sample-steps", "0", "--device", "cpu"),
        *("--search", "learning_rate=1e-4..1e-2", "--trials", "2", "--cache-dir", str(tmp_path / "cache")),
        *("--output-dir", str(tmp_path / "sweep")),
    ]
    with after_steps(lambda step: signal.raise_signal(signal.SIGTERM) if step == 2 else None):
        assert main(command) == 143
    assert "interrupted; the same command continues with it" in "".join(capsys.readouterr())

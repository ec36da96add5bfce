"""The verbs do what they say, on stdout the result and on stderr what is said."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from textmill.cli.main import main

TEXT = "the quick brown fox jumps over the lazy dog. " * 60


class Piped:
    """Standard input that is a pipe."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)
        self._lines = io.StringIO(content.decode("utf-8", "replace"))

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        return self._lines.readline()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained byte model as a folder."""
    from textmill.checkpoint.model_folder import save_model_folder
    from textmill.config import ModelConfig
    from textmill.model import build_model
    from textmill.tokenizers import make_byte

    tokenizer = make_byte()
    shape = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, num_heads=2, num_layers=1, max_seq_len=16)
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(folder, build_model(shape, seed=1), tokenizer)
    return folder


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A small text file."""
    file = tmp_path / "book.txt"
    file.write_text(TEXT)
    return file


def run(*words: Any, capsys: pytest.CaptureFixture[str], code: int = 0) -> tuple[str, str]:
    """Return stdout and stderr of a command."""
    assert main([str(word) for word in words]) == code, capsys.readouterr().err
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_tokenizer_round_trip(
    tmp_path: Path, book: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """train, inspect, encode and decode agree, through arguments and through pipes."""
    folder = tmp_path / "tok"
    out, err = run("tokenizer", "train", book, "--vocab-size", "300", "--output", folder, capsys=capsys)
    assert "bpe tokenizer with" in out and "vocab_size: " in err
    shown = json.loads(run("tokenizer", "inspect", folder, "the fox", "--json", capsys=capsys)[0])
    assert shown["kind"] == "bpe" and "".join(token["text"] for token in shown["tokens"]) == "the fox"
    out, _ = run("tokenizer", "encode", folder, "héllo the fox", capsys=capsys)
    assert run("tokenizer", "decode", folder, *out.split(), capsys=capsys)[0] == "héllo the fox\n"
    monkeypatch.setattr(sys, "stdin", Piped("héllo the fox\n".encode()))
    ids = run("tokenizer", "encode", folder, "--json", capsys=capsys)[0]
    monkeypatch.setattr(sys, "stdin", Piped(ids.encode()))
    assert run("tokenizer", "decode", folder, capsys=capsys)[0] == "héllo the fox\n"
    out, _ = run("tokenizer", "inspect", folder, "the", capsys=capsys)
    assert out.splitlines()[0].split() == ["kind", "bpe"]


def test_tokenizer_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids outside the vocabulary, bytes that are no text and unknown kinds are refused."""
    run("tokenizer", "train", "--tokenizer", "byte", "--output", tmp_path, capsys=capsys)
    _, err = run("tokenizer", "decode", tmp_path, "999", capsys=capsys, code=2)
    assert "999 is not an id of this tokenizer, which accepts 0 to 256" in err
    _, err = run("tokenizer", "decode", tmp_path, "x", capsys=capsys, code=2)
    assert "IDS: must be a whole number" in err
    monkeypatch.setattr(sys, "stdin", Piped(b"ab\xff"))
    assert "not UTF-8 at byte 2" in run("tokenizer", "encode", tmp_path, capsys=capsys, code=65)[1]
    _, err = run("tokenizer", "train", "--tokenizer", "word", "--output", tmp_path / "x", capsys=capsys, code=2)
    assert "must be char, byte, bpe, unigram" in err


def test_prepare_makes_a_corpus(tmp_path: Path, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """prepare writes a folder that holds every token of the text; its JSON counts them."""
    out, _ = run("prepare", book, "--output", tmp_path / "p", "--tokenizer", "byte", "--json", capsys=capsys)
    made = json.loads(out)
    assert made["train_tokens"] + made["validation_tokens"] == len(TEXT)
    assert (made["tokenizer"], made["vocab_size"]) == ("byte", 257)
    out, _ = run("prepare", book, "--output", tmp_path / "q", "--tokenizer", "char", capsys=capsys)
    assert f"textmill train {tmp_path / 'q'}" in out
    _, err = run("prepare", tmp_path / "nothing", "--output", tmp_path / "r", capsys=capsys, code=66)
    assert "nothing" in err and not (tmp_path / "r").exists()


def test_generate_is_reproducible(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal seeds give equal text; JSON holds the continuations; several samples are told apart."""
    words = ("generate", model, "--prompt", "ab", "--max-tokens", "6", "--seed", "3", "--device", "cpu")
    text, _ = run(*words, capsys=capsys)
    assert text.startswith("ab") and text == run(*words, capsys=capsys)[0]
    result = json.loads(run(*words, "--json", capsys=capsys)[0])
    assert "ab" + result["continuations"][0] + "\n" == text
    assert (result["prompt"], result["seed"], result["model"]) == ("ab", 3, str(model))
    out, _ = run(*words, "--num-samples", "2", capsys=capsys)
    assert "--- 1 of 2 ---\nab" in out and "--- 2 of 2 ---\nab" in out


def test_generate_stops_at_a_string(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--stop may be given several times; the text ends before the first of them."""
    words = ("generate", model, "--prompt", "ab", "--max-tokens", "12", "--seed", "3", "--json")
    (full,) = json.loads(run(*words, capsys=capsys)[0])["continuations"]
    stop = full[4]
    (cut,) = json.loads(run(*words, "--stop", "\0never", "--stop", stop, capsys=capsys)[0])["continuations"]
    assert cut == full[: full.index(stop)]


def test_generate_reads_prompts_from_a_pipe(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --prompt standard input is the prompt; --interactive takes one per line."""
    monkeypatch.setattr(sys, "stdin", Piped(b"abc\n"))
    assert run("generate", model, "--max-tokens", "1", capsys=capsys)[0].startswith("abc")
    monkeypatch.setattr(sys, "stdin", Piped(b"one\ntwo\n"))
    out, _ = run("generate", model, "--max-tokens", "1", "--interactive", capsys=capsys)
    assert out.index("one") < out.index("two")


def test_a_terminal_gets_no_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model writes cannot move the cursor of a terminal; a pipe gets it as it is."""
    from textmill.console.standard_streams import write_text as write

    write("a\x1b[2Jb\r\n")
    assert capsys.readouterr().out == "a\x1b[2Jb\r\n\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    write("a\x1b[2Jb\r\tc")
    assert capsys.readouterr().out == "a\ufffd[2Jb\ufffd\tc\n"


def test_evaluate_prints_units_or_json(model: Path, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """evaluate prints one measure per line with its unit, or JSON with the same numbers."""
    pytest.importorskip("textmill.evaluation.evaluate_saved_model")
    measured = json.loads(run("evaluate", model, book, "--json", "--device", "cpu", capsys=capsys)[0])
    assert measured["perplexity"] == pytest.approx(2.718281828 ** measured["loss"])
    assert measured["bits_per_byte"] == pytest.approx(measured["loss"] / 0.693147181, rel=0.01)
    out, _ = run("evaluate", model, book, "--device", "cpu", capsys=capsys)
    assert f"{measured['loss']:.4f}  nats per token" in out


def test_train_runs_a_configuration(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """train hands over the checked configuration and returns the run's exit code."""
    import textmill.training as training

    seen: list[Any] = []

    def stand_in(config: Any, **options: Any) -> Any:
        seen.append(config)
        return type("Result", (), {"exit_code": 143})()

    monkeypatch.setattr(training, "train", stand_in, raising=False)
    run("train", "model", "--data", "a.txt", "--layers", "2", "--no-compile", capsys=capsys, code=143)
    assert (seen[0].data.data, seen[0].model.num_layers) == (["a.txt"], 2)
    assert seen[0].given("compile") and not seen[0].training.compile


def test_standard_input_that_is_closed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal and no pipe: a text goes on from nothing, and a conversation is refused."""
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["generate", str(model), "--max-new-tokens", "1"]) == 0
    assert main(["generate", str(model), "--interactive"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "experiment_l"],
        ["generate", "experiment_l", "--prompt", "x"],
        ["verify", "experiment_l"],
        ["report", "experiment_l"],
        ["runs", "compare", "experiment_1", "experiment_l"],
        ["train", "--config", "experiment_l"],
        ["train", "experiment_l"],
    ],
    ids=" ".join,
)
def test_a_misspelled_folder_is_recognised(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every verb that is given a path says what is called most like it beside it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("experiment_1", "experiment_l_notes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "experiment_1" / "config.yaml").write_text("seed: 1\n")
    assert "did you mean 'experiment_" in run(*words, capsys=capsys, code=66)[1]


def test_units_are_said_once(model: Path, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bits per byte are what the name says, and the loss is in nats per token."""
    lines = run("evaluate", model, book, capsys=capsys)[0].splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("bits per byte")] == ["text"]
    assert all(line.count("bits per byte") <= 1 for line in lines) and lines[0].endswith("nats per token")


def test_a_whole_configuration_needs_no_preset(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a file gives every value, none comes from a preset, and none is spoken of."""
    out, err = run("config", "show", book, "--device", "cpu", capsys=capsys)
    assert "preset: auto-cpu-tiny" in err
    (tmp_path / "shown.yaml").write_text(out)
    assert "preset" not in run("config", "show", "--config", tmp_path / "shown.yaml", capsys=capsys)[1]

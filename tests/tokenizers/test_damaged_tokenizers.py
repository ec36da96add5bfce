"""A tokenizer that textmill wrote is checked for damage wherever it is read, by its name or as part of something."""

from pathlib import Path

import pytest

from textmill.checkpoint.model_folder import save_model_folder
from textmill.cli.main import main
from textmill.config import ModelConfig
from textmill.errors import DataError
from textmill.model import build_model
from textmill.runs.layout import folder_kind
from textmill.tokenizers import load_tokenizer, make_char


def change_a_digit(path: Path) -> None:
    """Change the id of a token: another tokenizer, and nothing looks wrong."""
    text = path.read_text()
    assert text.count('"c":2') == 1
    path.write_text(text.replace('"c":2', '"c":6'))


def test_a_tokenizer_alone_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its folder, one file of it, and a command: 65, what has changed, and what to do."""
    tokenizer = make_char(["abcd"])
    tokenizer.save_alone(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint
    assert folder_kind(tmp_path) is None  # its manifest does not make it a checkpoint
    change_a_digit(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.raises(DataError, match=r"is damaged: tokenizer\.json has changed .*delete MANIFEST\.json"):
            load_tokenizer(path)
    assert main(["tokenizer", "encode", str(tmp_path), "abc"]) == 65
    assert "tokenizer.json has changed" in capsys.readouterr().err
    (tmp_path / "MANIFEST.json").unlink()
    assert load_tokenizer(tmp_path).fingerprint != tokenizer.fingerprint


def test_another_tokenizer_may_be_written_over_it(tmp_path: Path) -> None:
    """The manifest is replaced too."""
    make_char(["abcd"]).save_alone(tmp_path)
    other = make_char(["wxyz"])
    other.save_alone(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == other.fingerprint


def test_the_tokenizer_of_a_model_is_checked_by_the_manifest_of_the_model(tmp_path: Path) -> None:
    """A tokenizer can be taken from a model folder by name, as by --tokenizer; other damage there does not matter."""
    from textmill.checkpoint.manifest import write_manifest

    tokenizer = make_char(["abcd"])
    config = ModelConfig(d_model=8, num_layers=1, num_heads=1, max_seq_len=8, vocab_size=tokenizer.vocab_size)
    save_model_folder(tmp_path, build_model(config), tokenizer)
    write_manifest(tmp_path, 1)
    (tmp_path / "config.json").write_text("{}")
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint
    change_a_digit(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match=r"tokenizer\.json has changed"):
        load_tokenizer(tmp_path)

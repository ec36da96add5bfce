"""What a type checker says about settings: right names have their types, misspelled ones are errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.setting_keywords import FILE, made

SOURCE = Path(__file__).parents[2] / "src"

PROGRAM = """\
from typing import Any

import textmill as tm
from textmill.config import ModelConfig, TrainingConfig

config = tm.load_config(learning_rate=1e-3)
rate: float = config.learning_rate
epochs: float | None = config.epochs
texts: list[str] | None = config.data.data
width: int = config.model.d_model
config.learning_rate = 2e-3
config.training.batch_size = 4
config.lerning_rate = 2e-3  # wrong
config.training.batchsize = 4  # wrong
print(config.batchsize)  # wrong
name: str = config.d_model  # wrong
ModelConfig(d_model=4, num_layer=3)  # wrong
TrainingConfig(lerning_rate=1.0)  # wrong
tm.train(data="book.txt", d_model=64, lr=1e-3, max_length=128, quiet=True, on_signal="return")
tm.train("run.yaml", training=TrainingConfig(epochs=1), mixed_precision=True)
tm.train(data="book.txt", d_modl=64)  # wrong
tm.train(data="book.txt", quiet="yes")  # wrong
tm.Config(n_layers=2, data={"data": "book.txt"})
tm.Config(lerning_rate=1.0)  # wrong
tm.load_config("run.yaml", preset="small", metrics=["package.module:name"], data="book.txt")
tm.load_config(preset="small", batchsize=4)  # wrong
given: dict[str, Any] = {"d_model": 64}
tm.train(data="book.txt", **given)
tm.load_config({"anything": 1}, **given)
"""


def test_the_known_keywords_are_those_of_the_configuration() -> None:
    """`python tests/support/setting_keywords.py` writes them anew."""
    assert FILE.read_text(encoding="utf-8") == made()


def test_settings_are_typed(tmp_path: Path) -> None:
    """Reading, assigning and naming a setting is checked, on a Config and on its sections."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(SOURCE)], "pythonVersion": "3.11"}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    lines = {each["range"]["start"]["line"] for each in found["generalDiagnostics"] if each["severity"] == "error"}
    assert lines == {number for number, line in enumerate(PROGRAM.splitlines()) if line.endswith("# wrong")}

"""What is asked of newer versions of PyTorch, and the one module that asks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch

import textmill
from textmill.errors import ConfigError
from textmill.machine import kernel_choices
from textmill.machine.pytorch_since import CHOICE_OF_FLOAT32_LIBRARY, Since

SOURCE = Path(textmill.__file__).parent
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("installed", "here"),
    [("2.8.0", False), ("2.9.0", True), ("2.10.0+cu128", True), ("2.6.0a0+ecf3bae40a.nv25.01", False), ("3.0.0", True)],
)
def test_versions_are_compared_as_numbers(installed: str, here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """2.10 is newer than 2.9, and what follows the second number does not matter."""
    monkeypatch.setattr(torch, "__version__", installed)
    assert Since("a feature", (2, 9)).here() is here


def test_the_refusal_names_the_feature_and_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what needs which version, which one is installed, and what to do."""
    monkeypatch.setattr(torch, "__version__", "2.6.0+cpu")
    with pytest.raises(ConfigError) as refused:
        Since("a feature", (2, 10)).require("use another")
    assert str(refused.value) == "a feature needs PyTorch 2.10 or newer, and 2.6.0+cpu is installed: use another"
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    Since("a feature", (2, 10)).require("use another")


def test_the_installed_version_has_what_its_number_promises() -> None:
    """PyTorch itself, whichever is installed, has the setting or not, as its number says."""
    assert CHOICE_OF_FLOAT32_LIBRARY.here() is hasattr(torch.backends.mkldnn, "matmul")


def test_without_a_choice_of_libraries_none_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where float32 products have one library, the other is neither set, nor measured, nor recorded as chosen."""
    monkeypatch.setattr(torch, "__version__", "2.8.0")
    monkeypatch.setattr(kernel_choices, "product_seconds", lambda dtype: pytest.fail("measured"))
    monkeypatch.delattr(type(torch.backends.mkldnn), "matmul", raising=False)
    kernel_choices.set_onednn(True)
    assert kernel_choices.onednn_is_exact.__wrapped__() is False
    assert kernel_choices.prefers_onednn.__wrapped__() is False


def test_no_other_module_asks_for_the_version() -> None:
    """A version is compared, and a function of PyTorch looked for, in one place, where its reason is written."""
    asks = re.compile(r"__version__\.|(has|get)attr\(torch")
    found = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if asks.search(path.read_text("utf-8"))]
    assert found == [str(Path("machine", "pytorch_since.py"))]


def test_the_oldest_version_that_is_allowed_is_the_one_that_is_tested() -> None:
    """pyproject.toml and the constraints of the tests on old versions name the same PyTorch and NumPy."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = dict(each.split(">=") for each in project["dependencies"] if re.match(r"(torch|numpy)>=", each))
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    assert set(tested) == set(allowed)
    assert all(f"{tested[name]}.".startswith(f"{allowed[name]}.") for name in allowed)

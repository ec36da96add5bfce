"""Presets are a data file that is installed with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from textmill.config.presets import Preset, auto_presets, every_preset
from textmill.config.setting_lookup import section_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "textmill"


def test_every_data_file_is_installed() -> None:
    """What lies in the package besides Python files is listed as package data, so that a wheel has it."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    data = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".py"}
    assert {name for name in data if "__pycache__" not in name} == set(listed["textmill"])


@pytest.mark.parametrize("name", every_preset())
def test_a_preset_sets_settings_and_says_what_for(name: str) -> None:
    """Every value is a setting of the configuration; the purpose is one line without a full stop."""
    preset = every_preset()[name]
    assert all(section_of(setting) for setting in preset.values)
    assert preset.purpose and "\n" not in preset.purpose and not preset.purpose.endswith(".")


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_purpose_of_an_automatic_preset_names_its_limit(kind: str) -> None:
    """The sentence and the number that decides are the same, and the last preset takes text of any size."""
    *limited, last = auto_presets(kind).values()
    for preset in limited:
        assert f"on a {kind.upper()} for less than {preset.text_below / 1e6:g} MB of text" in preset.purpose
    assert last.text_below == float("inf") and "for more text" in last.purpose
    assert [preset.text_below for preset in limited] == sorted(preset.text_below for preset in limited)


def test_a_preset_made_by_hand_has_no_limit() -> None:
    """Purpose and values are enough."""
    assert Preset("a test", {"epochs": 1}).text_below == float("inf")

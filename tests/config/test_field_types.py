"""What people write becomes the value they mean, or a sentence that says why not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.config.field_types import closest, count, number, or_none, seconds, show, switch, text, texts, whole


@given(st.integers(-(10**12), 10**12))
def test_whole_numbers_survive_every_spelling(value: int) -> None:
    """An int comes back from itself, its text, its float and its scientific notation."""
    assert whole(value) == whole(str(value)) == whole(float(value)) == whole(f"{value:.12e}") == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_their_text(value: float) -> None:
    """A float comes back from its shortest text exactly."""
    assert number(repr(value)) == value


@pytest.mark.parametrize(
    "value", [True, False, None, "", "x", "nan", "inf", "-inf", math.nan, math.inf, "1e400", [1], {}]
)
def test_what_is_no_number_is_refused(value: object) -> None:
    """Booleans, NaN, infinity, overflow and other types are no numbers."""
    with pytest.raises(ValueError, match="must be a"):
        number(value)
    with pytest.raises(ValueError, match="must be a"):
        whole(value)


@pytest.mark.parametrize("value", [0.5, "0.5", "1e-3"])
def test_fractions_are_no_whole_numbers(value: object) -> None:
    """A whole number has no fraction."""
    with pytest.raises(ValueError, match="whole number"):
        whole(value)


@pytest.mark.parametrize(
    ("spelling", "value"),
    [("500k", 500_000), ("2.5B", 2_500_000_000), ("1_000", 1000), ("0.1k", 100), ("3e2 M", 300_000_000), (7, 7)],
)
def test_counts_take_units(spelling: object, value: int) -> None:
    """k, M, B and T multiply by powers of a thousand."""
    assert count(spelling) == value


@pytest.mark.parametrize(
    ("spelling", "value"),
    [(90, 90), ("90", 90), ("1.5", 1.5), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1 d", 86400), ("45 sec", 45)],
)
def test_durations_take_units(spelling: object, value: float) -> None:
    """Seconds without a unit, else days, hours, minutes."""
    assert seconds(spelling) == value


@pytest.mark.parametrize("spelling", ["", "h", "10 parsecs", "1h30", "m10", True, "nan"])
def test_what_is_no_duration_is_refused(spelling: object) -> None:
    """A duration needs a number before each unit and known units."""
    with pytest.raises(ValueError, match="must be a"):
        seconds(spelling)


def test_switches_take_words() -> None:
    """true/yes/on/1 and their opposites, nothing else."""
    assert [switch(word) for word in (True, "yes", "On", 1, "false", "no", 0)] == [True] * 4 + [False] * 3
    for word in ("maybe", 2, None, 1.0):
        with pytest.raises(ValueError, match="true or false"):
            switch(word)


def test_texts_take_one_or_several() -> None:
    """A list takes a string, a path or a list of them; a text takes numbers, because YAML makes them."""
    assert texts("a") == ["a"]
    assert texts([Path("b"), "c"]) == ["b", "c"]
    assert text(7) == "7"
    for wrong in (True, b"x", None):
        with pytest.raises(ValueError, match="must be text"):
            text(wrong)
    with pytest.raises(ValueError, match="zero byte"):
        text("a\0b")


def test_none_has_a_word() -> None:
    """A command line says none where Python says None."""
    assert or_none(whole)("none") is None
    assert or_none(whole)(None) is None
    assert or_none(whole)("3") == 3


def test_shown_values_are_short_single_lines() -> None:
    """An error shows at most 60 characters of a value, on one line."""
    assert "\n" not in show("a\nb")
    assert len(show("x" * 1000)) == 60


def test_hints_name_the_nearest_word() -> None:
    """A near miss is named, a far one is not."""
    assert closest("d_modle", ["d_model", "dropout"]) == "; did you mean 'd_model'?"
    assert closest("zzz", ["d_model"]) == ""

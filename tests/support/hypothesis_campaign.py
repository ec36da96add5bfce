"""A property tried on random inputs: a few that are always the same in the default suite, a thousand when asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

few_or_many = pytest.mark.parametrize("examples", [25, pytest.param(1000, marks=pytest.mark.slow)])
"""Gives a test the number of its examples."""


def campaign(examples: int, inputs: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """`check` has passed on `examples` of the `inputs`; each ends by itself or by the alarm of the command line."""

    @settings(
        max_examples=examples,
        derandomize=examples < 100,
        deadline=None,  # the alarm tells a hang; a machine that others use makes the rest slow now and then
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )
    @given(inputs)
    def passes(one: Any) -> None:
        check(one)

    passes()

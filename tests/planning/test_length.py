"""How long a run is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.errors import ConfigError
from textmill.planning.run_length import Cadence, plan_length, plan_warmup


def test_the_first_limit_reached_sets_the_length() -> None:
    """Of several limits the one that ends first counts, and is named."""
    length = plan_length(rows_per_epoch=100, rows_per_step=8, row_tokens=16, epochs=3, max_steps=20, max_tokens=10**9)
    assert (length.total_steps, length.limit) == (20, "max_steps")
    length = plan_length(rows_per_epoch=100, rows_per_step=8, row_tokens=16, epochs=3)
    assert (length.total_steps, length.limit) == (math.ceil(300 / 8), "epochs")
    length = plan_length(rows_per_epoch=100, rows_per_step=8, row_tokens=16, max_tokens=1000)
    assert (length.total_steps, length.limit) == (8, "max_tokens")
    length = plan_length(rows_per_epoch=100, rows_per_step=8, row_tokens=16, max_time=60.0)
    assert (length.total_steps, length.limit) == (None, "max_time")
    work = {"rows_per_epoch": 100, "rows_per_step": 8, "row_tokens": 16, "max_flops": 1e6}
    length = plan_length(**work, flops_per_token=500)
    assert (length.total_steps, length.limit) == (math.ceil(1e6 / (8 * 16 * 500)), "max_flops")
    with pytest.raises(ConfigError, match="max_flops: what a model of your own computes is not known"):
        plan_length(**work)


@given(rows=st.integers(1, 300), batch=st.integers(1, 64), epochs=st.integers(1, 6))
def test_an_epoch_cadence_is_due_once_per_epoch(rows: int, batch: int, epochs: int) -> None:
    """Whatever the sizes, every epoch that ends makes the act due, in the step in which it ends."""
    length = plan_length(rows_per_epoch=rows, rows_per_step=batch, row_tokens=4, epochs=epochs)
    cadence = length.cadence("epoch")
    due = [step for step in range(1, (length.total_steps or 0) + 1) if cadence.due(step)]
    assert due == sorted({math.ceil(n * rows / batch) for n in range(1, epochs + 1)})


def test_defaults_follow_what_sets_the_length() -> None:
    """Unset cadences are every epoch for a run of epochs, about twenty times for one of steps, never without either."""
    by_epochs = plan_length(rows_per_epoch=10, rows_per_step=2, row_tokens=4, epochs=3)
    by_steps = plan_length(rows_per_epoch=10, rows_per_step=2, row_tokens=4, max_steps=2000)
    assert by_epochs.cadence(None, default_per_run=20).epoch_rows == 10
    assert by_steps.cadence(None, default_per_run=20) == Cadence(steps=100, epoch_rows=None, rows_per_step=1)
    assert not any(by_steps.cadence(0).due(step) for step in range(1, 100))
    soon = by_steps.cadence(None, default_per_run=4, soon=True)
    assert [step for step in range(1, 2001) if soon.due(step)] == [100, 500, 1000, 1500, 2000]
    assert by_steps.cadence(7, default_per_run=4, soon=True) == by_steps.cadence(7)


def test_warmup_is_a_share_unless_it_is_a_number() -> None:
    """Warm-up steps that were asked for win over the share of the run."""
    assert plan_warmup(1000, warmup_steps=None, warmup_ratio=0.05) == 50
    assert plan_warmup(1000, warmup_steps=7, warmup_ratio=0.05) == 7

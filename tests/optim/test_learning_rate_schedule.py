"""The learning rate's course."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textmill.optim.learning_rate_schedule import SCHEDULES, Schedule


@given(
    kind=st.sampled_from(SCHEDULES),
    total=st.integers(1, 5000),
    warmup_share=st.floats(0, 0.9),
    floor=st.floats(0, 1),
    step=st.integers(-1, 6000),
)
def test_stays_between_floor_and_peak(kind: str, total: int, warmup_share: float, floor: float, step: int) -> None:
    """After warm-up every schedule lies between its floor and its peak, at any step, and before the first one too."""
    warmup = int(warmup_share * total)
    rate = Schedule(kind, 2.0, total, warmup, floor)(step)
    assert 0 <= rate <= 2.0
    if max(0, step) >= warmup:
        assert 2.0 * floor - 1e-12 <= rate <= 2.0


@given(kind=st.sampled_from(SCHEDULES), warmup=st.integers(1, 50))
def test_warmup_rises_linearly_to_the_peak(kind: str, warmup: int) -> None:
    """The first step has peak / warmup, the last of the warm-up has the peak, the steps between are on the line."""
    schedule = Schedule(kind, 1.0, 200, warmup)
    assert [schedule(step) for step in range(warmup)] == pytest.approx([(n + 1) / warmup for n in range(warmup)])


def test_cosine_is_that_of_torch() -> None:
    """Without warm-up, the cosine is torch's CosineAnnealingLR at every step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.03)
    schedule = Schedule("cosine", 0.3, 100, min_ratio=0.1)
    for step in range(100):
        assert schedule(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_hand_computed_points() -> None:
    """Each shape has the value that its definition gives by hand at one chosen step."""
    assert Schedule("linear", 1.0, 100, 0, 0.2)(50) == pytest.approx(0.6)
    assert Schedule("polynomial", 1.0, 100, 0, 0.0)(50) == pytest.approx(0.25)
    assert Schedule("constant", 1.0, 100, 0)(99) == 1.0
    assert Schedule("step", 1.0, 100, 0, 0.0, decay_factor=0.5, decay_every=30)(65) == pytest.approx(0.25)
    assert Schedule("exponential", 1.0, 100, 0, 0.0, decay_factor=0.5, decay_every=30)(45) == pytest.approx(0.5**1.5)
    assert Schedule("wsd", 1.0, 100, 0, 0.0, decay_steps=20)(80) == 1.0
    assert Schedule("wsd", 1.0, 100, 0, 0.0, decay_steps=20)(90) == pytest.approx(0.5)
    assert Schedule("cosine", 1.0, 100, 0, 0.0, decay_steps=50)(75) == 0.0


def test_wsd_extends_without_a_trace() -> None:
    """A longer WSD run has the same rates as the shorter one until the shorter one begins to cool down."""
    short = Schedule("wsd", 1.0, 100, 10, decay_steps=20)
    long = Schedule("wsd", 1.0, 300, 10, decay_steps=20)
    assert [short(step) for step in range(80)] == [long(step) for step in range(80)]


def test_unknown_shape_is_refused() -> None:
    """A name that is no schedule is an error that lists the names."""
    with pytest.raises(ValueError, match="cosine"):
        Schedule("cosinus", 1.0, 10)
    assert math.isfinite(Schedule("cosine", 1.0, 1, 1)(0))

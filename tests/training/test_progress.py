"""What a run remembers of its evaluations."""

import math

import pytest
import torch

from textmill.engine.world import World
from textmill.training.progress import Progress


def after(*losses: float, min_delta: float = 0.0) -> Progress:
    """Return the progress of a run with these validation losses after steps 1, 2, ..."""
    progress = Progress()
    for step, loss in enumerate(losses, 1):
        progress.step = step
        progress.record_val_loss(loss, min_delta=min_delta)
    return progress


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3.0, 2.0, 2.5], (2.0, 2)),
        ([3.0, 3.0], (3.0, 1)),
        ([math.nan, 3.0, math.nan], (3.0, 2)),
        ([math.nan], (None, None)),
        ([math.inf, 5.0], (5.0, 2)),
    ],
)
def test_the_best_is_the_first_of_the_lowest_losses(losses: list[float], best: tuple[float | None, int | None]) -> None:
    """A loss that is not a number is never the best."""
    progress = after(*losses)
    assert (progress.best_val_loss, progress.best_step) == best


@pytest.mark.parametrize(
    ("losses", "waited"), [([3.0, 2.95, 2.85], 0), ([3.0, 2.95, 2.92], 2), ([3.0, math.nan, 3.1], 2), ([3.0, 2.8], 0)]
)
def test_only_what_improves_enough_renews_the_patience(losses: list[float], waited: int) -> None:
    """Small improvements add up: they are measured from the last one that counted."""
    assert after(*losses, min_delta=0.1).bad_evaluations == waited


def test_slow_first_steps_are_not_the_speed() -> None:
    """A first step of six seconds, in which kernels are chosen, does not count for those that follow."""
    progress = Progress()
    speeds = []
    for seconds in [6.0, *[0.5] * 19]:
        progress.advance(torch.zeros(()), 1, seconds)
        speeds.append(progress.seconds_per_step)
    assert speeds[0] == 6.0 and speeds[-1] == pytest.approx(0.5)
    saved = Progress.from_state(progress.state(World(0, 1, torch.device("cpu"))), World(0, 1, torch.device("cpu")))
    assert saved.seconds_per_step == progress.seconds_per_step

"""Runs that are limited by time: how many steps they plan, before the first step and on the way."""

import time
from pathlib import Path
from typing import Any

import pytest

from textmill.config import load_config
from textmill.console.screen import Screen
from textmill.training.assemble import assemble
from textmill.training.loop import periodic_actions, steps
from textmill.training.progress import Progress
from textmill.training.time_plan import is_new, is_time_to_plan, steps_that_fit

SHAPE: dict[str, Any] = {"d_model": 16, "num_layers": 1, "num_heads": 1, "max_seq_len": 32, "batch_size": 4}


def progress(step: int, training: float, elapsed: float) -> Progress:
    """Return the progress of a run whose first five steps took 2 seconds."""
    return Progress(step=step, training_seconds=training, elapsed_seconds=elapsed, warm_seconds=2.0)


def test_steps_that_fit_by_hand() -> None:
    """105 steps: 5 in 2 s, 100 in 10 s, one second before them: 0.1 s each, 5 s are left for what is unseen."""
    assert steps_that_fit(progress(105, 12.0, 13.0), 100.0, (1, 1.0)) == 105 + int((95 - 13) / 0.1)


def test_what_evaluations_took_is_expected_again() -> None:
    """The same with 10.4 s of evaluating: 0.1 s more of each step, and 1 % left for the last save."""
    fit = steps_that_fit(progress(105, 12.0, 23.4), 100.0, (1, 1.0))
    assert fit == pytest.approx(105 + (99 - 23.4) / 0.2, abs=1)


def test_a_run_that_is_late_takes_one_more_step() -> None:
    """There is always an end to plan for."""
    assert steps_that_fit(progress(105, 99.0, 101.0), 100.0, (1, 1.0)) == 106


def test_when_it_is_time_to_plan() -> None:
    """After 20, 40, 80 steps and so on, after evaluations, and in the last tenth; not before the speed is known."""
    assert [n for n in range(1, 400) if is_time_to_plan(n, None, after_evaluation=False)] == [20, 40, 80, 160, 320]
    assert not is_time_to_plan(7, None, after_evaluation=True)
    assert is_time_to_plan(77, 100, after_evaluation=True)
    assert [n for n in range(81, 100) if is_time_to_plan(n, 100, after_evaluation=False)] == list(range(90, 100))


@pytest.mark.parametrize(
    ("total", "planned", "asked", "step", "new"),
    [
        (500, None, None, 20, True),
        (504, 500, None, 20, False),
        (520, 500, None, 20, True),
        (520, 500, 500, 20, False),
        (520, 500, None, 450, False),
        (499, 500, None, 450, False),
        (498, 500, None, 450, True),
    ],
)
def test_which_plans_are_new(total: int, planned: int | None, asked: int | None, step: int, new: bool) -> None:
    """One per cent is noise; the steps that were asked for are the most; in the last tenth a run is only shortened."""
    assert is_new(total, planned, asked, step) == new


def test_dropout_follows_the_time(tmp_path: Path) -> None:
    """One second is a fraction of an epoch of the text, a day are thousands: none, and the preset's dropout."""
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{number} is a number, and its square is {number * number}.\n" for number in range(4000)))
    found = []
    for limit in ("1s", "1d"):
        config = load_config(
            data=str(text), tokenizer="byte", max_time=limit, output_dir=str(tmp_path / limit), threads=1, **SHAPE
        )
        with assemble(config, screen=Screen(quiet=True)) as run:
            found.append(run.config.model.dropout)
            run.ends_early = True
    assert found == [0.0, 0.2]


def test_a_run_ends_by_its_plan_and_not_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of which every question takes a hundredth of a second, every evaluation one, and the steps from the
    200th on twice as long: the last step is planned, its learning rate is the lowest, and 1 % of the time is left."""
    text = tmp_path / "text.txt"
    text.write_text("All work and no play makes Jack a dull boy.\n" * 100)
    config = load_config(
        data=str(text), tokenizer="byte", max_time=60, output_dir=str(tmp_path / "run"), sample_steps=0, **SHAPE
    )
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.01
        return now

    with assemble(config, screen=Screen(quiet=True)) as run:
        monkeypatch.setattr(time, "perf_counter", clock)
        run.started_at = clock()
        for step in steps(run):
            periodic_actions(run, step)
            now += 1.0 if step.every(run.eval_every) else 0.0
            now += 0.05 if step.number >= 200 else 0.0
        assert run.stop_reason == "finished"
        assert 300 < run.progress.step == run.progress.total_steps == run.schedule.total_steps
        assert 0.95 * 60 < run.elapsed_seconds < 60

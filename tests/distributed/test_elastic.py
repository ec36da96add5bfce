"""A run goes on with another number of processes and another engine: the same rows, the same losses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.rank_processes import Ranks, run_together, values


def test_resume_across_one_two_and_four_processes_and_engines(
    small_command: list[str], single_process_run: Path, tmp_path: Path
) -> None:
    """5 steps each in 1 process, 2 with FSDP, 4 with DDP and 2 with DDP are the 20 steps of one process, to 1e-5."""
    run = tmp_path / "run"
    every = ["--eval-steps", "7", "--save-steps", "10", "--sample-steps", "0", "--output-dir", str(run)]
    stages = [(1, "auto", 5), (2, "fsdp", 10), (4, "ddp", 15), (2, "ddp", 20)]
    for number, (size, engine, steps) in enumerate(stages):
        begin = [*small_command, "--batch-size", "8"] if number == 0 else ["train", "--resume"]

        def stop(rank: int, *, steps: int = steps) -> None:
            """The run plans its schedule for 20 steps and is left after `steps`."""
            from textmill.training.run import Run

            whole = Run.should_stop

            def should_stop(self: Run) -> str | None:
                return whole(self) or ("SIGTERM" if self.progress.step == steps < 20 else None)

            Run.should_stop = should_stop  # type: ignore[method-assign]

        ranks = Ranks(
            tmp_path / f"said-{number}", [*begin, *every, "--max-steps", "20", "--engine", engine], size, before=stop
        )
        assert ranks.wait() == [143 if steps < 20 else 0] * size, ranks.said()
        assert "global batch" not in ranks.said()
    for name in ("train_loss", "grad_norm", "tokens"):
        assert values(run / "steps.jsonl", name) == pytest.approx(
            values(single_process_run / "steps.jsonl", name), rel=1e-5
        ), name
    for name in ("val_loss", "train_loss"):  # of seven steps, some before and some after a change of processes
        assert values(run / "metrics.jsonl", name) == pytest.approx(
            values(single_process_run / "metrics.jsonl", name), abs=1e-5
        ), name
    assert json.loads((run / "status.json").read_text())["state"] == "finished"


def test_muon_computes_whole_matrices_from_parts(small_command: list[str], tmp_path: Path) -> None:
    """Muon under FSDP gives the losses of one process: its matrices are whole when they are orthogonalised."""
    length = ["--max-steps", "6", "--eval-steps", "6", "--sample-steps", "0"]
    muon = ["muon" if word == "adamw" else word for word in small_command]
    for size, engine in ((1, "single"), (2, "fsdp")):
        command = [*muon, *length, "--batch-size", str(8 // size), "--engine", engine]
        run_together(tmp_path / f"said-{size}", [*command, "--output-dir", str(tmp_path / engine)], size)
    # Newton-Schulz iterates in bfloat16, which turns rounding of the last bit into differences of about 1e-3.
    assert values(tmp_path / "fsdp" / "steps.jsonl", "train_loss") == pytest.approx(
        values(tmp_path / "single" / "steps.jsonl", "train_loss"), abs=2e-3
    )


def test_a_global_batch_that_cannot_be_split_is_refused(
    small_command: list[str], tmp_path: Path, start_ranks: Callable[..., Ranks]
) -> None:
    """Two processes for a global batch of three rows: exit code 78 on both, and one line that names what would do."""
    run = tmp_path / "run"
    begin = [*small_command, "--batch-size", "3", "--max-steps", "2", "--sample-steps", "0", "--output-dir", str(run)]
    run_together(tmp_path / "said", begin, 1)
    ranks = start_ranks(["train", "--output-dir", str(run), "--resume", "--max-steps", "4"], 2)
    assert ranks.wait() == [78, 78], ranks.said()
    errors = [line for line in ranks.said().splitlines() if "error:" in line]
    assert len(errors) == 1
    assert "global batch of 3 rows cannot be split over 2 processes; use 1, 3" in errors[0]

"""Many processes compute what one computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.rank_processes import run_together, stored, values


def assert_same_numbers(golden: Path, other: Path, *, tolerance: float = 1e-5) -> None:
    """Training and validation losses, gradient norms and weights of two runs agree."""
    for name in ("train_loss", "grad_norm", "tokens", "learning_rate"):
        assert values(other / "steps.jsonl", name) == pytest.approx(
            values(golden / "steps.jsonl", name), rel=tolerance, abs=tolerance
        ), name
    for name in ("train_loss", "val_loss", "val_accuracy", "val_bits_per_byte", "best_val_loss"):
        assert values(other / "metrics.jsonl", name) == pytest.approx(
            values(golden / "metrics.jsonl", name), abs=tolerance
        ), name
    ours, theirs = (stored(run / "final") for run in (golden, other))
    assert ours and ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).abs().max() < 50 * tolerance, name


@pytest.mark.parametrize(("engine", "batch", "accumulation"), [("ddp", 1, 4), ("fsdp", 2, 2)])
def test_two_processes_are_one(
    small_command: list[str],
    twenty_steps: list[str],
    single_process_run: Path,
    tmp_path: Path,
    engine: str,
    batch: int,
    accumulation: int,
) -> None:
    """Twenty steps on two processes give the losses of one to 1e-5, uneven micro-batches and evaluation included.

    Under FSDP the layers are also recomputed in the backward pass, which must gather them once more.
    """
    ranks = run_together(
        tmp_path / "said",
        [
            *small_command,
            *twenty_steps,
            *("--batch-size", str(batch), "--gradient-accumulation-steps", str(accumulation), "--engine", engine),
            *(["--gradient-checkpointing"] if engine == "fsdp" else []),
            *("--output-dir", str(tmp_path / "run")),
        ],
        2,
    )
    assert_same_numbers(single_process_run, tmp_path / "run")
    assert "x 2 processes = 8 rows" in ranks.said(0)
    assert f"2 processes ({engine})" in ranks.said(0)
    assert ranks.said(1) == ""
    samples = [json.loads((run / "samples.jsonl").read_text()) for run in (single_process_run, tmp_path / "run")]
    assert samples[0] == samples[1] and samples[0]["text"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 21))


def test_the_result_for_programs_is_printed_once(small_command: list[str], tmp_path: Path) -> None:
    """Of two processes asked for JSON, the first prints it, and the other says nothing."""
    arguments = [*small_command, "--max-steps", "2", "--sample-steps", "0", "--batch-size", "4", "--json"]
    ranks = run_together(tmp_path / "said", [*arguments, "--output-dir", str(tmp_path / "run")], 2)
    assert '"total_steps": 2' in ranks.said(0)
    assert "{" not in ranks.said(1) and "step" not in ranks.said(1)

"""Real training through deepspeed.initialize, on CPUs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.rank_processes import Ranks, run_together, stored, values

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs textmill[deepspeed]")


def assert_same(one: Path, other: Path) -> None:
    for name in ("train_loss", "grad_norm"):
        assert values(other / "steps.jsonl", name) == pytest.approx(
            values(one / "steps.jsonl", name), rel=1e-5, abs=1e-5
        ), name
    assert values(other / "metrics.jsonl", "val_loss") == pytest.approx(
        values(one / "metrics.jsonl", "val_loss"), abs=1e-5
    )
    states = [stored(sorted((run / "checkpoints").iterdir())[-1], "optimizer") for run in (one, other)]
    assert states[0] and states[0].keys() == states[1].keys()
    for key, tensor in states[0].items():
        assert (tensor - states[1][key]).abs().max() < 1e-5, key


@pytest.fixture(scope="module")
def compiled() -> None:
    """DeepSpeed is imported and what it compiles on first use is there: that takes minutes, and processes that are
    killed in the middle of it leave a lock behind for which every later one waits."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from deepspeed.comm.torch import build_shm_op  # pyright: ignore[reportMissingImports]

    build_shm_op()


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_trains_as_one_process_does_and_goes_on_anywhere(
    small_command: list[str], twenty_steps: list[str], single_process_run: Path, tmp_path: Path, stage: int
) -> None:
    """Two processes under ZeRO give the losses and optimizer state of one to 1e-5; it resumes in both directions."""
    file = tmp_path / "ds.json"
    optimizer = {"type": "AdamW", "params": {"lr": 3e-3}}
    batch = {"train_batch_size": 8, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2}
    file.write_text(json.dumps({**batch, "optimizer": optimizer, "zero_optimization": {"stage": stage}}))
    run = tmp_path / "run"
    command = [*small_command, *twenty_steps, "--deepspeed-config", str(file), "--output-dir", str(run)]
    ranks = run_together(tmp_path / "said", command, 2)
    assert "2 processes (deepspeed)" in ranks.said(0)
    assert_same(single_process_run, run)

    there = tmp_path / "there"
    shutil.copytree(single_process_run, there)
    again = ["train", "--resume-from", "step-10", "--output-dir"]
    run_together(tmp_path / "to", [*again, str(there), "--deepspeed-config", str(file)], 2)
    assert_same(single_process_run, there)
    run_together(tmp_path / "back", [*again, str(run), "--engine", "single"], 1)
    assert_same(single_process_run, run)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_what_fsdp_wrote_goes_on_under_zero_and_back(
    small_command: list[str], twenty_steps: list[str], single_process_run: Path, tmp_path: Path
) -> None:
    """The first half under FSDP, whose checkpoint is files of both processes, the second under ZeRO, and reversed."""
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"train_batch_size": 8, "zero_optimization": {"stage": 2}}))
    again = ["train", "--resume-from", "step-10", "--output-dir"]
    engines = {"fsdp": ["--engine", "fsdp"], "zero": ["--deepspeed-config", str(file)]}
    for first, second in (("fsdp", "zero"), ("zero", "fsdp")):
        run = tmp_path / first
        begin = [*small_command, *twenty_steps, "--batch-size", "4", *engines[first], "--output-dir", str(run)]
        run_together(tmp_path / f"said-{first}", begin, 2)
        run_together(tmp_path / f"then-{second}", [*again, str(run), *engines[second]], 2)
        assert_same(single_process_run, run)


@needs_deepspeed
@pytest.mark.slow
def test_fp16_on_a_cpu_is_refused_in_one_line(
    small_command: list[str], tmp_path: Path, start_ranks: Callable[..., Ranks]
) -> None:
    """DeepSpeed computes fp16 on GPUs only; both processes end with the same code, and one of them says why."""
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"fp16": {"enabled": True}, "zero_optimization": {"stage": 2}}))
    small_command = [word for word in small_command if word not in ("--precision", "fp32")]
    command = [*small_command, "--max-steps", "2", "--device", "cpu", "--deepspeed-config", str(file)]
    ranks = start_ranks([*command, "--output-dir", str(tmp_path / "run")], 2)
    assert ranks.wait() == [2, 2], ranks.said()
    errors = [line for line in ranks.said().splitlines() if "error:" in line]
    assert len(errors) == 1
    assert "fp16 needs a GPU" in errors[0]


def test_without_the_package_all_processes_say_so_once(
    small_command: list[str], tmp_path: Path, start_ranks: Callable[..., Ranks]
) -> None:
    """--engine deepspeed where it is not installed: exit code 2, one line that names the extra, nothing written."""
    if importlib.util.find_spec("deepspeed") is not None:
        pytest.skip("deepspeed is installed here")
    run = tmp_path / "run"
    command = [*small_command, "--max-steps", "2", "--engine", "deepspeed", "--output-dir", str(run)]
    ranks = start_ranks(command, 2)
    assert ranks.wait() == [2, 2], ranks.said()
    errors = [line for line in ranks.said().splitlines() if "error:" in line]
    assert len(errors) == 1
    assert "textmill[deepspeed]" in errors[0]
    assert not (run / "config.yaml").exists()

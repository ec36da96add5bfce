"""The command that checks and measures a GPU: its whole flow on the CPU, and what it does when something fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu import CHECKS, failed, jobs, lines_of, parser
from gpu_checks import CHECKS as KNOWN
from gpu_checks import Measure
from worker_jobs import Job, run_jobs

COMMAND = [sys.executable, str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_the_whole_flow_on_the_cpu(tmp_path: Path) -> None:
    """Every check passes in tiny shapes, both optimizers are measured, and each line is in the file."""
    output = tmp_path / "results.jsonl"
    done = run("--dry-run", "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(line) for line in output.read_text().splitlines()]
    names = [record["job"] for record in records]
    checks = [f"check {name}" for name in CHECKS]
    assert names == ["machine", *checks, "speed tiny muon eager", "speed tiny adamw eager"]
    assert not [record for record in records if "error" in record]
    measures = [measure for record in records if record["job"].startswith("check") for measure in record["result"]]
    assert len(measures) > 15 and all(measure["passed"] for measure in measures)
    for record in records[-2:]:
        speed = record["result"]
        assert speed["tokens_per_second"] > 0 and speed["tokens_per_step"] == 128 and speed["parameters"] > 10_000
        assert f"{speed['tokens_per_second']:,}" in done.stdout


def test_without_a_gpu_one_line_says_so() -> None:
    """Nothing is run, and the exit code is 1."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run()
    assert done.returncode == 1
    assert "PyTorch sees no GPU here" in done.stdout and "--dry-run" in done.stdout


def test_a_job_that_fails_costs_one_line() -> None:
    """A job that raises, one that ends its process and one that hangs are errors; the jobs after them run."""
    made = [
        Job("fine", "json:loads", {"s": "[1]"}),
        Job("raises", "json:loads", {"s": "["}),
        Job("dies", "os:_exit", {"status": 3}),
        Job("hangs", "subprocess:run", {"args": ["sleep", "60"]}, seconds=0.5),
        Job("again", "json:loads", {"s": "[2]"}),
    ]
    answers = {job.name: answer for job, answer in run_jobs(made, seconds=60)}
    assert (answers["fine"]["result"], answers["again"]["result"]) == ([1], [2])
    assert answers["raises"]["error"].startswith("JSONDecodeError: Expecting value")
    assert answers["dies"]["error"] == "the process ended with exit code 3"
    assert answers["hangs"]["error"] == "stopped after 0 s, its time limit"
    assert all(len(lines_of(job, answers[job.name])) == 1 for job in made if "error" in answers[job.name])


def test_what_no_time_is_left_for_is_not_begun() -> None:
    """A budget of no seconds begins nothing, and says so of every job."""
    answers = [answer for _, answer in run_jobs([Job("a", "json:loads", {"s": "1"})], seconds=0)]
    assert [answer["error"] for answer in answers] == ["not begun: the 0 s of all jobs are over"]


def test_the_time_limits_fit_the_promise() -> None:
    """Checks are those of gpu_checks.py; --quick and --only leave lines out; 8 minutes are for all together."""
    assert CHECKS.keys() == KNOWN.keys()
    arguments = parser().parse_args([])
    assert arguments.seconds <= 8 * 60
    assert len(jobs(arguments)) == 1 + len(CHECKS) + 12
    assert len(jobs(parser().parse_args(["--quick"]))) == 1 + len(CHECKS) - 1 + 4
    only = [job.name for job in jobs(parser().parse_args(["--only", "speed", "350M"]))]
    assert only[0] == "machine" and len(only) == 5 and all("350M" in name for name in only[1:])


@pytest.mark.parametrize(
    ("value", "passed"), [(0.5, True), (1.0, True), (1.5, False), (float("nan"), False), (None, True)]
)
def test_a_number_beyond_its_limit_is_a_failure(value: float | None, passed: bool) -> None:
    """NaN never passes; what cannot be measured without a GPU fails nothing."""
    measure = Measure("number", value, 1.0)
    assert measure.passed is passed
    shown: dict[str, Any] = {"what": "number", "value": value, "limit": 1.0, "passed": measure.passed}
    assert failed({"result": [shown]}) is not passed
    assert ("FAILED" in lines_of(Job("check x", "m:f"), {"result": [shown]})[0]) is not passed

"""What must be true on a GPU. Run with `pytest -m gpu`; where PyTorch sees no GPU these tests are skipped."""

from __future__ import annotations

import pytest
import torch
from gpu_checks import CHECKS
from worker_jobs import Job, run_jobs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and PyTorch sees none here"),
]


@pytest.mark.parametrize("name", CHECKS)
def test_every_number_is_within_its_limit(name: str) -> None:
    """A check of benchmarks/gpu_checks.py, in a process of its own, measures nothing beyond its limit."""
    job = Job(name, "gpu_checks:check", {"name": name, "device": "cuda", "small": False}, seconds=300)
    ((_, answer),) = run_jobs([job], seconds=420)
    assert "error" not in answer, answer["error"]
    assert answer["result"]
    assert [measure for measure in answer["result"] if not measure["passed"]] == []

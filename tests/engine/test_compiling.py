"""What cannot be compiled is computed as it is, which is said once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from textmill.engine.compiling import Compiler


@pytest.mark.slow
def test_a_run_goes_on_without_a_compiler(tmp_path: Path) -> None:
    """With a C++ compiler that fails, --compile says so once, and the run learns and ends with 0."""
    text = tmp_path / "book.txt"
    text.write_text("Once upon a time there was a compiler. " * 100)
    words = [str(text), "--tokenizer=byte", "--d-model=32", "--num-layers=1", "--num-heads=2", "--max-seq-len=32"]
    words += ["--batch-size=4", "--max-steps=3", "--logging-steps=1", "--sample-steps=0", "--seed=5", "--device=cpu"]
    words += [f"--output-dir={tmp_path / 'run'}", f"--cache-dir={tmp_path / 'cache'}", "--precision=fp32", "--compile"]
    variables = {"CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "textmill", "train", *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("compile: off, because compiling failed (") == 1, said
    assert "Traceback" not in said and "defect" not in said
    rows = (tmp_path / "run" / "steps.jsonl").read_text().splitlines()
    losses = [json.loads(row)["train_loss"] for row in rows]
    assert len(losses) == 3 and losses[2] < losses[0]


class Broken(Exception):
    """What a compiler raises that nobody has heard of."""


def test_after_a_failure_nothing_more_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model and loss share one failure: inductor is asked once, one sentence is said, the results are exact."""
    asked: list[object] = []

    def broken(graph: object, inputs: object) -> None:
        asked.append(graph)
        raise Broken("no kernel for sm_75\nand more")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
    said: list[str] = []
    compiler, model, x = Compiler(said.append), nn.Linear(3, 2), torch.ones(1, 3, requires_grad=True)
    compiled, loss = compiler(model), compiler(torch.tanh)
    result = loss(compiled(x)).sum()
    assert torch.equal(result, torch.tanh(model(x)).sum())
    result.backward()
    assert x.grad is not None
    assert said == [
        "compile: off, because compiling failed (no kernel for sm_75); the run goes on without, only slower"
    ]
    assert len(asked) == 1


def test_memory_that_runs_out_while_compiling_is_no_failure_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory is passed on, so that the run says what needs less."""

    def greedy(graph: object, inputs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", greedy)
    with pytest.raises(RuntimeError, match="out of memory"):
        Compiler(pytest.fail)(nn.Linear(3, 2))(torch.ones(1, 3))


def test_a_system_without_torch_compile_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch.compile itself refuses, as on a version of Python that it does not know, the model stays as it is."""

    def unsupported(*arguments: object, **options: object) -> None:
        raise RuntimeError("Python 3.15+ not yet supported for torch.compile")

    monkeypatch.setattr(torch, "compile", unsupported)
    said: list[str] = []
    model = nn.Linear(3, 2)
    assert Compiler(said.append)(model) is model
    assert len(said) == 1 and "Python 3.15+" in said[0]

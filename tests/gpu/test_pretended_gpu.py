"""Training, resuming, evaluating and generating on a GPU that exists in name only: see support/pretended_gpu.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from textmill.machine.pytorch_since import Since

TESTS = Path(__file__).resolve().parents[1]

PROGRAM = "import sys, support.pretended_gpu, support.pretended_runs as runs; runs.main(sys.argv[1])"
"""The device has to be there before anything imports torch."""

Found = dict[str, Any]

HOOKS = Since("the pretended GPU", (2, 8))
"""Those of 2.6 have other signatures, for which the library does not compile."""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the pretended GPU is compiled for Linux"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="the pretended GPU needs g++, which is not installed"),
    pytest.mark.skipif(torch.version.cuda is not None, reason="the pretended GPU needs PyTorch's build without CUDA"),
    pytest.mark.skipif(not HOOKS.here(), reason=HOOKS.in_words()),
]


def found_on(kind: str, folder: Path) -> Found:
    """Return what happened in a process that has the device from its first line."""
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    environment = {**os.environ, "TEXTMILL_PRETENDED_GPU": kind, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout)


def found_once(kind: str, factory: pytest.TempPathFactory) -> Found:
    """Return what `found_on` returns; of several processes that run these tests one asks, and the others wait."""
    shared = factory.getbasetemp().parent / f"pretended-{kind}-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            shared.write_text(json.dumps(found_on(kind, factory.mktemp(kind))))
        return json.loads(shared.read_text())


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return found_once("cuda", tmp_path_factory)


@pytest.fixture(scope="module")
def mps(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return found_once("mps", tmp_path_factory)


def test_no_step_on_cuda_waits_for_the_device(cuda: Found) -> None:
    """Every optimizer, family and precision takes its steps without a wait or a copy."""
    steps = cuda["training_steps"]
    assert len(steps) == 4 + 4 + 9 - 2
    assert {name: counts for name, counts in steps.items() if counts} == {}


def test_a_step_on_mps_waits_once(mps: Found) -> None:
    """The kernels of MPS do not look at the flag that skips a step, so the host has to, once."""
    assert len(mps["training_steps"]) == 4 + 3 - 1
    for name, counts in mps["training_steps"].items():
        assert counts == {"wait, engine/clip_and_step.py:step": 1}, name


def test_a_loss_in_parts_waits_for_nothing(cuda: Found, mps: Found) -> None:
    """Its parts need no value on the host, in any precision; on MPS the step waits once, as always."""
    assert set(cuda["losses_in_parts"]) == {"fp32", "bf16", "fp16"}
    assert not any(cuda["losses_in_parts"].values())
    assert mps["losses_in_parts"] == {"fp32": {"wait, engine/clip_and_step.py:step": 1}}


def test_rows_of_an_evaluation_come_from_pinned_memory(cuda: Found) -> None:
    """Every copy of ids and targets is from pinned memory, which PyTorch keeps; only the five sums are waited for."""
    counts = cuda["evaluation_of_a_folder"]
    copies = counts.pop("cpu to cuda, not waiting, data/batches/loader.py:<lambda>")
    assert copies >= 4 and copies % 2 == 0
    assert {what: count for what, count in counts.items() if "cpu to" in what or "wait" in what} == {
        "wait, evaluation/evaluate_batches.py:<genexpr>": 5
    }


def test_an_evaluation_and_a_sample_within_a_run_wait_at_their_ends(cuda: Found) -> None:
    """Rows come from pinned memory, and the five sums are read at the end; of 20 characters the last is waited for."""
    evaluated, sampled = cuda["in_a_run"]["evaluate"], cuda["in_a_run"]["sample"]
    assert evaluated.pop("wait, evaluation/evaluate_batches.py:<genexpr>") == 5
    assert evaluated.keys() == {"cpu to cuda, not waiting, data/batches/loader.py:<lambda>"}
    waits = {what: count for what, count in sampled.items() if "wait" in what and "not waiting" not in what}
    assert waits == {
        "wait for an earlier step, generation/ids_to_host.py:read": 19,
        "wait, generation/ids_to_host.py:read": 1,
    }
    assert {what for what in sampled if what.startswith("cpu to cuda, gen")} == {
        "cpu to cuda, generation/token_loop.py:__init__"  # the prompt, and the ids that no text may contain
    }


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_between_log_lines_the_loop_waits_for_nothing(cuda: Found, optimizer: str) -> None:
    """Of a run that reports after every third step only that step waits; rows come from pinned memory meanwhile."""
    rows = {"cpu to cuda, not waiting, data/batches/loader.py:<lambda>": 4}  # ids and targets of two micro-batches
    first, *others = cuda["whole_runs"][optimizer]
    assert first.pop("cpu to cuda, engine/single_and_ddp.py:__init__") > 0  # the weights, once
    assert [first, others[0], *others[2:]] == [rows] * 4
    assert {what for what in others[1] if what not in rows} == {"synchronize", "wait, training/loss_spikes.py:_sums"}


def test_on_mps_every_copy_of_rows_waits(mps: Found) -> None:
    """A copy that does not wait would read memory that is in use for something else by then."""
    for steps in mps["whole_runs"].values():
        for counts in steps:
            assert counts["cpu to mps, data/batches/loader.py:<lambda>"] == 4
            assert not [what for what in counts if "not waiting" in what]


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_restored_state_lies_where_a_fresh_optimizer_puts_it(kind: str, request: pytest.FixtureRequest) -> None:
    """Whichever kernels the run was begun with, and it goes on without copying anything between devices."""
    resumed = request.getfixturevalue(kind)["resumed"]
    assert len(resumed) == 4 * 3
    for name, devices in resumed.items():
        assert devices["restored"] == devices["fresh"], name
        assert set(devices["fresh"].values()) == {kind}, name
        assert devices["copies"] == [], name


@pytest.mark.parametrize(("kind", "formats"), [("cuda", 3), ("mps", 1)])
def test_every_family_is_evaluated_and_generates(kind: str, formats: int, request: pytest.FixtureRequest) -> None:
    """In every precision; the sums of an evaluation are read at its end, and nothing else is waited for."""
    found = request.getfixturevalue(kind)["evaluation_and_generation"]
    assert len(found) == 3 * formats
    assert [counts["new"] for counts in found.values()] == [70, *[26] * (3 * formats - 1)]
    for name, counts in found.items():
        assert not [what for what in counts["evaluated"] if "not waiting" in what], name
        if kind == "cuda":
            assert counts["evaluated"]["wait, evaluation/evaluate_batches.py:<genexpr>"] == 4, name


def test_cuda_never_waits_for_the_host_to_read_a_token(cuda: Found) -> None:
    """It has been given the next step when the ids of one are waited for; only the last ones have nothing after them.

    Two groups of prompts: a copy of ids for each token, random numbers 64 at a time, and prompts and banned ids once.
    """
    for name, counts in cuda["evaluation_and_generation"].items():
        tokens = 2 * counts["new"]
        assert counts["generated"] == {
            "cpu to cuda, generation/token_loop.py:__init__": 2 * 2,
            "cpu to cuda, not waiting, generation/token_loop.py:_draws": 2 * (1 + (counts["new"] > 64)),
            "cuda to cpu, not waiting, generation/ids_to_host.py:ids_to_host": tokens,
            "wait for an earlier step, generation/ids_to_host.py:read": tokens - 1,
            "wait, generation/ids_to_host.py:read": 1,
        }, name


def test_a_token_on_mps_waits_for_its_scores_alone(mps: Found) -> None:
    """They are drawn from on the host; whether they are finite comes with them."""
    for name, counts in mps["evaluation_and_generation"].items():
        waits = {what: count for what, count in counts["generated"].items() if "mps to cpu" in what or "wait" in what}
        tokens = 2 * counts["new"]
        assert waits == {
            "mps to cpu, generation/sampling.py:draw": tokens,
            "mps to cpu, generation/sampling.py:sample_unread": tokens,
        }, name


def test_a_block_that_is_computed_again_has_its_dropout_again(mps: Found, cuda: Found) -> None:
    """On MPS each of three blocks is seeded, and the backward pass seeds them alike, last first."""
    assert mps["recomputed_dropout"] == [0, 1, 2, 2, 1, 0]
    assert cuda["recomputed_dropout"] == []


def test_fp32_is_float32_wherever_a_gpu_computes(cuda: Found) -> None:
    """Without TF32 in training and evaluation alike, which is said; TF32 beside half precision; nothing remains set."""
    exact = {"training": "highest", "evaluation": ["highest"], "afterwards": "highest", "said": True}
    fast = {"training": "high", "evaluation": ["high"], "afterwards": "highest", "said": False}
    assert cuda["float32_products"] == {"fp32": exact, "bf16": fast, "fp16": fast}


def test_compiled_blocks_cannot_be_seeded_again(mps: Found) -> None:
    """On MPS a compiled run with recomputed dropout is refused, and the settings are named."""
    assert mps["refused"].startswith("compile, gradient_checkpointing and dropout cannot be combined on mps")


def test_kernels_of_mps_that_are_wrong_are_avoided(mps: Found, cuda: Found) -> None:
    """Older versions get contiguous tensors, and in half precision a mask that is written out; the others as before."""
    assert mps["layouts"]["2.11.0"] == {"contiguous": True, "fp32": ["causal"], "bf16": ["written"]}
    usual = {"contiguous": False, "fp32": ["causal"], "bf16": ["causal"]}
    assert mps["layouts"]["2.13.0+cpu"] == cuda["layouts"]["2.11.0"] == usual

"""A run is compiled without being asked if that is estimated to save clearly more than it costs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from textmill.config import ModelConfig, load_config
from textmill.engine.world import World
from textmill.planning.parameter_count import flops_per_token
from textmill.planning.repaid_compiling import Repayment, estimate_repayment
from textmill.planning.run_length import Length, plan_length
from textmill.training import settle_compiling as settling
from textmill.training.settle_compiling import settle_compiling

GPT2 = ModelConfig(architecture="gpt2", vocab_size=50257, d_model=768, num_layers=12, num_heads=12, max_seq_len=1024)
CUDA = World(0, 1, torch.device("cuda", 0))


def length(**limit: Any) -> Length:
    limits = {"epochs": None, "max_steps": None, "max_tokens": None, "max_time": None, **limit}
    return plan_length(rows_per_epoch=10**6, rows_per_step=480, row_tokens=1024, **limits)


def test_the_time_of_training_is_that_of_its_products() -> None:
    """GPT-2 on an A100: 1,000 steps of 491,520 tokens at 30 % of 312 TFLOP/s; eight GPUs take an eighth."""
    for processes in (1, 8):
        found = estimate_repayment(
            GPT2.resolved(), length(max_steps=1000), accumulation=5, processes=processes, peak_flops=312e12
        )
        expected = 1000 * 480 * 1024 * flops_per_token(GPT2) / (0.3 * 312e12) / processes
        assert found.training == pytest.approx(expected)
        assert found.compiling == 20 + 3 * 12
        assert found.expected  # more than an hour each


def test_a_small_model_waits_for_the_host() -> None:
    """The fastest GPU starts the kernels of 12 layers in no less than 12 ms, for each micro-batch."""
    small = ModelConfig(vocab_size=97, d_model=32, num_layers=12, num_heads=2, max_seq_len=32).resolved()
    found = estimate_repayment(small, length(max_steps=1000), accumulation=4, processes=1, peak_flops=1e18)
    assert found.training == pytest.approx(1000 * 4 * 12e-3)


def test_a_limit_of_time_is_a_limit() -> None:
    """A run ends at max_time however many steps it might take, and is that long if nothing else limits it."""
    for limits in ({"max_time": 90.0}, {"max_time": 90.0, "max_steps": 10**6}):
        found = estimate_repayment(GPT2.resolved(), length(**limits), accumulation=1, processes=1, peak_flops=None)
        assert found.training == 90.0 and not found.expected


def test_there_is_a_margin() -> None:
    """At least twice the seconds of compiling have to be saved, of the 30 % that a step becomes shorter."""
    assert Repayment(401, 60).expected and not Repayment(399, 60).expected
    assert math.isclose(400 * 0.3, 2 * 60)


@pytest.fixture
def h200(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch tells of an H200, and triton is installed."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _=None: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: (9, 0))
    monkeypatch.setattr(settling.importlib.util, "find_spec", lambda name: object())


def settled(
    world: World = CUDA,
    *,
    steps: int = 10**5,
    engine: str = "single",
    recorded: dict[str, Any] | None = None,
    own: bool = True,
    **given: Any,
) -> tuple[bool, str | None]:
    shape = {**GPT2.values(), "vocab_size": 50257}
    config = load_config({name: value for name, value in shape.items() if value is not None}, **given)
    return settle_compiling(config, world, length(max_steps=steps), engine, recorded or {}, own_model=own)


@pytest.mark.usefixtures("h200")
def test_auto_compiles_long_runs_and_says_so() -> None:
    """A long run is compiled and a short one is not; both sentences name the flag that does the other."""
    compiled, sentence = settled()
    assert compiled and sentence is not None and "should repay about 1 minute of compiling (--no-compile" in sentence
    compiled, sentence = settled(steps=100)
    assert not compiled and sentence is not None and "would not repay" in sentence and "--compile" in sentence


@pytest.mark.usefixtures("h200")
def test_a_choice_is_kept() -> None:
    """What somebody chose, or what a resumed run was begun with, is not estimated again."""
    assert settled(compile=False) == (False, None)
    assert settled(steps=1, compile=True) == (True, None)
    assert settled(World(0, 1, torch.device("cpu")), compile=True) == (True, None)
    assert settled(steps=1, recorded={"compiled": True}) == (True, "on, as when the run was begun")
    assert settled(recorded={"compiled": False}) == (False, "off, as when the run was begun")


@pytest.mark.usefixtures("h200")
def test_where_nothing_is_compiled_without_being_asked() -> None:
    """Not on a CPU or an Apple GPU, under FSDP or DeepSpeed, with --deterministic, nor a model of somebody's own."""
    for kind in ("cpu", "mps"):
        assert settled(World(0, 1, torch.device(kind)), recorded={"compiled": True}) == (False, None)
    for engine in ("fsdp", "deepspeed"):
        assert settled(engine=engine) == (False, None)
    assert settled(deterministic=True) == (False, None)
    assert settled(own=False) == (False, None)


@pytest.mark.usefixtures("h200")
def test_where_the_compiler_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU before Volta is left alone; a missing triton is said."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: (6, 1))
    assert settled() == (False, None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: (9, 0))
    monkeypatch.setattr(settling.importlib.util, "find_spec", lambda name: None)
    compiled, sentence = settled()
    assert not compiled and sentence is not None and "triton" in sentence

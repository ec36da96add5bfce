"""Which engine a name means, and which names contradict the world."""

from __future__ import annotations

import re

import pytest
import torch

from textmill.engine.engine_choice import choose_engine, refuse_contradictions
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.machine.precision import Precision


@pytest.mark.parametrize(
    ("name", "size", "configured", "expected"),
    [
        ("auto", 1, False, "single"),
        ("auto", 4, False, "ddp"),
        ("auto", 4, True, "deepspeed"),
        ("single", 1, False, "single"),
        ("fsdp", 2, False, "fsdp"),
        ("ddp", 2, False, "ddp"),
        ("deepspeed", 1, False, "deepspeed"),
        ("ddp", 1, False, "single"),
        ("fsdp", 1, False, "single"),
    ],
)
def test_names(name: str, size: int, configured: bool, expected: str) -> None:
    """`auto` follows the number of processes; a run that needs several goes on in one, which is said."""
    said: list[str] = []
    world = World(0, size, torch.device("cpu"))
    assert choose_engine(name, world, deepspeed_config={} if configured else None, say=said.append) == expected
    assert bool(said) == (name != "auto" and name != expected)


def test_contradictions_are_refused() -> None:
    """One process per run and several processes; a DeepSpeed file and another engine."""
    two = World(0, 2, torch.device("cpu"))
    with pytest.raises(ConfigError, match="2 were started: use --engine ddp or fsdp"):
        choose_engine("single", two, say=print)
    with pytest.raises(ConfigError, match="deepspeed_config needs engine deepspeed, and the engine is fsdp"):
        choose_engine("fsdp", two, deepspeed_config="ds.json", say=print)


@pytest.mark.parametrize(
    ("engine", "precision", "optimizer", "compile", "words"),
    [
        ("fsdp", "fp16", "adamw", False, "engine fsdp has no loss scaling"),
        ("deepspeed", "fp16", "adamw", False, "fp16 needs a GPU"),
        ("deepspeed", "fp32", "adamw", True, "compile and engine deepspeed"),
        ("deepspeed", "fp32", "muon", False, "optimizer muon needs whole matrices"),
    ],
)
def test_what_an_engine_cannot_do(engine: str, precision: str, optimizer: str, compile: bool, words: str) -> None:
    """Each is refused in one line, before anything is written."""
    two = World(0, 2, torch.device("cpu"))
    with pytest.raises(ConfigError, match=words):
        refuse_contradictions(engine, Precision(precision, "cpu"), two, optimizer=optimizer, compile=compile)
    with pytest.raises(ConfigError, match="on_spike rollback and engine deepspeed cannot be combined"):
        refuse_contradictions(
            "deepspeed", Precision("fp32", "cpu"), two, optimizer="adamw", compile=False, on_spike="rollback"
        )
    refuse_contradictions("ddp", Precision(precision, "cpu"), two, optimizer=optimizer, compile=compile)


@pytest.mark.parametrize("installed", ["2.6.0", "2.8.0+cu128"])
def test_fsdp_needs_a_pytorch_that_adds_up_its_gradients(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of PyTorch fail in the first step or take too large ones: the engine is refused by name before."""
    two = World(0, 2, torch.device("cpu"))
    monkeypatch.setattr(torch, "__version__", installed)
    words = rf"engine fsdp needs PyTorch 2\.9 or newer, and {re.escape(installed)} is installed: use --engine ddp"
    with pytest.raises(ConfigError, match=words):
        refuse_contradictions("fsdp", Precision("fp32", "cpu"), two, optimizer="adamw", compile=False)
    refuse_contradictions("ddp", Precision("fp32", "cpu"), two, optimizer="adamw", compile=False)

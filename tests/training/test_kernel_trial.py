"""The trial of kernels before a longer run on a CPU: what it chooses, notes and leaves alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import textmill
from textmill.config import Config, load_config
from textmill.console.screen import Screen
from textmill.files.cache_dir import cache_root
from textmill.machine import kernel_choices
from textmill.machine.kernel_choices import set_onednn
from textmill.machine.kernel_notes import Finding, Kernels, findings_here
from textmill.machine.precision import choose_precision
from textmill.training import kernel_trial, settle_kernels
from textmill.training.kernel_trial import Choice, try_kernels

NOW = Kernels(threads=1, onednn=False, precision="fp32", muon="fp32")
ALL = Choice(precision=True, threads=True, muon=True)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, a machine that counts as quiet, trials of a twentieth of the time; kernels as before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_trial, "contention_warning", lambda threads: None)
    monkeypatch.setattr(kernel_trial, "BUDGET", 0.025)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    set_onednn(False)


@pytest.fixture
def small() -> Config:
    return load_config(vocab_size=300, d_model=32, num_layers=2, num_heads=2, max_seq_len=32, batch_size=4)


@pytest.fixture
def given(book: Path, cache_dir: Path, tmp_path: Path) -> dict[str, Any]:
    """The settings of a run of a second in `tmp_path / "run"`."""
    return {
        "tokenizer": "byte",
        "d_model": 32,
        "num_layers": 1,
        "num_heads": 2,
        "max_seq_len": 32,
        "batch_size": 4,
        "data_path": str(book),
        "cache_dir": str(cache_dir),
        "output_dir": str(tmp_path / "run"),
        "sample_steps": 0,
    }


def scripted(seconds: dict[Kernels, float], calls: list[Kernels]) -> Any:
    """A step that takes the given time, without computing anything."""

    def run(kernels: Kernels) -> float:
        calls.append(kernels)
        return seconds[kernels]

    return run


@pytest.mark.parametrize(("other", "wins"), [(0.5, True), (0.89, True), (0.91, False), (1.5, False)])
def test_another_way_has_to_be_clearly_faster(other: float, wins: bool) -> None:
    """Within ten percent the kernels in force stay: the difference may be noise. The ways take turns."""
    calls: list[Kernels] = []
    way = replace(NOW, onednn=True)
    best, seconds = kernel_trial.fastest([NOW, way], scripted({NOW: 1.0, way: other}, calls), deadline=0.0)
    assert best == (way if wins else NOW) and seconds == {NOW: 1.0, way: other}
    assert calls == [NOW, way] * 5  # one to warm up, four that count


def test_what_is_not_exact_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that rounds float32 to bfloat16, and a format without fast products, are no candidates."""
    monkeypatch.setattr(kernel_trial, "onednn_is_exact", lambda: False)
    monkeypatch.setattr(kernel_trial, "cpu_multiplies_bf16", lambda: False)
    assert kernel_trial.ways_to_compute(NOW, ALL) == [NOW]
    monkeypatch.setattr(kernel_trial, "onednn_is_exact", lambda: True)
    monkeypatch.setattr(kernel_trial, "cpu_multiplies_bf16", lambda: True)
    assert kernel_trial.ways_to_compute(NOW, ALL) == [NOW, replace(NOW, onednn=True), replace(NOW, precision="bf16")]
    assert kernel_trial.ways_to_compute(NOW, replace(ALL, precision=False)) == [NOW, replace(NOW, onednn=True)]


def test_fewer_threads_are_tried_by_halves() -> None:
    """Eight threads are compared with four, two and one; one with nothing."""
    assert [one.threads for one in kernel_trial.fewer_threads(replace(NOW, threads=8))] == [4, 2, 1]
    assert [one.threads for one in kernel_trial.fewer_threads(replace(NOW, threads=12))] == [6, 3, 1]
    assert kernel_trial.fewer_threads(NOW) == []


def test_a_trial_is_made_once(small: Config) -> None:
    """The second run of a shape is told what was noted; another shape is tried anew, and so is a damaged note."""
    found, seconds = try_kernels(small, NOW, ALL, steps=math.inf) or pytest.fail("no trial")
    assert seconds > 0 and found.ways >= 1 and findings_here() == [found]
    assert try_kernels(small, NOW, ALL, steps=math.inf) == (found, 0.0)
    small.training.batch_size = 5
    assert (try_kernels(small, NOW, ALL, steps=math.inf) or (None, 0.0))[1] > 0
    for note in (cache_root() / "kernels").glob("*.json"):
        note.write_text('{"kernels": {"threads": "many"}}')
    assert findings_here() == []
    assert (try_kernels(small, NOW, ALL, steps=math.inf) or (None, 0.0))[1] > 0


def test_short_runs_and_busy_machines_are_left_alone(small: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run too short to gain what the trial costs, or beside other programs, keeps its kernels."""
    assert try_kernels(small, NOW, ALL, steps=1) is None
    small.training.max_time = 0.1
    assert try_kernels(small, NOW, ALL, steps=math.inf) is None
    small.training.max_time = None
    monkeypatch.setattr(kernel_trial, "contention_warning", lambda threads: "busy")
    assert try_kernels(small, NOW, ALL, steps=math.inf) is None
    assert findings_here() == []


def test_a_trial_changes_nothing_else(small: Config) -> None:
    """Random state, threads, the library and the configuration are those from before."""
    small.model.dropout = 0.5
    before = torch.get_rng_state(), torch.get_num_threads(), small.values()
    left, right = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(1)).unbind(0)
    product = left @ right
    now = replace(NOW, threads=before[1])
    assert try_kernels(small, now, ALL, steps=math.inf) is not None
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), small.values()) == before[1:]
    assert torch.equal(left @ right, product)


def test_only_as_much_is_computed_as_the_time_allows() -> None:
    """A large micro-batch is cut to a part; a vocabulary of a million is not tried as a head of a million."""
    large = load_config(vocab_size=10**6, d_model=256, num_layers=2, num_heads=4, max_seq_len=512, batch_size=512)
    assert try_kernels(large, NOW, ALL, steps=math.inf) is not None
    step = kernel_trial.Step(load_config(d_model=128, num_heads=4, vocab_size=300).model.resolved(), 10**6)
    step.grow(NOW)
    assert 0 < step.share < 0.01


def test_what_is_too_large_for_a_trial_is_not_tried() -> None:
    """A layer that would not fit into memory is left to the run, which explains that it does not."""
    huge = load_config(vocab_size=300, d_model=2**20, num_layers=2, num_heads=8192)
    assert try_kernels(huge, NOW, ALL, steps=math.inf) is None


def test_a_run_records_and_restores_what_was_found(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run takes the kernels found; resumed, it takes them again though others would be found now."""
    found = Finding(Kernels(1, False, "bf16", "fp32"), "any", ways=3, saved=0.25)
    monkeypatch.setattr(settle_kernels, "try_kernels", lambda *_, **named: (found, 0.3))
    said: list[str] = []
    screen = Screen(quiet=False)
    monkeypatch.setattr(screen, "field", lambda name, text: said.append(f"{name}: {text}"))
    textmill.train(given, max_steps=3, screen=screen)
    sentence = "bf16, Muon in fp32, 1 thread, float32 products by PyTorch's default library: the fastest of 3 ways"
    assert f"kernels: {sentence}, 25% less time than without the trial (measured in 0.3 s)" in said
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["precision"] == "bf16"
    assert {"threads": 1, "onednn": False, "precision": "bf16", "muon": "fp32"}.items() <= environment[
        "kernels"
    ].items()
    monkeypatch.setattr(settle_kernels, "try_kernels", lambda *_, **named: pytest.fail("it tries again"))
    textmill.train(given, max_steps=5, resume="auto", screen=screen)
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["kernels"] == environment["kernels"]


def test_a_run_on_another_processor_chooses_anew(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where bf16 was fast it may be slow: what was recorded elsewhere is left alone, and this is said."""
    monkeypatch.setattr(kernel_choices, "processor", lambda: "one with bf16")
    found = Finding(Kernels(1, False, "bf16", "bf16"), "any", ways=3, saved=0.25)
    monkeypatch.setattr(settle_kernels, "try_kernels", lambda *_, **named: (found, 0.3))
    textmill.train(given, max_steps=2, screen=Screen(quiet=True))
    monkeypatch.undo()
    said: list[str] = []
    screen = Screen(quiet=True)
    monkeypatch.setattr(screen, "say", lambda text, **_: said.append(text))
    textmill.train(given, max_steps=3, resume="auto", screen=screen)
    assert "another processor" in " ".join(said)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["precision"] == choose_precision("auto", torch.device("cpu")).name
    assert environment["kernels"]["processor"] != "one with bf16"


def test_deterministic_runs_are_not_tried(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --deterministic no stopwatch decides."""
    monkeypatch.setattr(settle_kernels, "try_kernels", lambda *_, **named: pytest.fail("it tries"))
    textmill.train(given, max_steps=2, deterministic=True, screen=Screen(quiet=True))
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["precision"] in ("fp32", "bf16")

"""The right symptom on curves that have it, and silence on healthy ones: drawn with noise, and of real runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.cli.main import main
from textmill.config import load_config
from textmill.errors import OutOfMemoryError
from textmill.machine.memory import is_out_of_memory
from textmill.training import train
from textmill.training.advice import Advice, Setting
from textmill.training.out_of_memory import explain

SETTING = Setting(total_steps=1000, learning_rate=3e-3, warmup_steps=20, flat_loss=math.log(256))


def heard(losses: Any, setting: Setting = SETTING, *, every: int = 10) -> list[str]:
    said: list[str] = []
    advice = Advice(said.append)
    for number, loss in enumerate(losses, 1):
        advice.report({"step": number * every, "train_loss": loss}, setting)
    return said


def after(training: list[float], validation: list[float], said: list[str], rates: list[float]) -> Advice:
    """Advice that has read such evaluations."""
    advice = Advice(said.append)
    for number, (one, other, rate) in enumerate(zip(training, validation, rates, strict=True), 1):
        row = {"step": number, "train_loss": one, "val_loss": other, "learning_rate": rate}
        advice.evaluation(row, SETTING)
    return advice


def evaluated(training: list[float], validation: list[float]) -> list[str]:
    said: list[str] = []
    after(training, validation, said, [SETTING.learning_rate] * len(training))
    return said


def healthy(seed: int, noise: float, points: int = 100) -> np.ndarray:
    """A loss that falls from ln 256 as losses do, with noise."""
    steps = np.arange(1, points + 1)
    course = 1.5 + (math.log(256) - 1.5) / (1 + steps / 6) ** 0.9
    return course + np.random.default_rng(seed).normal(0, noise, points)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 10_000), noise=st.floats(0, 0.3))
def test_a_healthy_curve_with_any_noise_is_met_with_silence(seed: int, noise: float) -> None:
    """Reports of small batches jump about; that is no symptom."""
    assert heard(healthy(seed, noise)) == []


@pytest.mark.parametrize("seed", range(5))
def test_divergence(seed: int) -> None:
    """A loss that rises and stays up is noticed once, after some reports, and not when it comes back at once."""
    losses = healthy(seed, 0.05)
    losses[60:] += np.linspace(0, 3, 40)
    said = heard(losses)
    assert len(said) == 1 and "diverges" in said[0] and "--learning-rate 1e-03 (now 3e-03)" in said[0]
    blip = healthy(seed, 0.05)
    blip[60:63] += 2
    assert heard(blip) == []


def test_an_early_jump_is_blamed_on_the_warm_up() -> None:
    """In the first quarter of a run; later it is the divergence that counts."""
    losses = healthy(1, 0.05)
    losses[12] += 1.5
    said = heard(losses)
    assert len(said) == 1 and "jumped" in said[0] and "--warmup-steps 130 (now 20)" in said[0] and "step 130" in said[0]
    late = healthy(1, 0.05)
    late[70] += 1.5
    assert heard(late) == []


def test_a_flat_loss() -> None:
    """One that stays at that of guessing, after a quarter of the run and not before."""
    flat = math.log(256) + np.random.default_rng(0).normal(0, 0.01, 100)
    said = heard(flat)
    assert len(said) == 1 and "no better than guessing (5.55)" in said[0] and "after 250 steps" in said[0]
    assert heard(flat[:24]) == []
    assert heard(flat, Setting(1000, 3e-3, 20, flat_loss=None)) == []


def test_a_loss_that_is_not_finite() -> None:
    """NaN, infinity, and null as it stands in a log; what comes after is judged without it."""
    for wrong in (math.nan, math.inf, None):
        said = heard([*healthy(2, 0.05, 50), wrong, *healthy(2, 0.05, 100)[50:]])
        assert len(said) == 1 and "not finite at step 510" in said[0]
    unclipped = Setting(1000, 3e-3, 20, None, max_grad_norm=0)
    assert "--max-grad-norm 1" in heard([math.nan], unclipped)[0]


def test_overfitting() -> None:
    """Validation stays above its best for several evaluations, rising or not, while training falls."""
    training = [3.0, 2.5, 2.0, 1.6, 1.3, 1.1, 0.9, 0.7]
    assert evaluated(training, [3.1, 2.7, 2.4, 2.3, 2.2, 2.15, 2.14, 2.13]) == []
    said = evaluated(training, [3.1, 2.7, 2.4, 2.3, 2.35, 2.4, 2.5, 2.6])
    assert len(said) == 1 and "is overfitting" in said[0] and "from 2.300 at step 4" in said[0]
    assert "--dropout 0.1" in said[0] and "--max-steps 4" in said[0]
    assert evaluated(training, [3.1, 2.7, 2.4, 2.3, 2.301, 2.302, 2.303, 2.304]) == []
    assert len(evaluated(training, [3.1, 2.7, 2.4, 2.3, 2.5, 2.4, 2.5, 2.4])) == 1
    assert evaluated(training[::-1], [3.1, 2.7, 2.4, 2.3, 2.35, 2.4, 2.5, 2.6]) == []  # both rise: not overfitting


FULL, HALF = SETTING.learning_rate, SETTING.learning_rate / 2

ENDINGS = {  # training and validation losses, learning rates; whether the run overfitted, and should be longer
    "falling at the full rate": ([3.0, 2.6, 2.4, 2.2], [3.0, 2.6, 2.4, 2.3], [FULL, FULL, FULL, HALF], False, True),
    "falling as the rate decays": ([3.0, 2.6, 2.4, 2.2], [3.0, 2.6, 2.4, 2.3], [FULL, HALF, HALF, 0], False, False),
    "flat at the full rate": ([3.0, 2.6, 2.5, 2.4], [3.0, 2.6, 2.59, 2.5], [FULL, FULL, FULL, HALF], False, False),
    "training far ahead": ([3.0, 2.4, 2.2, 1.9], [3.0, 2.6, 2.4, 2.3], [FULL, FULL, FULL, HALF], False, False),
    "not better at the end": ([3.0, 2.6, 2.4, 2.3], [3.0, 2.6, 2.40, 2.41], [FULL] * 4, False, False),
    "risen at the end": ([3.0, 2.6, 2.2, 1.9], [3.0, 2.6, 2.4, 2.6], [FULL, FULL, FULL, HALF], True, False),
    "measured once": ([3.0], [3.0], [FULL], False, False),
    "never measured": ([], [], [], False, False),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_what_is_said_at_the_end(name: str) -> None:
    """A longer run is advised for a loss that falls at the full learning rate, before training runs ahead of it."""
    training, validation, rates, overfitted, longer = ENDINGS[name]
    sentence, more = after(training, validation, [], rates).ending(SETTING)
    assert (sentence is not None, more) == (overfitted or longer, longer)
    if overfitted:
        assert sentence is not None and "from 2.400 at step 3 to 2.600" in sentence and "--max-steps 3" in sentence


def test_a_best_model_that_is_worse_than_guessing() -> None:
    """The lowest validation loss counts, and a little above ln 256 = 5.55, as at the start of a run, says nothing."""
    for lowest, said in ((6.0, True), (5.6, False), (3.0, False)):
        heard_of = after([9.0, 8.0], [9.0, lowest], [], [1.0, 1.0]).no_better_than_guessing(SETTING)
        assert (heard_of is not None) == said
        if heard_of is not None:
            assert "the lowest validation loss, 6.00, is above that of guessing (5.55)" in heard_of
    assert Advice(print).no_better_than_guessing(SETTING) is None


def test_a_gpu_that_waits() -> None:
    """Below a twentieth of the peak after 200 steps it is said once; where the peak is not known it is not."""
    said: list[str] = []
    advice = Advice(said.append)
    for number, utilisation in enumerate([0.01] * 19 + [None, 0.4, 0.021, 0.02], 1):
        advice.report({"step": number * 10, "train_loss": 5 - number * 0.05, "mfu": utilisation}, SETTING)
    assert len(said) == 1 and "at step 220 the GPU does 2.1% of its peak" in said[0]
    assert "--batch-size" in said[0] and "--compile" in said[0]


def test_a_resumed_run_says_nothing_twice() -> None:
    """After hearing the rows so far, the rest is met as if nothing had happened in between."""
    losses = healthy(3, 0.05)
    losses[40:] += np.linspace(0, 2.5, 60)
    rows = [{"step": 10 * number, "train_loss": loss} for number, loss in enumerate(losses, 1)]
    whole: list[tuple[int, str]] = []
    for cut in (*range(0, 100, 7), 100):
        said: list[tuple[int, str]] = []
        at = 0
        advice = Advice(lambda sentence: said.append((at, sentence)))  # noqa: B023
        advice.recall(rows[:cut], [], SETTING)
        assert said == []
        for at, row in enumerate(rows[cut:], cut):  # noqa: B007
            advice.report(row, SETTING)
        whole = whole or said
        assert said == [sentence for sentence in whole if sentence[0] >= cut]
    assert len(whole) == 1


def replaced(arguments: list[str], flags: list[str]) -> list[str]:
    """The arguments with the values of `flags`, given in pairs, in place of their own."""
    kept = list(arguments)
    for flag in flags[::2]:
        if flag in kept:
            del kept[kept.index(flag) : kept.index(flag) + 2]
    return [*kept, *flags]


HEALTHY = {
    "muon": ["--optimizer", "muon", "--learning-rate", "1e-2"],
    "gpt2, packed, smoothed": ["--architecture", "gpt2", "--label-smoothing", "0.1", "--pack-sequences", "false"],
    "one row a step": ["--batch-size", "1", "--gradient-accumulation-steps", "1", "--logging-steps", "1"],
}


@pytest.mark.parametrize("flags", HEALTHY.values(), ids=HEALTHY)
def test_real_runs_that_are_well_hear_nothing(small_command: list[str], tmp_path: Path, flags: list[str]) -> None:
    """Three families of settings, a hundred steps each."""
    arguments = ["--output-dir", str(tmp_path / "run"), "--max-steps", "100", "--sample-steps", "0", *flags]
    assert main(replaced(small_command, arguments)) == 0
    log = (tmp_path / "run" / "train.log").read_text()
    assert "advice" not in log and "val loss" in log


SICK = {
    "diverges|jumped|too high": [
        "--learning-rate",
        "30",
        "--optimizer",
        "sgd",
        "--max-grad-norm",
        "0",
        "--warmup-steps",
        "60",
    ],
    "no better than guessing": ["--learning-rate", "1e-9", "--warmup-steps", "0"],
}


@pytest.mark.parametrize(("symptom", "flags"), SICK.items(), ids=SICK)
def test_real_runs_that_are_sick_hear_of_it(
    small_command: list[str], tmp_path: Path, symptom: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """On the screen and in the log, in one line."""
    text = tmp_path / "short.txt"
    text.write_text(Path(small_command[1]).read_text()[:1500])
    more = ["--output-dir", str(tmp_path / "run"), "--max-steps", "150", "--sample-steps", "0", "--logging-steps", "2"]
    assert main(replaced(["train", str(text), *small_command[2:]], [*more, *flags])) in (0, 70)
    lines = [line for line in (tmp_path / "run" / "train.log").read_text().splitlines() if line.startswith("advice")]
    assert lines and any(word in line for line in lines for word in symptom.split("|"))
    assert lines[0] in capsys.readouterr().out


def test_memory_that_runs_out_is_explained(
    small_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real failure of PyTorch's allocator becomes one line with the largest parts and what shrinks them; exit 70."""

    def greedy(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        return torch.empty(1 << 50).sum()

    config = load_config(
        d_model=64, max_seq_len=128, batch_size=8, data=[small_command[1]], tokenizer="byte", max_steps=2
    )
    with pytest.raises(OutOfMemoryError) as caught:
        train(config, loss=greedy, output_dir=str(tmp_path / "run"), cache_dir=str(tmp_path / "cache"))
    line = str(caught.value)
    assert "\n" not in line and "this run needs about" in line and "logits" in line
    assert "--batch-size 4 --gradient-accumulation-steps 2 (learns the same)" in line
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["exit_code"] == 70 and status["reason"] == line
    big = ["--output-dir", str(tmp_path / "big"), "--d-model", "1048576", "--num-heads", "8192"]
    assert main(replaced(small_command, big)) == 70
    assert "out of memory" in capsys.readouterr().err


def test_what_counts_as_memory_running_out() -> None:
    """GPUs, the CPU's allocator and Python say it in their own ways; other errors are left alone."""
    assert all(map(is_out_of_memory, (torch.OutOfMemoryError("CUDA out of memory"), MemoryError())))
    for said in (
        "[enforce fail] DefaultCPUAllocator: can't allocate memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "MPS backend out of memory (MPS allocated: 8.81 GB, other allocations: 1.20 GB, max allowed: 9.07 GB)",
        "Invalid buffer size: 24.00 GiB",
    ):
        assert is_out_of_memory(RuntimeError(said)), said
    assert not is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"))
    assert not is_out_of_memory(RuntimeError("shapes differ")) and not is_out_of_memory(ValueError("out of memory"))


def test_the_remedies_are_those_of_the_largest_parts() -> None:
    """A wide model hears of its width, a long batch of its rows."""
    explained: Callable[..., str] = lambda **values: explain(load_config(**values), torch.device("cpu"), 1)  # noqa: E731
    wide = explained(d_model=4096, num_layers=24, num_heads=32, vocab_size=50000, batch_size=1, max_seq_len=16)
    assert "optimizer" in wide and "a smaller --d-model" in wide and "--batch-size" not in wide
    deep = explained(d_model=64, num_heads=2, vocab_size=300, batch_size=512, max_seq_len=1024)
    assert "activations" in deep and "--gradient-checkpointing" in deep and "--batch-size 256" in deep

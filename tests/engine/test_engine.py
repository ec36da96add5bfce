"""How one optimizer step is executed."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from textmill.engine.single_and_ddp import SingleEngine
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.machine.device_choice import choose_device
from textmill.machine.precision import Precision, choose_precision
from textmill.model.cross_entropy import IGNORED, cross_entropy_sum

ALONE = World(0, 1, torch.device("cpu"))
FP32 = Precision("fp32", "cpu")


def make_model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(13, 8), nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 13))


def make_engine(model: nn.Module, rate: float = 0.1, precision: Precision = FP32) -> SingleEngine:
    return SingleEngine(
        model, lambda module: torch.optim.SGD(module.parameters(), lr=rate), precision, ALONE, compile=None
    )


def test_micro_batches_with_uneven_masks_equal_the_whole_batch() -> None:
    """Loss and gradients of three unevenly masked micro-batches are those of the whole batch, to 1e-6."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(13, (6, 10), generator=generator)
    targets = torch.randint(13, (6, 10), generator=generator)
    targets[0, 2:], targets[3, 5:], targets[4, :] = IGNORED, IGNORED, IGNORED
    count = int((targets != IGNORED).sum())

    whole = make_model()
    mean = nn.functional.cross_entropy(whole(tokens).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    mean.backward()

    parts = copy.deepcopy(whole)
    parts.zero_grad()
    engine = make_engine(parts)
    nats = torch.zeros(())
    for index in range(3):
        rows = slice(2 * index, 2 * index + 2)
        with engine.micro_batch(last=index == 2):
            loss = cross_entropy_sum(engine.model(tokens[rows]), targets[rows])
            engine.backward(loss / count)
        nats += loss.detach()
    assert nats.item() / count == pytest.approx(mean.item(), abs=1e-6)
    for ours, theirs in zip(parts.parameters(), whole.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-6)


def test_clipping_clips_and_reports_the_norm_before() -> None:
    """After a step with max_norm the weights have moved by rate x max_norm; the norm returned is the full one."""
    model = make_model()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    engine = make_engine(model, rate=1.0)
    tokens = torch.arange(13)[None]
    engine.backward(1000 * cross_entropy_sum(model(tokens), tokens.roll(1)))
    full = torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    ).norm()
    reported = engine.step(max_norm=0.5)
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, model.parameters())]).norm()
    assert reported.item() == pytest.approx(full.item(), rel=1e-5)
    assert moved.item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(bad: float) -> None:
    """A gradient that is not finite leaves weights and momentum untouched and is counted; the next step goes on."""
    model = make_model()
    engine = SingleEngine(
        model, lambda module: torch.optim.AdamW(module.parameters(), lr=0.1, fused=True), FP32, ALONE, compile=None
    )
    optimizer = engine.optimizer
    tokens = torch.arange(13)[None]

    def step(factor: float) -> None:
        engine.backward(factor * cross_entropy_sum(model(tokens), tokens.roll(1)))
        engine.step(max_norm=1.0)

    step(1.0)
    before = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()["state"])
    step(bad)
    step(bad)
    assert (int(engine.skipped.total), int(engine.skipped.in_row)) == (2, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[0][name])
    for index, state in optimizer.state_dict()["state"].items():
        assert all(torch.equal(state[key], before[1][index][key]) for key in state)
    step(1.0)
    assert (int(engine.skipped.total), int(engine.skipped.in_row)) == (2, 0)


def test_fp16_lowers_its_scale_and_recovers() -> None:
    """An overflow under fp16 skips the step and halves the scale; state and load_state carry the scale over."""
    model = make_model()
    engine = make_engine(model, precision=Precision("fp16", "cpu"))
    assert engine.scaler is not None
    tokens = torch.arange(13)[None]
    with engine.precision.autocast():
        loss = cross_entropy_sum(model(tokens), tokens.roll(1))
    engine.backward(loss)
    engine.step(max_norm=1.0)
    scale = engine.scaler.get_scale()
    engine.backward(float("inf") * cross_entropy_sum(model(tokens), tokens.roll(1)))
    engine.step(max_norm=1.0)
    assert engine.scaler.get_scale() == scale / 2
    other = make_engine(make_model(), precision=Precision("fp16", "cpu"))
    other.load_state(engine.state())
    assert other.scaler is not None
    assert other.scaler.state_dict() == engine.scaler.state_dict()
    assert int(other.skipped.total) == int(engine.skipped.total) >= 1


def test_bf16_computes_in_bfloat16_over_float32_weights() -> None:
    """Under bf16 the products are bfloat16; the weights and their gradients stay float32."""
    model = make_model()
    with choose_precision("bf16", torch.device("cpu")).autocast():
        logits = model(torch.arange(13)[None])
    assert logits.dtype is torch.bfloat16
    logits.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype is torch.float32 for parameter in model.parameters())


def test_devices_and_formats_that_are_not_there_are_refused() -> None:
    """A missing GPU and unknown names are one-line errors that name what to use instead."""
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="--device auto or cpu"):
            choose_device("cuda")
    with pytest.raises(ConfigError, match="not a device"):
        choose_device("abacus")
    with pytest.raises(ConfigError, match="fp32"):
        choose_precision("fp8", torch.device("cpu"))


def test_automatic_precision_is_that_of_the_faster_products() -> None:
    """Held to AVX2, where bfloat16 products are emulated, `auto` is fp32, whatever the processor's flags say."""
    code = (
        "import torch; from textmill.machine.precision import choose_precision; "
        "print(choose_precision('auto', torch.device('cpu')).name)"
    )
    held = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | held, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["fp32"]

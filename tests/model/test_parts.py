"""Norms, positions and the loss against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.model.cross_entropy import cross_entropy_sum
from textmill.model.norm import RMSNorm
from textmill.model.positions import rotary_angles, rotate, sinusoids


def test_rms_norm_is_pytorchs_with_the_same_gradients() -> None:
    """Value and gradients of the CPU version are those of torch's own rms_norm in float64."""
    torch.manual_seed(0)
    norm = RMSNorm(12, eps=1e-5).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 5, 12, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(3, 5, 12, dtype=torch.float64)
    norm(x).backward(gradient)
    ours = x.grad, norm.weight.grad
    x.grad = norm.weight.grad = None
    F.rms_norm(x, (12,), norm.weight, 1e-5).backward(gradient)
    torch.testing.assert_close(norm(x), F.rms_norm(x, (12,), norm.weight, 1e-5))
    torch.testing.assert_close(ours, (x.grad, norm.weight.grad))


def test_rms_norm_in_bf16_rounds_once() -> None:
    """A bfloat16 input is normalised in float32, so the error is half a unit in the last place."""
    torch.manual_seed(0)
    norm = RMSNorm(64, eps=1e-6)
    torch.nn.init.normal_(norm.weight)
    x = (torch.randn(100, 64) * 30).bfloat16()
    exact = F.rms_norm(x.double(), (64,), norm.weight.double(), 1e-6)
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x).double(), exact, rtol=2**-8, atol=1e-30)


def test_rotation_is_the_rotation_matrix() -> None:
    """Pair (i, i + E/2) turns by position * theta^(-2i/E), written as complex multiplication."""
    size, theta = 8, 100.0
    x = torch.randn(2, 10, 3, size)
    turned = rotate(x, rotary_angles(torch.arange(4, 14), size, theta, torch.float32))
    pairs = torch.complex(x[..., : size // 2], x[..., size // 2 :]).to(torch.complex128)
    angles = torch.arange(4, 14)[:, None] * theta ** (-torch.arange(0, size, 2).double() / size)
    expected = pairs * torch.polar(torch.ones_like(angles), angles)[:, None]
    torch.testing.assert_close(turned.double(), torch.cat((expected.real, expected.imag), -1), atol=1e-5, rtol=1e-5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
@settings(deadline=None, max_examples=25)
def test_rotated_products_depend_on_distance_alone(first: int, second: int, shift: int) -> None:
    """The product of a rotated query and key is the same for any two positions equally far apart."""
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(first * 41 + second))

    def product(at: int, other: int) -> float:
        where = [rotary_angles(torch.tensor([place]), 16, 10000.0, torch.float32) for place in (at, other)]
        return (rotate(q, where[0]) * rotate(k, where[1])).sum().item()

    assert product(first, second) == pytest.approx(product(first + shift, second + shift), abs=1e-4)


def test_sinusoids_follow_the_paper() -> None:
    """Even elements are sines and odd ones cosines of position / 10000^(2i/D)."""
    table = sinusoids(torch.arange(50), 10)
    for position, element in ((0, 0), (7, 4), (31, 9), (49, 1)):
        angle = position / 10000 ** (element // 2 * 2 / 10)
        expected = math.sin(angle) if element % 2 == 0 else math.cos(angle)
        assert table[position, element].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_sum_over_counted_targets(smoothing: float) -> None:
    """Written out in float64: -sum of log p, with the smoothed share spread over the vocabulary."""
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 11)
    targets = torch.randint(11, (3, 4))
    targets[1, 2:] = targets[0, 0] = -100
    log_p = logits.double().log_softmax(-1)
    expected = 0.0
    for row, place in (targets != -100).nonzero().tolist():
        p = log_p[row, place]
        expected -= (1 - smoothing) * p[targets[row, place]].item() + smoothing * p.mean().item()
    loss = cross_entropy_sum(logits, targets, label_smoothing=smoothing)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_bf16_logits_is_summed_in_float32() -> None:
    """Thousands of targets in bfloat16 lose nothing in the sum."""
    logits = torch.zeros(64, 128, 16, dtype=torch.bfloat16)
    loss = cross_entropy_sum(logits, torch.zeros(64, 128, dtype=torch.int64))
    assert loss.item() == pytest.approx(64 * 128 * math.log(16), rel=1e-5)

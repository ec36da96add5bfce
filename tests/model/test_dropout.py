"""Dropout on a CPU."""

from __future__ import annotations

import pytest
import torch

from textmill.model.dropout import Dropout, keep_mask


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_so_many_elements_are_dropped(p: float) -> None:
    """The share of zeros is p to five standard deviations, overall and among every fourth element; neighbours agree
    as often as independent ones do.
    """
    torch.manual_seed(0)
    count = 4_000_001
    mask = keep_mask(torch.empty(count), p)
    kept = 1.0 - p
    for part in (mask, *(mask[start::4] for start in range(4))):
        assert part.mean().item() == pytest.approx(kept, abs=5 * (p * kept / len(part)) ** 0.5)
    both = (mask[1:] * mask[:-1]).mean().item()
    assert both == pytest.approx(kept**2, abs=5 * (kept**2 * (1 - kept**2) / count) ** 0.5)


def test_what_is_kept_is_scaled_and_so_is_its_gradient() -> None:
    """Kept elements and their gradients are divided by 1 - p, the others are 0; outside training nothing changes."""
    layer, x = Dropout(0.25), torch.randn(50, 40, requires_grad=True)
    y = layer(x)
    kept = y != 0
    assert 0.7 < kept.float().mean() < 0.8
    torch.testing.assert_close(y[kept], x[kept] / 0.75)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, kept / 0.75)
    assert layer.eval()(x) is x


def test_the_generator_decides_the_mask() -> None:
    """The same seed gives the same mask, whatever the number of threads; another seed another one."""
    masks = []
    for seed, threads in ((1, 1), (1, 2), (2, 1)):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        masks.append(keep_mask(torch.empty(300, 301), 0.5))
        torch.set_num_threads(before)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])

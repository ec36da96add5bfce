"""Queries that share keys never make a CUDA GPU store the attention scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from textmill.config import ModelConfig
from textmill.model.attention import Mask, attend, make_mask
from textmill.planning.memory import StepSettings, estimate_memory, groups_heads

HALF, FLOAT = torch.bfloat16, torch.float32


@pytest.mark.parametrize("masked", [False, True])
def test_keys_for_each_query_give_the_same_numbers(masked: bool) -> None:
    """Output and gradients of attention with repeated keys and values are those of the kernel that groups them."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 5, 6, 4), (2, 5, 2, 4), (2, 5, 2, 4))
    allowed = torch.rand(2, 1, 5, 5, generator=generator).round().bool() | torch.eye(5, dtype=torch.bool)
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]

    def run(repeat: bool) -> list[Tensor]:
        made = [tensor.clone().requires_grad_() for tensor in inputs]
        mask = Mask(False, allowed=allowed, repeat=repeat) if masked else Mask(False, causal=True, repeat=repeat)
        out = attend(made[0], made[1], made[2], mask)
        out.square().sum().backward()
        return [out, *(tensor.grad for tensor in made if tensor.grad is not None)]

    for ours, grouped in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(ours, grouped, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("capability", "dtype", "repeat"),
    [
        ((9, 0), HALF, False),
        ((8, 0), HALF, False),
        ((9, 0), FLOAT, True),
        ((7, 5), torch.float16, True),
        ((7, 5), FLOAT, True),
    ],
)
def test_keys_are_repeated_where_flash_attention_does_not_run(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype, repeat: bool
) -> None:
    """In float32 or before Ampere each query has its keys; as many keys as queries stay, and a single new token's."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    with FakeTensorMode():  # a GPU that is not there: tensors have a device and no content
        row, token = (torch.empty(2, length, 8, device="cuda") for length in (16, 1))
        mask = make_mask(row, None, heads=4, kv_heads=2, segments=None, dtype=dtype)
        assert (mask.repeat, mask.causal) == (repeat, True)
        assert not make_mask(row, None, heads=4, kv_heads=4, segments=None, dtype=dtype).repeat
        assert not make_mask(token, 7, heads=4, kv_heads=2, segments=None, dtype=dtype).repeat


def test_a_mask_keeps_flash_attention_away() -> None:
    """Half precision without a mask on a new GPU is what flash attention computes; nothing else is."""
    assert groups_heads(half=True, masked=False, flash=True)
    assert not groups_heads(half=True, masked=True, flash=True)
    assert not groups_heads(half=True, masked=False, flash=False)
    assert not groups_heads(half=False, masked=False, flash=True)


def activations(length: int, *, precision: str = "bf16", kv_heads: int = 2, masked: bool = False) -> int:
    model = ModelConfig(architecture="llama", vocab_size=97, d_model=64, num_layers=3, num_heads=4)
    model.num_kv_heads, model.max_seq_len = kv_heads, length
    step = StepSettings(batch_size=2, precision=precision, device="cuda", masked=masked)
    return estimate_memory(model, step).activations


def test_the_plan_follows_the_kernel() -> None:
    """Copies of keys and values count where they are made, one mask for all layers, and no scores anywhere."""
    rows, layers, size = 2, 3, 16
    for length in (256, 512):
        more = {
            precision: activations(length, precision=precision, kv_heads=4) - activations(length, precision=precision)
            for precision in ("bf16", "fp16", "fp32")
        }
        assert more == {"bf16": layers * rows * length * 2 * 2 * size * 2, "fp16": 0, "fp32": 0}
        mask = rows * length * length * 2
        assert activations(length, kv_heads=4, masked=True) - activations(length, kv_heads=4) == mask
        assert activations(length, masked=True) == activations(length, kv_heads=4, masked=True)

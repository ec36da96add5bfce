"""The parts whose derivative is written by hand, against torch's own functions and numerical derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textmill.config import ModelConfig
from textmill.model import build_model
from textmill.model.attention_on_cpu import Heads, attend_on_cpu
from textmill.model.linear_and_embedding import Linear, side_by_side
from textmill.model.llama import LlamaAttention
from textmill.model.mlp import GatedMLP, make_mlp
from textmill.model.positions import rotary_angles, rotate

BATCH, LENGTH, SIZE, EPS = 3, 5, 4, 1e-5


def made(heads: Heads) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    qkv = torch.randn(BATCH, LENGTH, (heads.queries + 2 * heads.keys) * SIZE, dtype=torch.float64, requires_grad=True)
    gains = torch.randn(2, SIZE, dtype=torch.float64)
    return qkv, (nn.Parameter(gains[0]), nn.Parameter(gains[1]))


@pytest.mark.parametrize("segmented", [False, True], ids=["causal", "segmented"])
@pytest.mark.parametrize("rotated", [False, True], ids=["", "rotated"])
@pytest.mark.parametrize("normed", [False, True], ids=["", "normed"])
@pytest.mark.parametrize("keys", [1, 2, 4])
def test_attention_is_that_of_torchs_functions(keys: int, normed: bool, rotated: bool, segmented: bool) -> None:
    """Value and all gradients are those of rms_norm, rotation and scaled_dot_product_attention in float64."""
    heads = Heads(4, keys, SIZE)
    qkv, gains = made(heads)
    angles = rotary_angles(torch.arange(LENGTH), SIZE, 10.0, torch.float64) if rotated else None
    allowed = torch.ones(BATCH, 1, LENGTH, LENGTH, dtype=torch.bool).tril()
    if segmented:
        segments = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 2, 3, 3], [0, 0, 0, 0, 0]])
        allowed = allowed & (segments[:, None, :, None] == segments[:, None, None, :])
    bias = torch.zeros_like(allowed, dtype=torch.float64).masked_fill(~allowed, float("-inf"))
    per_key = bias.expand(keys, BATCH, 4 // keys, LENGTH, LENGTH).reshape(keys * BATCH, -1, LENGTH)
    ours = attend_on_cpu(
        qkv,
        heads,
        gains=gains if normed else None,
        eps=EPS,
        angles=angles,
        bias=per_key if segmented else per_key[0],
    )
    q, k, v = qkv.view(BATCH, LENGTH, -1, SIZE).split((4, keys, keys), 2)
    if normed:
        q, k = F.rms_norm(q, (SIZE,), gains[0], EPS), F.rms_norm(k, (SIZE,), gains[1], EPS)
    if angles is not None:
        q, k = rotate(q, angles), rotate(k, angles)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=True).transpose(1, 2).flatten(2)
    torch.testing.assert_close(ours, theirs)
    wanted = [qkv, *gains] if normed else [qkv]
    gradient = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, wanted, gradient), torch.autograd.grad(theirs, wanted, gradient)
    )


def test_dropped_weights_have_the_derivative_of_what_was_kept() -> None:
    """With dropout the gradient is that of numerical differentiation, and the mean over many masks is the output."""
    heads = Heads(2, 1, SIZE)
    qkv, gains = made(heads)

    def attend(qkv: Tensor, *gains: Tensor, dropout: float = 0.4) -> Tensor:
        torch.manual_seed(1)
        return attend_on_cpu(qkv, heads, gains=(gains[0], gains[1]), eps=EPS, dropout=dropout)

    assert torch.autograd.gradcheck(attend, (qkv, *gains))
    many = qkv.detach()[:1].expand(20_000, -1, -1)
    plain = attend(qkv.detach()[:1], *gains, dropout=0.0)[0]
    torch.testing.assert_close(attend(many, *gains).mean(0), plain, atol=0.03, rtol=0.0)


def test_swiglu_has_its_derivative() -> None:
    """The gated layer has the gradients of numerical differentiation, for its input and all three matrices."""
    layer = make_mlp(ModelConfig(vocab_size=5, d_model=6, num_heads=1, d_ff=7).resolved()).double()
    assert isinstance(layer, GatedMLP)
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    expected = layer.down_proj(F.silu(layer.gate_proj(x)) * layer.up_proj(x))
    torch.testing.assert_close(layer(x), expected)

    def evaluated(x: Tensor, *weights: Tensor) -> Tensor:
        names = ("gate_proj.weight", "up_proj.weight", "down_proj.weight")
        return torch.func.functional_call(layer, dict(zip(names, weights)), (x,))

    weights = (layer.gate_proj.weight, layer.up_proj.weight, layer.down_proj.weight)
    assert torch.autograd.gradcheck(evaluated, (x, *weights))


def test_replaced_and_watched_layers_are_called() -> None:
    """Hooks see the outputs of single projections, and a layer put in the place of one is used."""
    model = build_model(ModelConfig(vocab_size=11, d_model=8, num_layers=1, num_heads=2, max_seq_len=4), seed=0).eval()
    tokens = torch.arange(4)[None]
    before = model(tokens)
    attention = model.get_submodule("model.layers.0.self_attn")
    assert isinstance(attention, LlamaAttention)
    seen: list[Tensor] = []

    def watch(module: nn.Module, inputs: object, output: Tensor) -> None:
        seen.append(output)

    handle = attention.k_proj.register_forward_hook(watch)
    torch.testing.assert_close(model(tokens), before)
    assert [tuple(output.shape) for output in seen] == [(1, 4, 8)]
    handle.remove()
    attention.add_module("v_proj", nn.Sequential(attention.v_proj))
    torch.testing.assert_close(model(tokens), before)


@pytest.mark.parametrize("bias", [False, True])
def test_layers_side_by_side_are_one_product(bias: bool) -> None:
    """The outputs of two layers of one input, in their order."""
    torch.manual_seed(0)
    layers = [Linear(6, 3, bias), Linear(6, 5, bias)]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    x = torch.randn(2, 6)
    torch.testing.assert_close(side_by_side(x, *layers), torch.cat([layer(x) for layer in layers], -1))

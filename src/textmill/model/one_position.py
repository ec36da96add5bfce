"""The step of generation on a CPU: one more position per sequence, from ids to scores.

The mathematics is that of `decoder.py` and its blocks. Most of the time of such a step is not arithmetic, it is spent
between the operations, so there are as few of them as possible: weights are read where the model has them, products
write into buffers that are allocated once, residual sums are part of the product before them, and the rotary angles of
all positions are computed once.

Letters: N sequences, D width of the model, H query heads, K key and value heads, G = H / K query heads per key head,
E size of a head, S positions attended to, V tokens in the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from textmill.model.decoder import Decoder
from textmill.model.dropout import Dropout
from textmill.model.gpt2 import GPT2Attention, GPT2Block, GPT2Decoder
from textmill.model.kv_cache import Cache
from textmill.model.linear_and_embedding import Conv1D, Embedding, Linear
from textmill.model.llama import LlamaAttention, LlamaBlock, LlamaDecoder
from textmill.model.mlp import GatedMLP, PlainMLP
from textmill.model.norm import LayerNorm, RMSNorm
from textmill.model.positions import rotary_angles, sinusoids

_KNOWN = {
    *(LlamaDecoder, LlamaBlock, LlamaAttention, GPT2Decoder, GPT2Block, GPT2Attention, GatedMLP, PlainMLP),
    *(Linear, Conv1D, Embedding, RMSNorm, LayerNorm, nn.Module, nn.ModuleList, Dropout, nn.Identity),
}
_WORTH_THREADS = 100_000
"""Weights of an average product (times a twelfth of the rows, if those are more) from which threads save time."""


def can_step(model: nn.Module) -> TypeGuard[Decoder]:
    """Whether `OnePosition` computes what `model` does: a model of textmill on a CPU, without hooks or new parts."""
    if not isinstance(model, Decoder):
        return False
    unchanged = all(
        type(module) in _KNOWN
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and "forward" not in vars(module)
        for module in model.modules()
    )
    return unchanged and all(
        type(weight) is nn.Parameter and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)
        for weight in model.parameters()
    )


class OnePosition:
    """Scores the next token of sequences whose tokens are in `cache`, all but the last. See `can_step`."""

    def __init__(self, model: Decoder, cache: Cache) -> None:
        config, names = model.config, model.names
        stack = model.get_submodule(names.stack)
        assert config.head_dim is not None
        self.cache = cache
        self.embedding = model.token_embedding.weight.detach()
        every, dtype = torch.arange(cache.max_len), self.embedding.dtype
        self.scale, self.added = 1.0, None
        self.cos = self.sin = None
        if config.pos_encoding == "learned":
            self.added = stack.get_parameter(f"{names.positions}.weight").detach()
        elif config.pos_encoding == "sinusoidal":
            self.scale, self.added = config.d_model**0.5, sinusoids(every, config.d_model).to(dtype)
        elif config.pos_encoding == "rope":
            self.cos, self.sin = rotary_angles(every, config.head_dim, config.rope_theta, dtype)  # (max_len, 1, E)
        heads = _Heads(model, cache.batch_size)
        self.layers = [_Layer(block, heads) for block in stack.get_submodule(names.blocks).children()]
        self.norm = _norm(stack.get_submodule(names.norm))
        self.head = model.lm_head.weight.detach().t()  # (D, V)
        matrices = [weight.numel() for weight in model.parameters() if weight.dim() == 2]
        self.threads = sum(matrices) / len(matrices) * max(1, cache.batch_size / 12) >= _WORTH_THREADS

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return the scores (N, V) after `tokens` (N,), whose keys and values are appended to the cache."""
        past = self.cache.length
        with torch.inference_mode(), _threads(self.threads):
            x = self.embedding.index_select(0, tokens)  # (N, D)
            if self.added is not None:
                x = torch.add(self.added[past], x, alpha=self.scale)
            angles = None
            if self.cos is not None and self.sin is not None:
                angles = _Angles(self.cos[past], *self.sin[past].chunk(2, -1))
            for layer, room in zip(self.layers, self.cache.next_position()):
                x = layer(x, angles, room)
            self.cache.advance(1)
            return torch.mm(self.norm(x), self.head)


@contextmanager
def _threads(several: bool) -> Iterator[None]:
    """Let products use the threads that are set, or one: sharing tiny products takes longer than computing them."""
    threads = torch.get_num_threads()
    if several or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Angles(NamedTuple):
    """Of one position: cosines (1, E), and the sines (1, E/2) by which one half of a head adds to the other."""

    cos: Tensor
    second_to_first: Tensor
    first_to_second: Tensor


class _Heads:
    """Buffers for queries, keys and values of one position, used by every layer in turn, and views of them.

    Products write to `raw`; attention reads `ready`, which is another buffer if there are angles to rotate by. Both are
    (N, H + 2K, E): queries, keys, values.
    """

    def __init__(self, model: Decoder, batch: int) -> None:
        config = model.config
        kv_heads = config.num_kv_heads or config.num_heads
        assert config.head_dim is not None
        self.sizes = [config.num_heads, kv_heads, kv_heads]
        self.rotated = config.pos_encoding == "rope"
        self.raw = model.token_embedding.weight.detach().new_empty(batch, sum(self.sizes), config.head_dim)
        self.ready = torch.empty_like(self.raw) if self.rotated else self.raw
        self.raw_qk, self.raw_v = self.raw.split([config.num_heads + kv_heads, kv_heads], 1)
        self.ready_qk, self.ready_v = self.ready.split([config.num_heads + kv_heads, kv_heads], 1)
        self.raw_halves, self.ready_halves = self.raw_qk.chunk(2, -1), self.ready_qk.chunk(2, -1)
        self.queries = self.ready[:, : config.num_heads]  # (N, H, E)
        keys_and_values = self.ready[:, config.num_heads :]
        self.keys_and_values = keys_and_values.unflatten(1, (2, kv_heads)).transpose(0, 1)  # (2, N, K, E)
        self.groups = (batch * kv_heads, config.num_heads // kv_heads, config.head_dim)

    def rotate(self, angles: _Angles) -> None:
        torch.mul(self.raw_qk, angles.cos, out=self.ready_qk)
        (first, second), (to_first, to_second) = self.raw_halves, self.ready_halves
        to_first.addcmul_(second, angles.second_to_first)
        to_second.addcmul_(first, angles.first_to_second)


class _Layer:
    """One block: attention and feed-forward, each added to the stream x (N, D)."""

    def __init__(self, block: Any, heads: _Heads) -> None:
        if isinstance(block, GPT2Block):
            norms, attention = (block.ln_1, block.ln_2), block.attn
        else:
            norms, attention = (block.input_layernorm, block.post_attention_layernorm), block.self_attn
        self.pre_norm = block.pre_norm
        self.norm1, self.norm2 = map(_norm, norms)
        self.attention = _Attention(attention, heads)
        self.mlp = _MLP(block.mlp, heads.raw.shape[0])

    def __call__(self, x: Tensor, angles: _Angles | None, room: tuple[Tensor, ...]) -> Tensor:
        if self.pre_norm:
            self.attention(self.norm1(x), angles, room, to=x)
            self.mlp(self.norm2(x), to=x)
            return x
        self.attention(x, angles, room, to=x)
        x = self.norm1(x)
        self.mlp(x, to=x)
        return self.norm2(x)


class _Attention:
    def __init__(self, module: Any, heads: _Heads) -> None:
        self.heads = heads
        self.norm = None
        self.values_to_copy = False
        if isinstance(module, GPT2Attention):
            self.products = [(_Linear(module.c_attn), heads.raw.flatten(1))]
            self.values_to_copy = heads.rotated
            self.output = _Linear(module.c_proj)
        else:
            q, k = heads.raw_qk.split(heads.sizes[:2], 1)
            modules, outs = (module.q_proj, module.k_proj, module.v_proj), (q, k, heads.ready_v)
            self.products = [(_Linear(linear), out.flatten(1)) for linear, out in zip(modules, outs)]
            self.output = _Linear(module.o_proj)
            if module.q_norm is not None:
                norms = zip((module.q_norm, module.k_norm), heads.sizes)
                weight = torch.cat([norm.weight.detach().expand(count, -1) for norm, count in norms])  # (H + K, E)
                self.norm = _RMS(weight, module.q_norm.eps)
        self.unused = heads.raw.new_zeros(1, 1, 1)

    def __call__(self, x: Tensor, angles: _Angles | None, room: tuple[Tensor, ...], to: Tensor) -> None:
        heads = self.heads
        for linear, out in self.products:
            linear.write(x, out)
        if self.norm is not None:
            self.norm(heads.raw_qk, out=heads.raw_qk)
        if angles is not None:
            heads.rotate(angles)
            if self.values_to_copy:
                heads.ready_v.copy_(heads.raw_v)
        new, keys, values = room
        new.copy_(heads.keys_and_values)
        q = heads.queries.reshape(heads.groups)  # (N*K, G, E)
        scores = torch.baddbmm(self.unused, q, keys, beta=0, alpha=q.shape[-1] ** -0.5)  # (N*K, G, S)
        y = torch.bmm(scores.softmax(-1), values)  # (N*K, G, E)
        self.output.add(y.view(to.shape[0], -1), to)


class _MLP:
    def __init__(self, module: Any, batch: int) -> None:
        self.activation = module.activation
        if isinstance(module, GatedMLP):
            inner, self.gate, self.down = module.up_proj, _Linear(module.gate_proj), _Linear(module.down_proj)
        else:
            inner, self.gate, self.down = module.c_fc, None, _Linear(module.c_proj)
        self.inner = _Linear(inner)
        self.buffers = self.inner.weight.new_empty(2, batch, self.inner.weight.shape[1]).unbind(0)

    def __call__(self, x: Tensor, to: Tensor) -> None:
        inner, gate = self.buffers
        self.inner.write(x, inner)
        if self.gate is None:
            inner = self.activation(inner)
        else:
            inner.mul_(self.activation(self.gate.write(x, gate)))
        self.down.add(inner, to)


class _Linear:
    """y = x W + b for rows x (N, inputs)."""

    def __init__(self, module: Any) -> None:
        self.weight = (module.weight if isinstance(module, Conv1D) else module.weight.t()).detach()  # (inputs, outputs)
        self.bias = None if module.bias is None else module.bias.detach()

    def write(self, x: Tensor, out: Tensor) -> Tensor:
        if self.bias is None:
            return torch.mm(x, self.weight, out=out)
        return torch.addmm(self.bias, x, self.weight, out=out)

    def add(self, x: Tensor, to: Tensor) -> None:
        """Add y to the stream `to`."""
        to.addmm_(x, self.weight)
        if self.bias is not None:
            to.add_(self.bias)


class _RMS:
    """RMSNorm with a weight (E,), or (H + K, E) for every query and key head: x / |x, sqrt(E eps)| * sqrt(E) w."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        size = weight.shape[-1]
        self.weight = weight.detach() * math.sqrt(size)
        self.least = weight.new_tensor(math.sqrt(size * eps))

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).hypot_(self.least)
        return torch.div(x, length, out=out).mul_(self.weight)


def _norm(module: nn.Module) -> Callable[[Tensor], Tensor]:
    return _RMS(module.weight, module.eps) if isinstance(module, RMSNorm) else module

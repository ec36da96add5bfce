"""Llama and Qwen3: RMSNorm, rotary positions, a gated feed-forward layer, no biases.

Sources: Llama, Touvron et al. 2023 (arXiv:2302.13971, section 2.2); Qwen3, Yang et al. 2025 (arXiv:2505.09388,
section 2): the same with queries and keys normalised per head. Module names are those of transformers.

Letters: B sequences, T new positions, S positions attended to, D width, H query heads, K key and value heads,
E head size.
"""

from torch import Tensor, nn

from textmill.config import ModelConfig
from textmill.model.attention import Mask, attend, attend_as_given
from textmill.model.attention_on_cpu import Heads, attend_on_cpu
from textmill.model.decoder import Block, Decoder, Names
from textmill.model.kv_cache import Cache
from textmill.model.linear_and_embedding import Linear, side_by_side
from textmill.model.mlp import make_mlp
from textmill.model.norm import RMSNorm, make_norm
from textmill.model.positions import Angles, rotate


class LlamaAttention(nn.Module):
    """Attention with separate projections, and in Qwen3 with norms on queries and keys."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        heads, kv_heads, size = config.num_heads, config.num_kv_heads, config.head_dim
        assert kv_heads and size and config.bias is not None and config.norm_eps is not None
        self.layer = layer
        self.size = size
        self.heads = Heads(heads, kv_heads, size)
        self.eps = config.norm_eps
        self.dropout = config.attention_dropout or 0.0
        self.core: nn.Module | None = None  # instead of the softmax of scores, see `build_model`
        self.q_proj = Linear(config.d_model, heads * size, config.bias)
        self.k_proj = Linear(config.d_model, kv_heads * size, config.bias)
        self.v_proj = Linear(config.d_model, kv_heads * size, config.bias)
        self.o_proj = Linear(heads * size, config.d_model, config.bias)
        self.q_norm = RMSNorm(size, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(size, config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, angles: Angles | None, mask: Mask, cache: Cache | None) -> Tensor:
        batch, length, _ = x.shape
        dropout = self.dropout if self.training else 0.0
        if mask.by_hand and self.core is None:
            qkv = side_by_side(x, self.q_proj, self.k_proj, self.v_proj)  # (B, T, (H + 2K)*E)
            gains = None if self.q_norm is None or self.k_norm is None else (self.q_norm.weight, self.k_norm.weight)
            y = attend_on_cpu(
                qkv, self.heads, gains=gains, eps=self.eps, angles=angles, bias=mask.bias, dropout=dropout
            )
            return self.o_proj(y)  # (B, T, D)
        q = self.q_proj(x).view(batch, length, -1, self.size)  # (B, T, H, E)
        k = self.k_proj(x).view(batch, length, -1, self.size)  # (B, T, K, E)
        v = self.v_proj(x).view(batch, length, -1, self.size)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)  # (B, S, K, E)
        core = self.core
        y = attend(q, k, v, mask, dropout) if core is None else attend_as_given(core, q, k, v, mask)  # (B, T, H, E)
        return self.o_proj(y.reshape(batch, length, -1))  # (B, T, D)


class LlamaBlock(Block):
    """x + attention(norm(x)), then x + mlp(norm(x)); with pre_norm off, the norms come after the sums."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.self_attn = LlamaAttention(config, layer)
        self.mlp = make_mlp(config)
        self.input_layernorm = make_norm(config)
        self.post_attention_layernorm = make_norm(config)

    def forward(self, x: Tensor, angles: Angles | None, mask: Mask, cache: Cache | None) -> Tensor:
        if self.pre_norm:
            x = x + self.dropout(self.self_attn(self.input_layernorm(x), angles, mask, cache))
            return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))
        x = self.input_layernorm(x + self.dropout(self.self_attn(x, angles, mask, cache)))
        return self.post_attention_layernorm(x + self.dropout(self.mlp(x)))


class LlamaDecoder(Decoder):
    """A model of the families llama and qwen3."""

    block = LlamaBlock
    names = Names("model", "embed_tokens", "embed_positions", "layers", "norm", "self_attn")

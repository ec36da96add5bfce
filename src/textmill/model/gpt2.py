"""GPT-2: LayerNorm, learned positions, a plain feed-forward layer with tanh-GELU, biases, a tied head.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3. Module names and the
transposed weights of linear layers are those of transformers.

Letters: B sequences, T new positions, S positions attended to, D width, H query heads, K key and value heads,
E head size.
"""

from torch import Tensor, nn

from textmill.config import ModelConfig
from textmill.model.attention import Mask, attend, attend_as_given
from textmill.model.attention_on_cpu import Heads, attend_on_cpu
from textmill.model.decoder import Block, Decoder, Names
from textmill.model.kv_cache import Cache
from textmill.model.linear_and_embedding import Conv1D
from textmill.model.mlp import make_mlp
from textmill.model.norm import make_norm
from textmill.model.positions import Angles, rotate


class GPT2Attention(nn.Module):
    """Attention with one projection for queries, keys and values."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        heads, kv_heads, size = config.num_heads, config.num_kv_heads, config.head_dim
        assert kv_heads and size and config.bias is not None
        self.layer = layer
        self.heads = Heads(heads, kv_heads, size)
        self.dropout = config.attention_dropout or 0.0
        self.core: nn.Module | None = None  # instead of the softmax of scores, see `build_model`
        self.c_attn = Conv1D(config.d_model, (heads + 2 * kv_heads) * size, config.bias)
        self.c_proj = Conv1D(heads * size, config.d_model, config.bias)

    def forward(self, x: Tensor, angles: Angles | None, mask: Mask, cache: Cache | None) -> Tensor:
        batch, length, _ = x.shape
        dropout = self.dropout if self.training else 0.0
        qkv = self.c_attn(x)  # (B, T, (H + 2K)*E)
        if mask.by_hand and self.core is None:
            y = attend_on_cpu(qkv, self.heads, angles=angles, bias=mask.bias, dropout=dropout)  # (B, T, H*E)
            return self.c_proj(y)  # (B, T, D)
        queries, keys, size = self.heads
        q, k, v = qkv.view(batch, length, -1, size).split((queries, keys, keys), 2)  # (B, T, H, E), (B, T, K, E) twice
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)  # (B, S, K, E)
        core = self.core
        y = attend(q, k, v, mask, dropout) if core is None else attend_as_given(core, q, k, v, mask)  # (B, T, H, E)
        return self.c_proj(y.reshape(batch, length, -1))  # (B, T, D)


class GPT2Block(Block):
    """x + attention(norm(x)), then x + mlp(norm(x)); with pre_norm off, the norms come after the sums."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.ln_1 = make_norm(config)
        self.attn = GPT2Attention(config, layer)
        self.ln_2 = make_norm(config)
        self.mlp = make_mlp(config)

    def forward(self, x: Tensor, angles: Angles | None, mask: Mask, cache: Cache | None) -> Tensor:
        if self.pre_norm:
            x = x + self.dropout(self.attn(self.ln_1(x), angles, mask, cache))
            return x + self.dropout(self.mlp(self.ln_2(x)))
        x = self.ln_1(x + self.dropout(self.attn(x, angles, mask, cache)))
        return self.ln_2(x + self.dropout(self.mlp(x)))


class GPT2Decoder(Decoder):
    """A model of the family gpt2."""

    block = GPT2Block
    names = Names("transformer", "wte", "wpe", "h", "ln_f", "attn")

"""The decoder-only transformer: from token ids to a score for every possible next token.

This file has what all families share: embedding, positions, mask, blocks, final norm, head. `llama.py` (llama and
qwen3) and `gpt2.py` add their blocks, with the weight names of transformers, so that a checkpoint is a model folder of
transformers without any mapping.

Letters: B sequences, T positions of this call, D width of the model, V tokens in the vocabulary.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from textmill.config import ModelConfig
from textmill.model.attention import Mask, make_mask
from textmill.model.kv_cache import Cache
from textmill.model.linear_and_embedding import Linear
from textmill.model.positions import Angles, rotary_angles, sinusoids


class Block(nn.Module):
    """One layer: attention and feed-forward, each around the residual stream (B, T, D)."""

    @abstractmethod
    def forward(self, x: Tensor, angles: Angles | None, mask: Mask, cache: Cache | None) -> Tensor:
        """Return the stream after this layer, (B, T, D)."""


class Decoder(nn.Module):
    """Base of both families. `config` is the resolved shape; weights are undefined until `initialise` fills them."""

    lm_head: Linear

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)

    # Defined by each family.

    @property
    @abstractmethod
    def token_embedding(self) -> nn.Embedding:
        """The table of token embeddings, (V, D)."""

    @property
    @abstractmethod
    def position_embedding(self) -> nn.Embedding | None:
        """The table of learned positions, (max_seq_len, D), where the model has one."""

    @property
    @abstractmethod
    def blocks(self) -> Sequence[Block]:
        """The layers, first to last."""

    @property
    @abstractmethod
    def final_norm(self) -> nn.Module:
        """The normalisation before the head; the identity where blocks normalise their own output."""

    # Shared by all families.

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Return logits (B, T, V), or (B, 1, V) with `last_only`.

        Args:
            tokens: ids (B, T), each below `config.vocab_size`.
            positions: (B, T), below `config.max_seq_len`; default 0, 1, ... after the cached ones.
            segments: (B, T); positions attend only within their own segment. Not together with a cache.
            cache: from `new_cache`; these T positions are appended to it.
            last_only: score the last position only, as generation needs.

        Raises:
            ValueError: more positions than `config.max_seq_len`, or segments with a cache.
        """
        x = self.hidden(tokens, positions=positions, segments=segments, cache=cache)
        return self.lm_head(x[:, -1:] if last_only else x)  # (B, T, D) -> (B, T, V)

    def hidden(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the normalised stream before the head, (B, T, D). Arguments and errors: see `forward`."""
        length = tokens.shape[1]
        past = 0 if cache is None else cache.length
        if past + length > self.config.max_seq_len:
            raise ValueError(
                f"{past + length} positions are more than the model's max_seq_len {self.config.max_seq_len}"
            )
        if segments is not None and cache is not None:
            raise ValueError("segments cannot be combined with a cache")
        if positions is None:
            positions = torch.arange(past, past + length, device=tokens.device)  # (T,)
        x = self.dropout(self._embed(tokens, positions))  # (B, T, D)
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        heads = self.config.num_heads
        mask = make_mask(
            x, past, heads=heads, kv_heads=self.config.num_kv_heads or heads, segments=segments, dtype=dtype
        )
        angles = None
        if self.config.pos_encoding == "rope":
            assert self.config.head_dim is not None
            angles = rotary_angles(positions, self.config.head_dim, self.config.rope_theta, dtype)
        recompute = self.config.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for block in self.blocks:
            if recompute:
                x = checkpoint(block, x, angles, mask, None, use_reentrant=False)
            else:
                x = block(x, angles, mask, cache)
        if cache is not None:
            cache.advance(length)
        return self.final_norm(x)

    def new_cache(self, batch_size: int, max_len: int | None = None) -> Cache:
        """Return an empty cache for `batch_size` sequences of up to `max_len` (default max_seq_len) positions."""
        return Cache(self.config.num_layers, batch_size, max_len or self.config.max_seq_len)

    def num_parameters(self) -> int:
        """Return the number of parameters; a head tied to the embedding counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def add_head(self) -> None:
        """Add the head, with the embedding's weights if the configuration ties them.

        A family calls this last: shared weights then have the embedding's name, as in transformers.
        """
        assert self.config.vocab_size is not None
        self.lm_head = Linear(self.config.d_model, self.config.vocab_size, bias=False)
        if self.config.tie_embeddings:
            self.lm_head.weight = self.token_embedding.weight

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.token_embedding(tokens)  # (B, T, D)
        if self.position_embedding is not None:
            return x + self.position_embedding(positions)  # (T, D) or (B, T, D)
        if self.config.pos_encoding == "sinusoidal":
            # arXiv:1706.03762, section 3.4: without the factor the sinusoids would dominate the token embeddings.
            return x * self.config.d_model**0.5 + sinusoids(positions, self.config.d_model).to(x.dtype)
        return x

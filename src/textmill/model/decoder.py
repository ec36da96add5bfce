"""The decoder-only transformer: from token ids to a score for every possible next token.

This file has what all families share: embedding, positions, mask, blocks, final norm, head. `llama.py` (llama and
qwen3) and `gpt2.py` add their blocks, with the weight names of transformers, so that a checkpoint is a model folder of
transformers without any mapping.

Letters: B sequences, T positions of this call, D width of the model, V tokens in the vocabulary.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textmill.config import ModelConfig
from textmill.model.attention import Mask, make_mask
from textmill.model.cross_entropy import smoothed_sums
from textmill.model.dropout import Dropout
from textmill.model.head_loss import head_loss
from textmill.model.kv_cache import Cache
from textmill.model.linear_and_embedding import Embedding, Linear, is_plain
from textmill.model.norm import make_norm
from textmill.model.positions import Angles, rotary_angles, sinusoids
from textmill.model.recompute import recomputed
from textmill.planning.logits import tokens_at_once


class Block(nn.Module):
    """One layer: attention and feed-forward, each around the residual stream (B, T, D)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout)
        self.pre_norm = config.pre_norm

    @abstractmethod
    def forward(self, x: Tensor, angles: Angles | None, mask: Mask, cache: Cache | None) -> Tensor:
        """Return the stream after this layer, (B, T, D)."""


class Names(NamedTuple):
    """What transformers calls the parts of a family: the stack is everything below the head."""

    stack: str
    tokens: str
    positions: str
    blocks: str
    norm: str
    attention: str


class Decoder(nn.Module):
    """Base of both families. `config` is the resolved shape; weights are undefined until `initialise` fills them."""

    block: type[Block]
    names: Names

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.vocab_size is not None
        self.config = config
        self.dropout = Dropout(config.dropout)
        names, stack = self.names, nn.Module()
        learned = config.pos_encoding == "learned"
        stack.add_module(names.tokens, Embedding(config.vocab_size, config.d_model))
        stack.add_module(names.positions, Embedding(config.max_seq_len, config.d_model) if learned else None)
        stack.add_module(names.blocks, nn.ModuleList(self.block(config, layer) for layer in range(config.num_layers)))
        # Without pre_norm, blocks normalise their own output.
        stack.add_module(names.norm, make_norm(config) if config.pre_norm else nn.Identity())
        self.add_module(names.stack, stack)
        # Last, so that shared weights have the embedding's name, as in transformers.
        self.lm_head = Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.token_embedding.weight

    def _part(self, name: str) -> Any:
        return getattr(getattr(self, self.names.stack), name)

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers, the first one first."""
        return self._part(self.names.blocks)

    @property
    def token_embedding(self) -> nn.Embedding:
        """The table of token embeddings, (V, D)."""
        return self._part(self.names.tokens)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        last_only: bool = False,
        next_tokens: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> Any:
        """Return logits (B, T, V), or (B, 1, V) with `last_only`; with `next_tokens` the loss of them.

        Args:
            tokens: ids (B, T), each below `config.vocab_size`.
            positions: (B, T), below `config.max_seq_len`; default 0, 1, ... after the cached ones.
            segments: (B, T); positions attend only within their own segment. Not together with a cache.
            cache: from `new_cache`; these T positions are appended to it.
            last_only: score the last position only, as generation needs.
            next_tokens: the targets, ids (B, T). The result is then what `smoothed_sums` returns for the logits,
                which never exist at once if they are many.
            label_smoothing: see `cross_entropy_sum`; of the loss alone.

        Raises:
            ValueError: more positions than `config.max_seq_len`, or segments with a cache.
        """
        x = self.stream(tokens, positions=positions, segments=segments, cache=cache)
        if next_tokens is not None:
            return self._loss(x, next_tokens, label_smoothing)
        return self.lm_head(x[:, -1:] if last_only else x)  # (B, T, D) -> (B, T, V)

    def stream(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return what the head reads, the normed stream after all blocks (B, T, D). See `forward`."""
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
            x,
            None if cache is None else past,
            heads=heads,
            kv_heads=self.config.num_kv_heads or heads,
            segments=segments,
            dtype=dtype,
        )
        angles = None
        if self.config.pos_encoding == "rope":
            assert self.config.head_dim is not None
            angles = rotary_angles(positions, self.config.head_dim, self.config.rope_theta, dtype)
        x = self._through_blocks(x, angles, mask, cache)
        if cache is not None:
            cache.advance(length)
        return self._part(self.names.norm)(x)

    def _through_blocks(self, x: Tensor, angles: Angles | None, mask: Mask, cache: Cache | None) -> Tensor:
        """Return the stream (B, T, D) after all blocks."""
        recompute = self.config.gradient_checkpointing and self.training and torch.is_grad_enabled()
        drops = max(self.config.dropout, self.config.attention_dropout or 0.0) > 0
        for block in self.blocks:
            if recompute:
                x = recomputed(block, x, angles, mask, None, drops=drops)
            else:
                x = block(x, angles, mask, cache)
        return x

    def _loss(self, x: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Return the sums of `smoothed_sums` for the normed stream (B, T, D), with as many logits as may exist."""
        assert self.config.vocab_size is not None
        at_once = tokens_at_once(targets.numel(), self.config.vocab_size)
        if at_once is None or not is_plain(self.lm_head):
            return smoothed_sums(self.lm_head(x), targets, label_smoothing=label_smoothing)
        return head_loss(x, self.lm_head.weight, targets, tokens_at_once=at_once, label_smoothing=label_smoothing)

    def new_cache(self, batch_size: int, max_len: int | None = None) -> Cache:
        """Return an empty cache for `batch_size` sequences of up to `max_len` (default max_seq_len) positions."""
        return Cache(self.config.num_layers, batch_size, max_len or self.config.max_seq_len)

    def num_parameters(self) -> int:
        """Return the number of parameters; a head tied to the embedding counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.token_embedding(tokens)  # (B, T, D)
        if self.config.pos_encoding == "learned":
            return x + self._part(self.names.positions)(positions)  # (T, D) or (B, T, D)
        if self.config.pos_encoding == "sinusoidal":
            # arXiv:1706.03762, section 3.4: without the factor the sinusoids would dominate the token embeddings.
            return x * self.config.d_model**0.5 + sinusoids(positions, self.config.d_model).to(x.dtype)
        return x

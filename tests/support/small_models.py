"""Small models of every kind, for tests."""

from __future__ import annotations

from typing import Any

import torch

from textmill.config import ModelConfig
from textmill.model.decoder import Decoder
from textmill.model.from_config import build_model

torch.set_num_threads(1)  # at these sizes threads cost more than they give, above all on a busy machine

FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {"architecture": "qwen3", "num_kv_heads": 2, "head_dim": 24},
    "llama": {"architecture": "llama", "num_kv_heads": 1, "tie_embeddings": False},
    "gpt2": {"architecture": "gpt2"},
}
"""One shape per family that transformers has a class for, with everything that tends to go wrong."""

VARIANTS: dict[str, dict[str, Any]] = {
    "post-norm": {"architecture": "llama", "pre_norm": False},
    "sinusoidal": {"architecture": "gpt2", "pos_encoding": "sinusoidal"},
    "learned positions in llama": {"architecture": "llama", "pos_encoding": "learned"},
    "rotary gpt2 with RMSNorm": {"architecture": "gpt2", "pos_encoding": "rope", "norm": "rmsnorm"},
    "relu": {"activation": "relu"},
    "layernorm and biases": {"architecture": "qwen3", "norm": "layernorm", "bias": True},
    "gpt2 without biases, grouped heads": {"architecture": "gpt2", "bias": False, "num_kv_heads": 2},
    "gated gpt2": {"architecture": "gpt2", "activation": "silu", "gated_mlp": True},
    "ungated llama": {"architecture": "llama", "activation": "silu", "gated_mlp": False},
}
"""Shapes that train and that no class of transformers computes."""


def small_model(*, seed: int = 0, **options: Any) -> Decoder:
    """Return a model in evaluation mode whose weights are large enough for its outputs to differ."""
    defaults = {"vocab_size": 61, "d_model": 32, "num_layers": 2, "num_heads": 4, "max_seq_len": 24, "init_std": 0.15}
    return build_model(ModelConfig(**{**defaults, **options}), seed=seed).eval()


def random_tokens(*shape: int, seed: int = 1, vocab_size: int = 61) -> torch.Tensor:
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))

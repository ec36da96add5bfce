"""Parameters and FLOPs agree with the model that is built and with published sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from textmill.config import PRESETS, ModelConfig
from textmill.errors import ConfigError
from textmill.planning.parameter_count import count_parameters, flops_per_token

SMALL: dict[str, Any] = {"vocab_size": 97, "d_model": 48, "num_layers": 3, "num_heads": 4, "max_seq_len": 32}
SHAPES: list[dict[str, Any]] = [
    {},
    {"architecture": "llama"},
    {"architecture": "gpt2"},
    {"num_kv_heads": 2},
    {"num_kv_heads": 1, "head_dim": 16, "tie_embeddings": False},
    {"architecture": "llama", "bias": True, "norm": "layernorm", "tie_embeddings": False},
    {"architecture": "gpt2", "bias": False, "pre_norm": False},
    {"architecture": "gpt2", "activation": "relu", "pos_encoding": "sinusoidal", "d_ff": 100},
    {"architecture": "gpt2", "activation": "silu", "pos_encoding": "rope", "norm": "rmsnorm"},
    {"architecture": "qwen3", "activation": "gelu", "pos_encoding": "learned", "bias": True},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())) or "default")
def test_parameters_are_those_of_the_built_model(shape: dict[str, Any]) -> None:
    """The count equals the sum over the parameters of the built model, for every family and option."""
    from textmill.model import build_model

    config = ModelConfig(**{**SMALL, **shape})
    assert count_parameters(config).total == build_model(config, seed=0).num_parameters()


@pytest.mark.parametrize(("preset", "published"), [("gpt2", 124_439_808), ("gpt2-xl", 1_557_611_200)])
def test_gpt2_has_its_published_size(preset: str, published: int) -> None:
    """The gpt2 presets have exactly the parameters of OpenAI's released models."""
    values = {
        setting: PRESETS[preset].values[setting]
        for setting in ModelConfig.model_fields
        if setting in PRESETS[preset].values
    }
    assert count_parameters(ModelConfig(**values)).total == published


@pytest.mark.parametrize("shape", SHAPES[:6], ids=lambda shape: "-".join(map(str, shape.values())) or "default")
def test_forward_flops_are_those_torch_counts(shape: dict[str, Any]) -> None:
    """Matrix-product FLOPs of a forward pass equal those that torch's counter sees."""
    from textmill.model import build_model

    config = ModelConfig(**{**SMALL, **shape})
    model = build_model(config, seed=0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 32, dtype=torch.long))
    assert 3 * counter.get_total_flops() == 2 * 32 * flops_per_token(config)


def test_attention_cost_grows_with_the_row() -> None:
    """Doubling the row adds exactly 12 L H E T operations per token of training."""
    short, long = (flops_per_token(ModelConfig(**{**SMALL, "max_seq_len": length})) for length in (32, 64))
    assert long - short == 12 * 3 * 4 * 12 * 32


def test_vocabulary_must_be_known() -> None:
    """Without a vocabulary size the count is refused."""
    with pytest.raises(ConfigError, match="vocab_size"):
        count_parameters(ModelConfig(d_model=64))

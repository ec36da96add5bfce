"""The predicted bytes are those that torch holds."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import nn

from support.live_bytes import LiveBytes, kept_bytes
from textmill.config import ModelConfig
from textmill.data.batches.loader import Batch
from textmill.errors import ConfigError
from textmill.model import build_model, cross_entropy_sum
from textmill.model.cross_entropy import loss_sums
from textmill.optim.optimizer_choice import MuonSettings, build_optimizer
from textmill.planning import logits
from textmill.planning.memory import Memory, StepSettings, estimate_memory, optimizer_bytes

SMALL: dict[str, Any] = {"vocab_size": 97, "d_model": 48, "num_layers": 3, "num_heads": 4, "max_seq_len": 32}
SHAPES: list[dict[str, Any]] = [
    {},
    {"architecture": "llama"},
    {"architecture": "gpt2"},
    {"num_kv_heads": 1, "head_dim": 16, "tie_embeddings": False},
    {"architecture": "llama", "bias": True, "norm": "layernorm"},
    {"architecture": "gpt2", "bias": False, "pre_norm": False},
    {"architecture": "gpt2", "activation": "relu", "pos_encoding": "sinusoidal", "d_ff": 100},
    {"architecture": "gpt2", "activation": "silu", "pos_encoding": "rope", "norm": "rmsnorm"},
    {"architecture": "qwen3", "activation": "gelu", "pos_encoding": "learned", "bias": True},
    {"dropout": 0.1},
    {"architecture": "gpt2", "dropout": 0.1, "attention_dropout": 0.0},
]


def name(shape: dict[str, Any]) -> str:
    return "-".join(map(str, shape.values())) or "default"


@pytest.mark.parametrize("shape", SHAPES, ids=name)
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "muon"])
def test_state_is_exact(shape: dict[str, Any], optimizer: str) -> None:
    """Weights, gradients and optimizer state have exactly the predicted bytes after a step."""
    model = build_model(ModelConfig(**{**SMALL, **shape}), seed=0)
    tokens = torch.arange(32)[None] % 97
    live = build_optimizer(model, optimizer, learning_rate=1e-3)
    cross_entropy_sum(model(tokens), tokens).backward()
    live.step()
    plan = estimate_memory(model.config, StepSettings(batch_size=1, optimizer=optimizer))
    parameters = list(model.parameters())
    assert plan.weights == sum(parameter.nbytes for parameter in parameters)
    assert plan.gradients == sum(parameter.grad.nbytes for parameter in parameters if parameter.grad is not None)
    state = [value for kept in live.state.values() for value in kept.values() if isinstance(value, torch.Tensor)]
    assert plan.optimizer == sum(tensor.nbytes for tensor in state)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_activations_are_what_the_backward_pass_keeps(shape: dict[str, Any], bf16: bool) -> None:
    """Storages seen by saved_tensors_hooks sum to the prediction, within half a per mille."""
    model = build_model(ModelConfig(**{**SMALL, **shape}), seed=0).train()
    tokens = torch.zeros(4, 32, dtype=torch.long)
    plan = estimate_memory(model.config, StepSettings(batch_size=4, precision="bf16" if bf16 else "fp32"))
    logarithms, ids = plan.logits // 3, plan.batch // 2
    predicted = plan.activations + plan.copies + logarithms + ids
    assert predicted == pytest.approx(kept_bytes(model, tokens, bf16=bf16), rel=5e-4)


def measured_peak(shape: dict[str, Any], rows: int, optimizer: str, accumulation: int, bf16: bool) -> int:
    """Return the most bytes of tensors alive at once in three steps of training, the model's own included."""
    gc.collect()
    with LiveBytes() as live:
        model = build_model(ModelConfig(**shape), seed=0).train()
        dtype = torch.bfloat16 if bf16 else torch.float32
        trained = build_optimizer(model, optimizer, learning_rate=1e-3, muon=MuonSettings(dtype=dtype))
        for _ in range(3):
            for _ in range(accumulation):
                tokens = torch.zeros(rows, shape["max_seq_len"], dtype=torch.long)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss, _ = loss_sums(model, Batch(tokens, tokens, tokens.numel()))
                loss.backward()
                del loss
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            trained.step()
            trained.zero_grad(set_to_none=True)
    return live.peak


PARTS: dict[str, Any] = {"vocab_size": 4090, "d_model": 64, "num_layers": 2, "num_heads": 4, "max_seq_len": 64}


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_loss_in_parts_takes_what_is_said(bf16: bool, accumulation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak is predicted to 2 %, less than half of that with all logits at once; the head's gradient is kept."""
    step = StepSettings(16, accumulation, validation_rows=1, optimizer="sgd", precision="bf16" if bf16 else "fp32")
    at_once = estimate_memory(ModelConfig(**PARTS), step)
    monkeypatch.setattr(logits, "LOGITS_AT_ONCE", 4090 * 128)
    plan = estimate_memory(ModelConfig(**PARTS), step)
    peak = measured_peak(PARTS, 16, "sgd", accumulation, bf16)
    assert plan.total - plan.runtime == pytest.approx(peak, rel=0.02)
    assert 2 * (plan.total - plan.runtime) < at_once.total - at_once.runtime
    assert plan.activations - at_once.activations == 4 * 4096 * 64


NARROW = {"vocab_size": 97, "d_model": 64, "num_layers": 6, "num_heads": 4, "max_seq_len": 64}
WIDE = {"vocab_size": 4096, "d_model": 128, "num_layers": 4, "num_heads": 4, "max_seq_len": 64}
GPT2 = {"architecture": "gpt2", "vocab_size": 512, "d_model": 128, "num_layers": 4, "max_seq_len": 64, "dropout": 0.1}


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("shape", [NARROW, WIDE, GPT2], ids=["narrow", "wide", "gpt2"])
@pytest.mark.parametrize(
    ("rows", "accumulation", "tolerance"),
    [
        pytest.param(1, 1, 0.05, id="1"),
        pytest.param(8, 1, 0.01, id="8", marks=pytest.mark.slow),
        pytest.param(4, 2, 0.01, id="4x2"),
    ],
)
def test_the_peak_of_a_step(
    shape: dict[str, Any], optimizer: str, bf16: bool, rows: int, accumulation: int, tolerance: float
) -> None:
    """The most that is alive at once is predicted to a per cent, to five where nothing but the state counts."""
    plan = estimate_memory(
        ModelConfig(**shape),
        StepSettings(
            batch_size=rows,
            accumulation=accumulation,
            optimizer=optimizer,
            precision="bf16" if bf16 else "fp32",
            validation_rows=1,
        ),
    )
    peak = measured_peak(shape, rows, optimizer, accumulation, bf16)
    assert plan.total - plan.runtime == pytest.approx(peak, rel=tolerance)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_checkpointing_takes_what_is_said(bf16: bool) -> None:
    """With gradient checkpointing the peak is predicted within 7 %, and is far below the peak without."""
    shape = {**NARROW, "num_layers": 12, "gradient_checkpointing": True}
    precision = "bf16" if bf16 else "fp32"
    again = estimate_memory(ModelConfig(**shape), StepSettings(batch_size=16, precision=precision, validation_rows=1))
    kept = estimate_memory(ModelConfig(**{**shape, "gradient_checkpointing": False}), StepSettings(batch_size=16))
    assert again.total - again.runtime == pytest.approx(measured_peak(shape, 16, "adamw", 1, bf16), rel=0.07)
    assert again.activations < kept.activations / 8


def test_attention_is_quadratic_until_it_is_not_stored() -> None:
    """A CPU stores the weights, a number per pair of positions, up to a limit; a GPU one number per query instead."""

    def activations(length: int, device: str) -> int:
        config = ModelConfig(**{**SMALL, "architecture": "llama", "num_layers": 1, "max_seq_len": length})
        return estimate_memory(config, StepSettings(batch_size=1, device=device)).activations

    heads = 4
    assert activations(512, "cpu") - 2 * activations(256, "cpu") == heads * 4 * (512**2 - 2 * 256**2)
    assert activations(512, "cuda") == 2 * activations(256, "cuda")
    assert activations(16384, "cpu") == 2 * activations(8192, "cpu")  # more scores than the limit


def test_norms_of_queries_and_keys_are_in_float32_on_a_gpu() -> None:
    """With bf16, qwen3 keeps 4 bytes per number of queries and keys more than llama, and 4 per head; a CPU these."""

    def activations(architecture: str, device: str) -> int:
        config = ModelConfig(**{**SMALL, "architecture": architecture})
        return estimate_memory(config, StepSettings(batch_size=1, precision="bf16", device=device)).activations

    layers, tokens, heads, head_size = 3, 32, 4 + 4, 12
    more = {device: activations("qwen3", device) - activations("llama", device) for device in ("cuda", "cpu")}
    assert more["cuda"] == layers * tokens * heads * (4 * head_size + 4)
    assert more["cpu"] == layers * (tokens * heads * 4 + heads * head_size * 4)  # and the gains, once per head


def test_published_arithmetic() -> None:
    """AdamW takes 16 bytes per parameter: a model of 1.3 G parameters has 20.8 GB before any activation."""
    config = ModelConfig(architecture="gpt2", vocab_size=50257, d_model=2048, num_layers=24, num_heads=16)
    plan = estimate_memory(config, StepSettings(batch_size=1, precision="bf16", device="cuda"))
    assert plan.weights + plan.gradients + plan.optimizer == pytest.approx(16 * plan.weights / 4, rel=1e-6)
    assert 16 * plan.weights / 4 == pytest.approx(20.8e9, rel=0.02)


def test_what_is_spread_over_processes_is_divided() -> None:
    """Four shards hold a quarter of weights, gradients and optimizer each, and as many activations as before."""
    config = ModelConfig(**SMALL)
    whole = estimate_memory(config, StepSettings(batch_size=2))
    part = estimate_memory(config, StepSettings(batch_size=2, processes=4, sharded=True))
    assert (part.weights, part.gradients, part.optimizer) == tuple(
        int(value / 4) for value in (whole.weights, whole.gradients, whole.optimizer)
    )
    assert part.activations == whole.activations


def test_an_imported_optimizer_counts_as_adam() -> None:
    """What cannot be known without running the user's code is assumed to be Adam's."""
    config = ModelConfig(**SMALL)
    assert optimizer_bytes(config, "my.module:Optimizer") == optimizer_bytes(config, "adamw")
    assert optimizer_bytes(config, "sgd", momentum=0) == 0


def test_terms_and_total_are_reported() -> None:
    """The dictionary holds each term in bytes; without a vocabulary there is no answer."""
    plan = estimate_memory(ModelConfig(**SMALL), StepSettings(batch_size=2))
    assert isinstance(plan, Memory)
    assert plan.as_dict()["total"] == plan.total and plan.peak_moment in plan.moments
    with pytest.raises(ConfigError, match="vocab_size"):
        estimate_memory(ModelConfig(), StepSettings(batch_size=2))

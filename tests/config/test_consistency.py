"""Rules across settings: given values that do not fit are refused, others are made to fit and said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.config import ModelConfig, choose_preset, load_config
from textmill.config.consistency import (
    fit_batch,
    fit_dropout,
    fit_model,
    fit_vocab,
    fit_warmup,
    replaced,
    without_effect,
)
from textmill.config.model_shape import resolve_shape
from textmill.config.presets import apply_auto_preset
from textmill.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_model": 256, "num_heads": 7}, "use one of 1, 2, 4, 8, 16, 32, 64, 128"),
        ({"d_model": 255, "num_heads": 5}, "d_model 255 has no even head size"),
        ({"d_model": 6, "num_heads": 6, "pos_encoding": "rope"}, "use one of 1, 3"),
        ({"num_heads": 8, "num_kv_heads": 3}, "num_kv_heads 3 does not divide num_heads 8: use one of 1, 2, 4, 8"),
        ({"head_dim": 33}, "head_dim 33 must be even"),
        ({"architecture": "gpt2", "head_dim": 16}, "head_dim 16 x num_heads 8 must be d_model 256"),
        ({"min_lr_ratio": 0.5, "min_lr": 1e-5}, "exclude each other"),
        ({"warmup_steps": 5, "warmup_ratio": 0.2}, "exclude each other"),
        ({"data": "a", "dataset_name": "wikitext"}, "exclude each other"),
        ({"overwrite": True, "resume": True}, "exclude each other"),
        ({"min_lr": 1.0}, "min_learning_rate 1.0 is above learning_rate 0.0003 (default)"),
        ({"engine": "ddp", "deepspeed_config": "d.json"}, "deepspeed_config needs engine deepspeed"),
        ({"distributed_backend": "nccl", "device": "cpu"}, "use gloo"),
        ({"patience": 3, "val_split": 0}, "needs a validation set"),
    ],
)
def test_contradictions(values: dict[str, Any], message: str) -> None:
    """The message names the settings and, where they are few, the valid values."""
    with pytest.raises(ConfigError) as caught:
        load_config(values)
    assert message in str(caught.value)


@given(st.integers(1, 2000), st.integers(1, 64))
def test_heads_fit_or_are_refused_with_those_that_do(d_model: int, num_heads: int) -> None:
    """A resolved shape has an even head size that divides the width; a refused one lists only heads that pass."""
    try:
        model = ModelConfig(d_model=d_model, num_heads=num_heads).resolved()
        assert model.num_heads == num_heads
        assert model.head_dim and model.head_dim * num_heads == d_model and model.head_dim % 2 == 0
    except ConfigError as error:
        listed = str(error).partition("use one of ")[2].removesuffix(", ...").split(", ")
        assert d_model % 2 or listed != [""]
        for heads in listed if listed != [""] else []:
            assert ModelConfig(d_model=d_model, num_heads=int(heads)).resolved().num_heads == int(heads)


def test_default_heads_are_lowered_and_said() -> None:
    """A number of heads nobody chose gives way to the width, in the Config and in a shape alone."""
    config = load_config(d_model=100)
    assert fit_model(config) == ["num_heads: 5 instead of the default 8, because heads must divide d_model 100"]
    assert config.model.num_heads == 5
    assert config.origins["num_heads"] == "fitted"
    shape, said = resolve_shape(ModelConfig(d_model=100))
    assert shape.num_heads == 5
    assert len(said) == 1 and said[0].startswith("num_heads: ")


@pytest.mark.parametrize(
    ("values", "architecture", "says"),
    [
        ({}, "qwen3", False),
        ({"activation": "gelu"}, "gpt2", True),
        ({"activation": "relu"}, "gpt2", True),
        ({"norm": "layernorm"}, "gpt2", True),
        ({"pos_encoding": "sinusoidal"}, "gpt2", True),
        ({"activation": "gelu", "architecture": "llama"}, "llama", False),
        ({"activation": "swiglu", "norm": "rmsnorm"}, "qwen3", False),
    ],
)
def test_architecture_follows_from_the_options(values: dict[str, Any], architecture: str, says: bool) -> None:
    """GELU, ReLU, LayerNorm and absolute positions mean gpt2 unless an architecture is set, and that is said."""
    shape, said = resolve_shape(ModelConfig(**values))
    assert shape.architecture == architecture
    assert bool(said) is says


def test_derived_shape() -> None:
    """The values that follow from others are those of the families."""
    qwen3 = ModelConfig(d_model=512).resolved()
    assert (qwen3.d_ff, qwen3.activation, qwen3.norm, qwen3.norm_eps, qwen3.bias) == (
        1408,
        "silu",
        "rmsnorm",
        1e-6,
        False,
    )
    gpt2 = ModelConfig(architecture="gpt2", d_model=512, dropout=0.1).resolved()
    assert (gpt2.d_ff, gpt2.activation, gpt2.norm, gpt2.norm_eps, gpt2.bias) == (
        2048,
        "gelu_tanh",
        "layernorm",
        1e-5,
        True,
    )
    assert (gpt2.pos_encoding, gpt2.tie_embeddings, gpt2.attention_dropout) == ("learned", True, 0.1)
    assert ModelConfig(d_model=2048).resolved().tie_embeddings is False
    assert gpt2.resolved() == gpt2


def test_vocabulary_follows_the_tokenizer() -> None:
    """Unset it is the tokenizer's; for BPE a larger wish is lowered and said; a smaller one is refused."""
    config = load_config()
    assert fit_vocab(config, 97, "char") == [] and config.model.vocab_size == 97
    config = load_config(vocab_size=8000)
    assert fit_vocab(config, 700, "bpe") == [
        "vocab_size: 700 instead of 8000, because the text has no more pairs to merge"
    ]
    assert config.model.vocab_size == 700
    config = load_config(vocab_size=50304)
    assert "the tokenizer uses 50257 of them" in fit_vocab(config, 50257, "pretrained")[0]
    assert config.model.vocab_size == 50304
    with pytest.raises(ConfigError, match="vocab_size 100 is less than the tokenizer's 257"):
        fit_vocab(load_config(vocab_size=100), 257, "byte")


@given(st.integers(1, 500), st.integers(1, 4))
def test_a_default_batch_never_asks_for_more_rows_than_there_are(rows: int, world_size: int) -> None:
    """Without a chosen batch, any data that every process gets a row of can be trained on."""
    config = load_config()
    config.apply_preset("x", {"batch_size": 16, "gradient_accumulation_steps": 4})
    try:
        said = fit_batch(config, rows, world_size)
    except ConfigError:
        assert rows < world_size
        return
    training = config.training
    per_step = training.batch_size * training.gradient_accumulation_steps * world_size
    assert per_step <= max(rows, 1)
    assert bool(said) == (world_size > 1 or rows < 64)


def test_a_given_batch_that_is_too_large_is_refused() -> None:
    """The message counts rows asked for and rows there are."""
    with pytest.raises(ConfigError, match="takes 32 rows per step, and the training text has 8"):
        fit_batch(load_config(batch_size=32), 8)


def test_warmup_is_shortened_whoever_chose_it() -> None:
    """A warm-up as long as the run would never reach the learning rate: it becomes a tenth, said."""
    config = load_config(warmup_steps=1000)
    assert fit_warmup(config, 1001) == []
    assert fit_warmup(config, 100) == ["warmup_steps: 10 instead of 1000, because the run has 100 steps"]
    assert config.training.warmup_steps == 10
    assert fit_warmup(load_config(), 1) == []


@pytest.mark.parametrize(("epochs", "dropout"), [(0.2, 0.0), (2.0, 0.0), (5.0, 0.1), (8.0, 0.2), (20.0, 0.2)])
def test_the_dropout_of_auto_fits_the_epochs(epochs: float, dropout: float) -> None:
    """It is for text that is read again: none at two epochs, that of the preset at the preset's eight."""
    config = load_config()
    apply_auto_preset(config, "cpu", 1_000_000)
    said = fit_dropout(config, epochs)
    assert config.model.dropout == pytest.approx(dropout)
    assert len(said) == (dropout != 0.2)
    given = load_config(dropout=0.2)
    apply_auto_preset(given, "cpu", 1_000_000)
    assert fit_dropout(given, epochs) == []
    assert given.model.dropout == 0.2


@pytest.mark.parametrize(
    ("values", "setting"),
    [
        ({"val_data": "v", "val_split": 0.2}, "val_split"),
        ({"momentum": 0.5}, "momentum"),
        ({"optimizer": "sgd", "beta1": 0.5}, "beta1"),
        ({"rope_theta": 1.0, "pos_encoding": "learned"}, "rope_theta"),
        ({"lr_decay": 0.5}, "lr_decay"),
        ({"mask_documents": True, "pack_sequences": False}, "mask_documents"),
        ({"wandb_project": "p"}, "wandb_project"),
        ({"log_dir": "runs"}, "log_dir"),
        ({"sample_tokens": 9, "sample_steps": 0}, "sample_tokens"),
        ({"val_split": 0, "eval_steps": 5}, "eval_steps"),
    ],
)
def test_idle_settings_are_said(values: dict[str, Any], setting: str) -> None:
    """A given setting that cannot have an effect gets one sentence with the reason."""
    sentences = without_effect(load_config(values))
    assert [sentence.partition(":")[0] for sentence in sentences] == [setting]
    assert "because" in sentences[0]
    assert without_effect(load_config()) == []
    assert without_effect(load_config(load_config().dump())) == []  # a default that is saved is not a choice
    assert without_effect(load_config(lr_schedule="exponential", lr_decay=0.5, lr_decay_every=10)) == []


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@given(size=st.integers(0, 10**12))
def test_auto_chooses_for_every_machine_and_size(device: str, size: int) -> None:
    """The choice is a known preset, and larger text never gets a smaller model."""
    name, values, sentence = choose_preset(device, size)
    assert name in sentence and name.startswith("auto-cpu" if device == "cpu" else "auto-gpu")
    larger = choose_preset(device, size * 10)[1]
    assert larger["d_model"] * larger["num_layers"] >= values["d_model"] * values["num_layers"]


@pytest.mark.parametrize(
    ("preset", "given", "world_size", "batch", "accumulation"),
    [
        ("gpt2", {}, 1, 8, 64),
        ("gpt2", {}, 8, 8, 8),
        ("gpt2", {}, 512, 1, 1),
        ("gpt2", {"batch_size": 16}, 8, 16, 8),
        ("gpt2", {"batch_size": 16, "gradient_accumulation_steps": 4}, 8, 16, 4),
        ("gpt2", {"gradient_accumulation_steps": 8}, 8, 1, 8),
        ("tiny", {}, 4, 4, 1),
        ("gpu_large", {}, 3, 14, 3),
    ],
)
def test_a_batch_of_a_preset_is_that_of_all_processes(
    preset: str, given: dict[str, int], world_size: int, batch: int, accumulation: int
) -> None:
    """GPT-2's half a million tokens per step stay so on eight GPUs; a batch that somebody chose is each process's."""
    config = load_config({"preset": preset}, given)
    said = fit_batch(config, 10**9, world_size)
    training = config.training
    assert (training.batch_size, training.gradient_accumulation_steps) == (batch, accumulation)
    assert all(f"{world_size} processes share the preset's" in sentence for sentence in said)


def test_a_given_learning_rate_takes_the_automatic_optimizer_away() -> None:
    """A learning rate meant for AdamW never meets the Muon of the automatic preset; without one, Muon stays."""
    own = load_config(learning_rate=3e-4)
    sentence = apply_auto_preset(own, "cpu", 10_000_000)
    assert (own.training.optimizer, own.training.learning_rate, own.training.lr_schedule) == ("adamw", 3e-4, "cosine")
    assert sentence is not None and "learning_rate is given" in sentence
    assert own.model.d_model == 192
    automatic = load_config()
    apply_auto_preset(automatic, "cpu", 10_000_000)
    assert (automatic.training.optimizer, automatic.training.learning_rate) == ("muon", 0.01)
    named = load_config(optimizer="muon")
    apply_auto_preset(named, "cpu", 10_000_000)
    assert named.training.lr_schedule == "wsd" and named.training.learning_rate == 0.01


MUON = {"optimizer": "muon", "learning_rate": 0.01}


@pytest.mark.parametrize(
    ("layers", "optimizer", "rate", "said"),
    [
        ([MUON, {"learning_rate": 5e-4}], "adamw", 5e-4, "optimizer: adamw instead of muon"),
        ([MUON, {"optimizer": "adamw"}], "adamw", 1e-3, "learning_rate: 0.001 instead of 0.01"),
        ([{"learning_rate": 5e-4}, {"optimizer": "muon"}], "muon", 0.01, "learning_rate: 0.01 instead of 0.0005"),
        ([{"preset": "tiny"}, {"optimizer": "muon"}], "muon", 0.01, ""),
        ([MUON, {"optimizer": "muon", "learning_rate": 0.02}], "muon", 0.02, ""),
        ([MUON, {"optimizer": "muon"}], "muon", 0.01, ""),
        ([{"optimizer": "muon"}, {"learning_rate": 0.02}], "muon", 0.02, ""),
        ([{"learning_rate": 5e-4}, {"optimizer": "adam"}], "adam", 5e-4, ""),
        ([{"preset": "tiny"}, {"learning_rate": 5e-4}], "adamw", 5e-4, ""),
    ],
)
def test_a_learning_rate_travels_with_its_optimizer(
    layers: list[dict[str, Any]], optimizer: str, rate: float, said: str
) -> None:
    """One alone of two that were given together replaces both, and that is said; so too over a Config."""
    for sources in (layers, [load_config(layers[0]), *layers[1:]]):
        config = load_config(*sources)
        assert (config.training.optimizer, config.training.learning_rate) == (optimizer, rate)
        assert [sentence.startswith(said) for sentence in replaced(config)] == [True] * bool(said)

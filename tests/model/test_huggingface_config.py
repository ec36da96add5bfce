"""config.json: what is written, what is read back, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.small_models import FAMILIES, VARIANTS
from textmill.config import ModelConfig
from textmill.config.huggingface import export_problem, from_huggingface, to_huggingface, unknown_keys
from textmill.errors import ConfigError, DataError


def described(**options: Any) -> dict[str, Any]:
    return to_huggingface(ModelConfig(vocab_size=100, d_model=64, num_heads=4, **options))


@given(
    family=st.sampled_from(["qwen3", "llama", "gpt2"]),
    heads=st.sampled_from([1, 2, 4, 8]),
    size=st.sampled_from([8, 16, 32]),
    group=st.sampled_from([1, 2]),
    layers=st.integers(1, 40),
    vocab=st.integers(2, 200_000),
    tied=st.booleans(),
    theta=st.floats(1.0, 1e7),
    eps=st.floats(1e-12, 1e-2),
    d_ff=st.integers(1, 5000),
)
@settings(deadline=None, max_examples=60)
def test_a_shape_survives_the_way_there_and_back(
    family: Any,
    heads: int,
    size: int,
    group: int,
    layers: int,
    vocab: int,
    tied: bool,
    theta: float,
    eps: float,
    d_ff: int,
) -> None:
    """Reading what was written gives the same shape, for every shape that other tools know."""
    config = ModelConfig(
        architecture=family,
        vocab_size=vocab,
        d_model=heads * size,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads if family == "gpt2" or heads % group else heads // group,
        d_ff=d_ff,
        tie_embeddings=tied,
        rope_theta=10000.0 if family == "gpt2" else theta,
        norm_eps=eps,
    ).resolved()
    assert export_problem(config) is None
    assert from_huggingface(to_huggingface(config)) == config


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_written_as_ours_and_its_reason_named(name: str) -> None:
    """A shape without a twin names the option that is in the way, and still survives the way there and back."""
    config = ModelConfig(vocab_size=100, d_model=64, num_heads=4, **VARIANTS[name]).resolved()
    problem = export_problem(config)
    assert problem is not None and any(
        f"has {setting}" in problem or f" {setting} " in problem for setting in VARIANTS[name]
    )
    values = to_huggingface(config)
    assert values["model_type"] == "textmill" and values["architectures"] == ["TextmillDecoder"]
    assert from_huggingface(values) == config


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_that_transformers_would_invent_are_written(family: Any) -> None:
    """An absent end-of-text id is null and not the default of the class; a known one is written."""
    values = described(**{**FAMILIES[family], "head_dim": None})
    assert values["eos_token_id"] is None and values["bos_token_id"] is None
    with_end = to_huggingface(ModelConfig(architecture=family, vocab_size=100), 7)
    assert with_end["eos_token_id"] == 7


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("llama", "rope_scaling", {"rope_type": "llama3", "factor": 8.0}),
        ("llama", "rope_scaling", {"type": "linear", "factor": 2.0}),
        ("qwen3", "rope_parameters", {"rope_type": "yarn", "rope_theta": 10000.0}),
        ("llama", "rope_parameters", {"rope_type": "default", "rope_theta": 5.0}),
        ("llama", "partial_rotary_factor", 0.5),
        ("llama", "attention_bias", True),
        ("llama", "mlp_bias", True),
        ("llama", "hidden_act", "relu"),
        ("llama", "sliding_window", 4096),
        ("qwen3", "attention_bias", True),
        ("qwen3", "use_sliding_window", True),
        ("qwen3", "layer_types", ["full_attention", "sliding_attention"]),
        ("gpt2", "activation_function", "relu"),
        ("gpt2", "scale_attn_weights", False),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "add_cross_attention", True),
        ("llama", "is_causal", False),
        ("qwen3", "is_causal", False),
        ("gpt2", "is_causal", False),
        ("llama", "is_encoder_decoder", True),
        ("llama", "pruned_heads", {"1": [0]}),
        ("qwen3", "add_cross_attention", True),
        ("llama", "auto_map", {"AutoModelForCausalLM": "modeling.Own"}),
        ("llama", "quantization_config", {"bits": 4}),
        ("llama", "model_type", "mistral"),
        ("llama", "model_type", None),
        ("llama", "hidden_size", "wide"),
        ("llama", "num_attention_heads", 3),
    ],
)
def test_what_we_would_compute_differently_is_refused(family: str, key: str, value: Any) -> None:
    """One line that begins with the file and names what is in the way."""
    values = {**described(architecture=family), key: value}
    with pytest.raises(DataError, match=r"^some/config.json: .") as refusal:
        from_huggingface(values, "some/config.json")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"])
def test_a_missing_key_is_named(key: str) -> None:
    """A config.json that leaves out a size cannot be guessed."""
    values = described(architecture="llama")
    del values[key]
    with pytest.raises(DataError, match=f"the key {key} is missing"):
        from_huggingface(values)


def test_keys_left_out_mean_what_transformers_takes_them_for() -> None:
    """Old Llama folders have no head_dim and no kv heads; GPT-2's has no n_inner."""
    values = described(architecture="llama")
    for key in ("head_dim", "num_key_value_heads", "rope_parameters", "tie_word_embeddings", "attention_bias"):
        del values[key]
    config = from_huggingface(values)
    assert (config.head_dim, config.num_kv_heads, config.tie_embeddings) == (16, 4, False)
    gpt2 = described(architecture="gpt2")
    del gpt2["n_inner"], gpt2["tie_word_embeddings"]
    assert (from_huggingface(gpt2).d_ff, from_huggingface(gpt2).tie_embeddings) == (256, True)


@pytest.mark.parametrize(
    ("family", "key", "values"),
    [
        ("llama", "max_position_embeddings", {}),
        ("qwen3", "max_position_embeddings", {}),
        ("gpt2", "n_positions", {}),
        ("llama", "hidden_act", {"hidden_act": "swish"}),
        ("qwen3", "hidden_act", {"hidden_act": "swish"}),
        ("llama", "rope_scaling", {"rope_scaling": {"type": "linear", "factor": 1.0}}),
        ("qwen3", "rope_parameters", {"rope_parameters": {"rope_type": "linear", "factor": 1, "rope_theta": 10000.0}}),
        ("llama", "is_causal", {"is_causal": True}),
    ],
)
def test_other_words_for_the_same_model(family: Any, key: str, values: dict[str, Any]) -> None:
    """What transformers takes for the default of its class, or computes alike, is read as that."""
    transformers = pytest.importorskip("transformers")
    plain = described(architecture=family)
    plain.pop("rope_theta", None)
    changed = {**{name: value for name, value in plain.items() if name != key}, **values}
    theirs = transformers.AutoConfig.for_model(**changed)
    read = from_huggingface(changed)
    assert read.max_seq_len == theirs.max_position_embeddings
    same = from_huggingface(plain)
    assert (read.activation, read.rope_theta, read.d_ff) == (same.activation, same.rope_theta, same.d_ff)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_of_a_config_is_known(family: str) -> None:
    """Each field of transformers' class is read, refused or listed as harmless; a field of nobody is named."""
    transformers = pytest.importorskip("transformers")
    fields = transformers.AutoConfig.for_model(family).to_dict()
    assert unknown_keys(fields) == []
    assert unknown_keys({**fields, "attention_sinks": 4, "_comment": ""}) == ["_comment", "attention_sinks"]
    assert unknown_keys(described(architecture=family)) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_fields_of_transformers_4_are_known(family: str) -> None:
    """A config.json of an older library has more fields."""
    older = (
        *("rope_theta", "rope_scaling", "torch_dtype", "torchscript", "use_bfloat16", "pruned_heads", "is_decoder"),
        *("tie_encoder_decoder", "finetuning_task", "prefix", "task_specific_params", "temperature", "num_beams"),
        *("bad_words_ids", "typical_p", "tf_legacy_loss", "sep_token_id", "tokenizer_class", "n_ctx"),
    )
    assert unknown_keys({"model_type": family, **dict.fromkeys(older)}) == (["rope_theta"] if family == "gpt2" else [])


def test_gpt2_says_its_context_where_converters_look() -> None:
    """llama.cpp's converter reads n_ctx."""
    values = described(architecture="gpt2", max_seq_len=48)
    assert (values["n_ctx"], values["n_positions"]) == (48, 48)


def test_a_shape_without_a_vocabulary_cannot_be_written() -> None:
    """The vocabulary belongs to the shape once there are weights."""
    with pytest.raises(ConfigError, match="vocab_size"):
        to_huggingface(ModelConfig())

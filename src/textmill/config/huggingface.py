"""Conversion between ModelConfig and the `config.json` of a Hugging Face folder.

A config.json that describes a computation we do not implement is refused. A ModelConfig that transformers has no class
for is written with our own model type, which only textmill loads.
"""

from collections.abc import Mapping
from typing import Any

from textmill.config.field_types import show
from textmill.config.model_shape import ModelConfig
from textmill.errors import ConfigError, DataError

OWN_MODEL_TYPE = "textmill"
"""The `model_type` of a shape that transformers has no class for."""

UNKNOWN_MODEL_TYPE = "unknown"
"""The `model_type` of a module that only the code of its author can build."""

BUILDER = "textmill_builder"
"""Key of config.json: the import string of the code that builds such a module."""

SHAPE_OF_BUILDER = "textmill_shape"
"""Key of config.json: the shape that this code is called with, each value by its name."""

_CLASSES = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}
_ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}
_OF_GPT2 = _ACTIVATIONS | {"gelu_tanh": "gelu_new"}
_ACTIVATION_NAMES = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "swish": "silu"}
_ACTIVATION_NAMES |= {"gelu": "gelu", "silu": "silu"}

_SHARED = {"vocab_size": "vocab_size", "init_std": "initializer_range", "tie_embeddings": "tie_word_embeddings"}
_LLAMA = _SHARED | {
    "d_model": "hidden_size",
    "d_ff": "intermediate_size",
    "activation": "hidden_act",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "max_seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "attention_dropout": "attention_dropout",
    "rope_theta": "rope_theta",
}
_GPT2 = _SHARED | {
    "d_model": "n_embd",
    "d_ff": "n_inner",
    "num_layers": "n_layer",
    "num_heads": "n_head",
    "max_seq_len": "n_positions",
    "norm_eps": "layer_norm_epsilon",
    "activation": "activation_function",
    "dropout": "resid_pdrop",
    "attention_dropout": "attn_pdrop",
}
_KEYS = {"llama": _LLAMA, "qwen3": _LLAMA, "gpt2": _GPT2}
"""Per family, a setting of ModelConfig -> its key in config.json."""

_LLAMA_DEFAULTS = {
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "num_key_value_heads": None,
    "head_dim": None,
    "rms_norm_eps": 1e-6,
    "attention_dropout": 0.0,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
}
_DEFAULTS = {
    "llama": _LLAMA_DEFAULTS,
    "qwen3": _LLAMA_DEFAULTS | {"num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768},
    "gpt2": {
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "n_inner": None,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "n_positions": 1024,
        "resid_pdrop": 0.1,
        "attn_pdrop": 0.1,
    },
}
"""Per family, transformers' values of missing keys. A key without one is required."""

_FIXED = {
    "llama": {"attention_bias": False, "mlp_bias": False},
    "qwen3": {"attention_bias": False, "use_sliding_window": False},
    "gpt2": {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
}
"""Per family, the keys with a single supported value, which is also the default of a missing key."""

_NEUTRAL: dict[str, Any] = {
    "is_causal": True,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
}
"""Keys of every family that are not written and have a single supported value too, besides null."""

_CHECKED = {"model_type", "auto_map", "quantization_config", "sliding_window", "layer_types"}
_CHECKED |= {"rope_parameters", "rope_scaling", "partial_rotary_factor"}

_HARMLESS = {
    *("architectures", "_name_or_path", "transformers_version", "tokenizer_class", "prefix", "task_specific_params"),
    *("dtype", "torch_dtype", "use_bfloat16", "torchscript", "reorder_and_upcast_attn", "pretraining_tp"),
    *("use_cache", "chunk_size_feed_forward", "output_attentions", "output_hidden_states", "return_dict"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_autoset"),
    *("n_ctx", "max_window_layers", "embd_pdrop", "is_decoder", "gradient_checkpointing"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id"),
    *("problem_type", "id2label", "label2id", "num_labels", "finetuning_task"),
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
    *("tie_encoder_decoder", "cross_attention_hidden_size", "tf_legacy_loss"),
}
"""Keys that do not change the logits: names and versions, number formats, what is returned, tasks that are not read.

`embd_pdrop` and `is_decoder` are among them: the first is for training alone, and decoders are all that is read.
eos_token_id is read beside generation_config.json (see `checkpoint.generation_config`).
"""

GENERATION = {
    *("max_length", "max_new_tokens", "min_length", "min_new_tokens", "do_sample", "early_stopping", "num_beams"),
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "length_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences"),
    *("output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id"),
    *("remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"),
    *("num_beam_groups", "diversity_penalty"),
}
"""Keys of old configurations about generating, which count where generation_config.json is missing."""


def unknown_keys(values: Mapping[str, Any]) -> list[str]:
    """Return the keys of a `config.json` of one of the families that textmill does not know, sorted."""
    family = str(values.get("model_type"))
    if family not in _KEYS:
        return []
    known = {*_KEYS[family].values(), *_FIXED[family], *_NEUTRAL, *_CHECKED, *_HARMLESS, *GENERATION}
    return sorted(values.keys() - known)


def export_problem(config: ModelConfig) -> str | None:
    """Return why transformers has no class for this model and how to change that, or None if it has one."""
    config = config.resolved()
    family = config.architecture
    gpt2 = family == "gpt2"
    expected = {
        "norm": ["layernorm"] if gpt2 else ["rmsnorm"],
        "pos_encoding": ["learned"] if gpt2 else ["rope"],
        "gated_mlp": [not gpt2],
        "activation": list(_ACTIVATIONS),
        "bias": [gpt2],
        "pre_norm": [True],
        "num_kv_heads": [config.num_heads] if gpt2 else [config.num_kv_heads],
    }
    for name, values in expected.items():
        if (value := getattr(config, name)) not in values:
            known = " or ".join(str(other) for other in values)
            return f"{family} models of other tools have {name} {known}, and this one has {value}"
    return None


def to_huggingface(config: ModelConfig, eos_id: int | None = None, *, dtype: str = "float32") -> dict[str, Any]:
    """Return the `config.json` of a model of this shape, whose weights are stored in `dtype`.

    `eos_id` is the EOS token; None is written as null, because transformers would otherwise assume an id of its own.
    A model with an `export_problem` gets our own model type and the values of ModelConfig.

    Raises:
        ConfigError: the vocabulary size is not known.
    """
    config = config.resolved()
    if config.vocab_size is None:
        raise ConfigError("vocab_size is not set: a model folder needs it")
    ends = {"bos_token_id": None, "eos_token_id": eos_id, "pad_token_id": None}
    if export_problem(config):
        return {
            "architectures": ["TextmillDecoder"],
            "model_type": OWN_MODEL_TYPE,
            **config.values(),
            **ends,
            "dtype": dtype,
        }
    family = config.architecture
    assert family is not None
    described = {
        "architectures": [_CLASSES[family]],
        "model_type": family,
        **{key: getattr(config, name) for name, key in _KEYS[family].items()},
        **_FIXED[family],
        **ends,
        "dtype": dtype,
    }
    if family == "gpt2":
        positions = {"n_ctx": config.max_seq_len}  # where llama.cpp's converter looks
        activation = _OF_GPT2[str(config.activation)]
        return described | positions | {"activation_function": activation, "embd_pdrop": config.dropout}
    # transformers 4, llama.cpp and vLLM look for rope_theta at the top, transformers 5 in rope_parameters
    rope = {"rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"}}
    return described | rope | {"hidden_act": _ACTIVATIONS[str(config.activation)]}


def from_huggingface(values: Mapping[str, Any], source: str = "config.json") -> ModelConfig:
    """Return the shape that a `config.json` describes, complete.

    Raises:
        DataError: it describes a computation we do not implement, or a key is missing or malformed; the message begins
            with `source` and names the key.
    """
    family = values.get("model_type")
    if values.get("auto_map"):
        raise DataError(f"{source}: the model needs its own Python code (auto_map), which textmill does not run")
    if values.get("quantization_config"):
        raise DataError(f"{source}: the weights are quantised (quantization_config); use the unquantised model")
    if family == UNKNOWN_MODEL_TYPE:
        names = values.get("architectures")
        name = show(names[0]) if isinstance(names, list) and names else "it"
        if (builder := values.get(BUILDER)) is not None:
            builder = show(builder).strip("'")
            raise DataError(
                f"{source}: this is {name}, which {builder} builds, and code that a folder names is not imported "
                f"unasked: if you trust it, add --model {builder} (in Python: load_model with builder=)"
            )
        raise DataError(
            f"{source}: this is a model given from Python, which textmill cannot build: in Python, build {name} and "
            "load model.safetensors into it"
        )
    try:
        if family == OWN_MODEL_TYPE:
            settings = {name: values[name] for name in ModelConfig.model_fields if name in values}
        elif family in _KEYS:
            _refuse_other(values, family)
            settings = _settings(values, family)
        else:
            raise DataError(f"model_type {show(family)} is not supported: qwen3, llama and gpt2 are")
        config = ModelConfig(**settings)
        if config.vocab_size is None:
            raise DataError("vocab_size is missing")
        return config.resolved()
    except KeyError as error:
        raise DataError(f"{source}: the key {error.args[0]} is missing") from None
    except (ConfigError, DataError) as error:
        raise DataError(f"{source}: {error}") from None


def shape_of_builder(values: Mapping[str, Any], source: str) -> ModelConfig:
    """Return the shape that the code which built a model was called with.

    Raises:
        ConfigError: the model was not built by such code. DataError: the shape is malformed.
    """
    shape = values.get(SHAPE_OF_BUILDER) if values.get("model_type") == UNKNOWN_MODEL_TYPE else None
    if shape is None:
        raise ConfigError(f"{source}: the model was not built by code that --model named: leave --model out")
    try:
        shape = {"gated_mlp": None, **shape}  # not written before it was a setting
        return ModelConfig(**{name: shape[name] for name in ModelConfig.model_fields}).resolved()
    except (KeyError, TypeError, ConfigError) as error:
        raise DataError(f"{source}: {SHAPE_OF_BUILDER} is not a shape as it was written: {error}") from None


def described_settings(config: ModelConfig) -> dict[str, Any]:
    """Return the settings, by name, that a folder decides whose config.json was read as `config`."""
    values = config.values()
    return {name: values[name] for name in config.origins if name != "gradient_checkpointing"}


def _refuse_other(values: Mapping[str, Any], family: str) -> None:
    """Raise DataError unless `_FIXED` and `_NEUTRAL` have the supported values and attention covers all positions."""
    neutral = {key: fixed for key, fixed in _NEUTRAL.items() if values.get(key) is not None}
    for key, fixed in {**neutral, **_FIXED[family]}.items():
        value = values.get(key, fixed)
        if value != fixed:
            raise DataError(f"{key} {show(value)} is not supported, only {show(fixed)}")
    sliding = values.get("sliding_window") is not None and family != "qwen3"
    partial = any(kind != "full_attention" for kind in values.get("layer_types") or [])
    if sliding or partial:
        raise DataError("sliding-window attention is not supported")


def _settings(values: Mapping[str, Any], family: str) -> dict[str, Any]:
    """Return the settings of ModelConfig. Raises KeyError for a missing key and DataError for an unknown value."""
    described = {**_DEFAULTS[family], **values}
    settings = {"architecture": family} | {name: described[key] for name, key in _KEYS[family].items()}
    activation = settings["activation"]
    if not isinstance(activation, str) or activation not in _ACTIVATION_NAMES:
        key = _KEYS[family]["activation"]
        raise DataError(f"{key} {show(activation)} is not supported: {', '.join(_ACTIVATION_NAMES)} are")
    settings |= {"activation": _ACTIVATION_NAMES[activation], "gated_mlp": family != "gpt2"}
    if family != "gpt2":
        constants = {"norm": "rmsnorm", "pos_encoding": "rope", "bias": False}
        return settings | constants | {"rope_theta": _rope_theta(values)}
    return settings | {
        "d_ff": settings["d_ff"] or 4 * settings["d_model"],
        "norm": "layernorm",
        "pos_encoding": "learned",
        "bias": True,
    }


def _rope_theta(values: Mapping[str, Any]) -> float:
    """Return the base of the rotary frequencies. Raises DataError for scaled or partial rotation."""
    described = [values.get(key) or {} for key in ("rope_parameters", "rope_scaling")]
    for rope in described:
        kind = rope.get("rope_type", rope.get("type", "default"))
        unscaled = kind == "linear" and rope.get("factor") == 1
        if (kind != "default" and not unscaled) or any(isinstance(value, Mapping) for value in rope.values()):
            raise DataError(f"rotary positions are scaled or differ between layers: {show(rope)} is not supported")
    sources = [values, *described]
    if any(source.get("partial_rotary_factor", 1.0) != 1.0 for source in sources):
        raise DataError("partial_rotary_factor is not supported: textmill rotates the whole head")
    thetas = {source["rope_theta"] for source in sources if source.get("rope_theta") is not None}
    if len(thetas) > 1:
        raise DataError("rope_theta has two different values, at the top and in rope_parameters")
    return thetas.pop() if thetas else 10000.0

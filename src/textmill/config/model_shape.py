"""ModelConfig: the values that follow from others, and the rules that tie the numbers of a model together."""

from __future__ import annotations

from textmill.config.fields import ModelFields
from textmill.config.section import Section
from textmill.errors import ConfigError

SHAPE = (
    *("architecture", "vocab_size", "d_model", "num_layers", "num_heads", "num_kv_heads", "head_dim", "d_ff"),
    *("max_seq_len", "activation", "gated_mlp", "norm", "norm_eps", "pre_norm", "pos_encoding", "rope_theta"),
    *("tie_embeddings", "bias"),
)
"""Settings that decide which tensors a model has and what they mean; the others are how a run trains it."""


class ModelConfig(ModelFields, Section):
    """A decoder-only transformer. None means: derived from the other values, see `resolved`."""

    def resolved(self) -> ModelConfig:
        """Return a copy with every value derived except vocab_size, and whose numbers fit together.

        A number of heads nobody chose is lowered to one that fits. Raises ConfigError when chosen values contradict
        each other.
        """
        return resolve_shape(self)[0]

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalised per head, as in Qwen3. Needs a resolved shape."""
        return self.architecture == "qwen3"


def resolve_shape(config: ModelConfig) -> tuple[ModelConfig, list[str]]:
    """Return a copy of `config` with every value derived except vocab_size, and what to tell the user.

    Raises:
        ConfigError: values that were chosen contradict each other.
    """
    model = config.clone()
    said = _architecture(model) + fit_heads(model)
    gpt2 = model.architecture == "gpt2"
    model.derive("activation", "gelu_tanh" if gpt2 else "silu")
    model.derive("gated_mlp", model.activation == "silu")
    model.derive("norm", "layernorm" if gpt2 else "rmsnorm")
    model.derive("norm_eps", 1e-5 if gpt2 else 1e-6)
    model.derive("pos_encoding", "learned" if gpt2 else "rope")
    model.derive("bias", gpt2)
    model.derive("tie_embeddings", gpt2 or model.d_model <= 1024)
    model.derive("attention_dropout", model.dropout)
    model.derive("num_kv_heads", model.num_heads)
    model.derive("head_dim", model.d_model // model.num_heads)
    model.derive("d_ff", _multiple_of_64(model.d_model * 8 / 3) if model.gated_mlp else 4 * model.d_model)
    _check_heads(model)
    return model, said


def _architecture(model: ModelConfig) -> list[str]:
    """Set the architecture; return a sentence, with all that it changes, if other options decided it."""
    if model.architecture is not None:
        return []
    reasons = [
        f"{name} is {getattr(model, name)}"
        for name, gpt2_values in (
            ("activation", {"gelu", "gelu_tanh", "relu"}),
            ("norm", {"layernorm"}),
            ("pos_encoding", {"learned", "sinusoidal"}),
        )
        if getattr(model, name) in gpt2_values
    ]
    model.derive("architecture", "gpt2" if reasons else "qwen3")
    if not reasons:
        return []
    of_gpt2 = {"activation": "gelu_tanh", "norm": "layernorm", "pos_encoding": "learned", "bias": "true"}
    others = [f"{name} {value}" for name, value in of_gpt2.items() if getattr(model, name) is None]
    gate = [] if model.gated_mlp or model.activation == "silu" else ["no gate"]
    changed = ", ".join([*others, *gate, "and queries and keys that are not normalised"])
    return [
        f"architecture: gpt2, because {' and '.join(reasons)}, which also means {changed}; architecture qwen3 keeps "
        "what is not set (other activations than silu have a gate with gated_mlp true)"
    ]


def fit_heads(model: ModelConfig) -> list[str]:
    """Lower a num_heads that nobody chose until it fits d_model; return the sentence that says so.

    Raises:
        ConfigError: num_heads was chosen and does not fit; the message lists the numbers that do.
    """
    if model.head_dim is not None and model.architecture != "gpt2":
        return []
    valid = head_counts(model)
    if model.num_heads in valid:
        return []
    if not valid:
        raise ConfigError(
            f"{model.described('d_model')} has no even head size, which rotary positions need: use an even d_model"
        )
    listed = ", ".join(map(str, valid[:12])) + (", ..." if len(valid) > 12 else "")
    if model.given("num_heads"):
        raise ConfigError(
            f"{model.described('num_heads')} does not fit {model.described('d_model')}: use one of {listed}"
        )
    kv_heads = model.num_kv_heads or 1
    fitting = [heads for heads in valid if heads <= model.num_heads and heads % kv_heads == 0]
    if not fitting:
        raise ConfigError(
            f"the default num_heads fits neither {model.described('d_model')} nor num_kv_heads {kv_heads}: "
            f"set num_heads to one of {listed}"
        )
    before = model.num_heads
    model.derive("num_heads", fitting[-1], force=True)
    return [
        f"num_heads: {fitting[-1]} instead of the default {before}, because heads must divide d_model {model.d_model}"
    ]


def head_counts(model: ModelConfig) -> list[int]:
    """Return every number of heads that divides d_model, with an even head size where positions are rotary."""
    least = 2 if _rotary(model) else 1
    return [heads for heads in range(1, model.d_model + 1) if model.d_model % (least * heads) == 0]


def _rotary(model: ModelConfig) -> bool:
    return model.pos_encoding == "rope" or (model.pos_encoding is None and model.architecture != "gpt2")


def _check_heads(model: ModelConfig) -> None:
    """Raise ConfigError unless the head size is even where it must be and key/value heads divide heads."""
    assert model.head_dim is not None and model.num_kv_heads is not None
    if _rotary(model) and model.head_dim % 2:
        raise ConfigError(f"{model.described('head_dim')} must be even: rotary positions turn pairs of numbers")
    if model.architecture == "gpt2" and model.head_dim * model.num_heads != model.d_model:
        raise ConfigError(
            f"head_dim {model.head_dim} x num_heads {model.num_heads} must be d_model {model.d_model} in gpt2"
        )
    if model.num_heads % model.num_kv_heads:
        valid = ", ".join(str(n) for n in range(1, model.num_heads + 1) if model.num_heads % n == 0)
        raise ConfigError(
            f"{model.described('num_kv_heads')} does not divide {model.described('num_heads')}: use one of {valid}"
        )


def _multiple_of_64(width: float) -> int:
    """Return the multiple of 64 at or above `width`: matrix kernels are fastest there."""
    return -int(-width // 64) * 64

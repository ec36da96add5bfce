"""The section `model`: the shape of the network, what `build_model` takes and what a checkpoint records."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from textmill.config.field_types import (
    Fields,
    MaybeNumber,
    MaybeSwitch,
    MaybeWhole,
    Number,
    Switch,
    Whole,
    one_of,
    or_none,
)

Architecture = Literal["qwen3", "llama", "gpt2"]
Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
Norm = Literal["rmsnorm", "layernorm"]
Positions = Literal["rope", "learned", "sinusoidal"]

WIDEST, DEEPEST, LONGEST, MOST_IDS = 1 << 20, 10_000, 1 << 30, 1 << 31
"""Limits far beyond any model, so that a typing error is refused at once and does not use up the memory."""


class ModelFields(Fields):
    """A decoder-only transformer. None means: derived from the other values, see `resolved`."""

    architecture: Annotated[Architecture | None, BeforeValidator(or_none(one_of(Architecture, gpt="gpt2")))] = None
    """Model family: layout, weight names and defaults. Unset: qwen3, or gpt2 if other options imply it."""
    vocab_size: MaybeWhole = Field(default=None, ge=2, le=MOST_IDS)
    """Number of token ids, and the vocabulary size of a new BPE tokenizer. Unset: from the tokenizer."""
    d_model: Whole = Field(default=256, ge=1, le=WIDEST)
    """Width: the size of the vector that represents a token."""
    num_layers: Whole = Field(default=6, ge=1, le=DEEPEST)
    """Depth: the number of transformer blocks."""
    num_heads: Whole = Field(default=8, ge=1, le=WIDEST)
    """Attention heads; must divide d_model unless head_dim is set."""
    num_kv_heads: MaybeWhole = Field(default=None, ge=1, le=WIDEST)
    """Key/value heads shared by groups of query heads; must divide num_heads. Unset: num_heads."""
    head_dim: MaybeWhole = Field(default=None, ge=1, le=WIDEST)
    """Size of one attention head. Unset: d_model / num_heads."""
    d_ff: MaybeWhole = Field(default=None, ge=1, le=4 * WIDEST)
    """Width inside the feed-forward block. Unset: 4 d_model, or 8/3 d_model with a gate, in multiples of 64."""
    max_seq_len: Whole = Field(default=256, ge=1, le=LONGEST)
    """Context length: the most tokens the model sees at once."""
    dropout: Number = Field(default=0.0, ge=0, lt=1)
    """Dropout probability during training."""
    attention_dropout: MaybeNumber = Field(default=None, ge=0, lt=1)
    """Dropout probability of attention weights. Unset: dropout."""
    activation: Annotated[
        Activation | None,
        BeforeValidator(
            or_none(
                one_of(Activation, swiglu="silu", swish="silu", gelu_new="gelu_tanh", gelu_pytorch_tanh="gelu_tanh")
            )
        ),
    ] = None
    """Nonlinearity of the feed-forward block. Unset: silu, gpt2 gelu_tanh."""
    gated_mlp: MaybeSwitch = None
    """Multiply by a second projection in the feed-forward block (SwiGLU, GeGLU). Unset: for silu alone."""
    norm: Annotated[
        Norm | None, BeforeValidator(or_none(one_of(Norm, rms="rmsnorm", rms_norm="rmsnorm", layer_norm="layernorm")))
    ] = None
    """Normalisation. Unset: rmsnorm, gpt2 layernorm."""
    norm_eps: MaybeNumber = Field(default=None, gt=0)
    """Added to the variance inside the normalisation. Unset: 1e-6, gpt2 1e-5."""
    pre_norm: Switch = True
    """Normalise before each block (true), or after it as in the original transformer (false)."""
    pos_encoding: Annotated[
        Positions | None, BeforeValidator(or_none(one_of(Positions, rotary="rope", absolute="learned")))
    ] = None
    """Position encoding. Unset: rope, gpt2 learned."""
    rope_theta: Number = Field(default=10000.0, gt=0)
    """Base of the rotary frequencies."""
    tie_embeddings: MaybeSwitch = None
    """Share one matrix between embedding and output head. Unset: true for gpt2 and up to d_model 1024."""
    bias: MaybeSwitch = None
    """Use biases in the linear layers and in LayerNorm. Unset: only in gpt2."""
    init_std: Number = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights."""
    gradient_checkpointing: Switch = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

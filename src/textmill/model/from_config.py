"""Build a model from its configuration, and draw its initial weights."""

from collections.abc import Callable

import torch
from torch import nn

from textmill.config import ModelConfig
from textmill.model.decoder import Decoder
from textmill.model.gpt2 import GPT2Decoder
from textmill.model.linear_and_embedding import Conv1D
from textmill.model.llama import LlamaDecoder
from textmill.model.norm import LayerNorm, RMSNorm

BYTES = 257
"""Default vocabulary size: that of the byte tokenizer, every byte and the EOS token."""

_RESIDUAL_OUTPUTS = ("o_proj.weight", "down_proj.weight", "c_proj.weight")
"""Endings of the names of weights whose outputs are added to the residual stream."""


Part = Callable[[ModelConfig, int], nn.Module]
"""Makes a part of one layer from the resolved shape and the number of the layer, 0 for the first."""


def build_model(
    config: ModelConfig, *, seed: int | None = None, attention: Part | None = None, mlp: Part | None = None
) -> Decoder:
    """Return a new model of this shape on the CPU, in float32, with random weights.

    The same `seed` gives the same weights, and the global random state is not touched; without a seed the weights come
    from the global random state. Without vocab_size the model is one for bytes.

    Args:
        attention: makes, for each layer, what replaces the softmax of scores. It is called with queries (B, T, H, E),
            keys and values (B, S, K, E), normalised, rotated and cached as in the family, and with which pairs are
            visible, bool (T, S), or (B, 1, T, S) where documents are hidden from each other; it returns (B, T, H, E).
            `attention_dropout` is left to it.
        mlp: makes, for each layer, what replaces the feed-forward part, (B, T, D) to the same.

    Linear layers and embeddings in these parts are drawn as all others are; other weights are left as they were made.

    Raises:
        ConfigError: the numbers of the configuration contradict each other.
    """
    model = empty_model(config)
    for layer, block in enumerate(model.blocks):
        if attention is not None:
            block.get_submodule(model.names.attention).core = attention(model.config, layer)
        if mlp is not None:
            block.mlp = mlp(model.config, layer)
    initialise(model, torch.Generator().manual_seed(seed) if seed is not None else None)
    return model


def empty_model(config: ModelConfig) -> Decoder:
    """Return a model of this shape with uninitialised weights, to load weights into."""
    config = config.resolved()
    config.derive("vocab_size", BYTES)
    return GPT2Decoder(config) if config.architecture == "gpt2" else LlamaDecoder(config)


@torch.no_grad()
def initialise(model: Decoder, generator: torch.Generator | None = None) -> None:
    """Draw matrices from N(0, init_std^2); set biases to 0 and norms to 1.

    The maps that add to the residual stream are drawn with init_std / sqrt(2 num_layers), so that the stream does not
    grow with depth (Radford et al. 2019, section 2.3). The untrained loss is then about ln(vocab_size).

    Args:
        model: on the CPU.
        generator: None uses PyTorch's global random state.
    """
    std = model.config.init_std
    residual_std = std / (2 * model.config.num_layers) ** 0.5
    tied = model.config.tie_embeddings
    for name, module in model.named_modules():
        if isinstance(module, RMSNorm | LayerNorm):
            module.weight.fill_(1.0)
        elif isinstance(module, nn.Linear | nn.Embedding | Conv1D):
            if not (tied and module is model.lm_head):
                residual = f"{name}.weight".endswith(_RESIDUAL_OUTPUTS)
                module.weight.normal_(0.0, residual_std if residual else std, generator=generator)
        else:
            continue
        bias = getattr(module, "bias", None)
        if bias is not None:
            bias.zero_()

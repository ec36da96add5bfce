"""Initial weights."""

import torch
from torch import nn

from textmill.model.decoder import Decoder
from textmill.model.linear_and_embedding import Conv1D
from textmill.model.norm import LayerNorm, RMSNorm

RESIDUAL_OUTPUTS = ("o_proj.weight", "down_proj.weight", "c_proj.weight")
"""Endings of the names of weights whose outputs are added to the residual stream."""


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
                residual = f"{name}.weight".endswith(RESIDUAL_OUTPUTS)
                module.weight.normal_(0.0, residual_std if residual else std, generator=generator)
        else:
            continue
        bias = getattr(module, "bias", None)
        if bias is not None:
            bias.zero_()

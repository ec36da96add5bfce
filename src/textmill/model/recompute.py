"""Gradient checkpointing: the backward pass computes a block again, with the dropout of the forward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, x: Tensor, *others: Any, drops: bool) -> Tensor:
    """Return `block(x, *others)`, of which the backward pass keeps the arguments alone.

    PyTorch restores the random generators of CPUs and NVIDIA GPUs before it computes a block again, and not that of an
    Apple GPU: dropout would have other masks (PyTorch issue 127676). There each block is seeded, both times alike.

    drops: there is dropout in the block.
    """
    if x.device.type != "mps" or not drops:
        return checkpoint(block, x, *others, use_reentrant=False)
    seed = int(torch.randint(2**62, (), device="cpu"))  # from the generator of the CPU, so nothing waits for the GPU
    return checkpoint(_seeded(block, seed), x, *others, use_reentrant=False, preserve_rng_state=False)


def _seeded(block: nn.Module, seed: int) -> Callable[..., Tensor]:
    def compute(*arguments: Any) -> Tensor:
        torch.mps.manual_seed(seed)
        return block(*arguments)

    return compute

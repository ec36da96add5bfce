"""Every process holds a part of each weight, gradient and optimizer state (FSDP2, `torch.distributed.fsdp`).

Source: Zhao et al. 2023, arXiv:2304.11277; the second generation keeps each parameter as a DTensor of its own, so names
and optimizers stay as they are in one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from textmill.engine.single import Engine, MakeOptimizer


class ShardedEngine(Engine):
    """Executes steps with the weights divided among the processes of the world, of which there are at least two.

    Each layer is gathered when it computes and let go afterwards; what is left over at the root, which includes an
    embedding and the head tied to it, is one more such group. Gradients are exchanged in float32 whatever the
    precision.
    """

    name = "fsdp"

    def _spread(self, module: nn.Module, make_optimizer: MakeOptimizer) -> tuple[nn.Module, Optimizer]:
        """The module stays where it is until it is divided: a layer at a time is whole on the device."""
        self._ddp = None
        self._same_weights(module)
        mesh = init_device_mesh(self.world.device.type, (self.world.size,))
        # On a GPU the gathered weights are bfloat16, which halves the traffic; on a CPU autocast does the rounding.
        half = torch.bfloat16 if self.precision.name == "bf16" and self.world.device.type == "cuda" else None
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for layer in layers(module):
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(module, mesh=mesh, mp_policy=policy)
        return module, make_optimizer(module)

    def _same_weights(self, module: nn.Module) -> None:
        """Every process starts from the first one's weights, as in DDP: a model made by hand may have been random."""
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                whole = tensor.detach().to("cpu").contiguous()
                dist.broadcast(whole, src=0, group=self.world.control)
                tensor.copy_(whole)

    @contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        """Forward and backward of one micro-batch belong inside; gradients are exchanged in the `last` one only."""
        assert isinstance(self.module, FSDPModule)
        self.module.set_requires_gradient_sync(last)
        yield

    def _norm(self, gradients: Iterable[Tensor]) -> Tensor:
        norm = get_total_norm(gradients)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _skips_on_device(self) -> bool:
        return False

    def whole(self, tensor: Tensor) -> Tensor:
        """Return `tensor`, of the snapshot's weights or optimizer, whole; all processes call it where it is divided."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    @property
    def writers(self) -> int:
        """How many processes write a checkpoint: all of them."""
        return self.world.size


def layers(module: nn.Module) -> list[nn.Module]:
    """Return the repeated parts of a model: what its outermost ModuleLists hold, first to last."""
    found: list[nn.Module] = []
    for child in module.children():
        found += list(child) if isinstance(child, nn.ModuleList) else layers(child)
    return found

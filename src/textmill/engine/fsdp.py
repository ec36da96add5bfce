"""Every process has a part of each weight, gradient and optimizer state (FSDP2, `torch.distributed.fsdp`).

Source: Zhao et al. 2023, arXiv:2304.11277; the second generation keeps each parameter as a DTensor of its own, so names
and optimizers stay as they are in one process.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from textmill.engine.clip_and_step import TorchUpdate
from textmill.engine.compiling import Compiler
from textmill.engine.engine import MakeOptimizer
from textmill.engine.world import World
from textmill.machine.precision import Precision
from textmill.model.repeated_layers import repeated_layers


class FSDPEngine(TorchUpdate):
    """The engine of at least two processes among which the weights are divided. All of them write checkpoints.

    Each layer is gathered when it computes and let go afterwards; what is left over at the root, which includes an
    embedding and the head tied to it, is one more such group. Gradients are exchanged in float32 whatever the
    precision, in the last micro-batch only. The module stays where it is until it is divided: a layer at a time is
    whole on the device.
    """

    name = "fsdp"

    def __init__(
        self,
        module: nn.Module,
        make_optimizer: MakeOptimizer,
        precision: Precision,
        world: World,
        *,
        compile: Compiler | None,
    ) -> None:
        self.writers = world.size
        copy_weights_of_first(module, world)
        mesh = init_device_mesh(world.device.type, (world.size,))
        # On a GPU the gathered weights are bfloat16, which halves the traffic; on a CPU autocast does the rounding.
        half = torch.bfloat16 if precision.name == "bf16" and world.device.type == "cuda" else None
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for layer in repeated_layers(module).values():
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(module, mesh=mesh, mp_policy=policy)
        super().__init__(module, module, make_optimizer, precision, world, compile=compile)

    @contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        assert isinstance(self.module, FSDPModule)
        self.module.set_requires_gradient_sync(last)
        yield

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_weights_of_first(module: nn.Module, world: World) -> None:
    """Give every process the first one's weights, as DDP does: a model made by hand may have been random."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            whole = tensor.detach().to("cpu").contiguous()
            dist.broadcast(whole, src=0, group=world.control)
            tensor.copy_(whole)

"""Every process has a copy of the weights; gradients are averaged (`torch.nn.parallel.DistributedDataParallel`).

Source: Li et al. 2020, arXiv:2006.15704.
"""

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from textmill.engine.clip_and_step import TorchUpdate, compiled
from textmill.engine.engine import MakeOptimizer
from textmill.engine.world import World
from textmill.machine.precision import Precision


class DDPEngine(TorchUpdate):
    """The engine of several processes that each have the whole model. Gradients move in the last micro-batch only."""

    name = "ddp"
    writers = 1

    def __init__(
        self, module: nn.Module, make_optimizer: MakeOptimizer, precision: Precision, world: World, *, compile: bool
    ) -> None:
        module.to(world.device)
        ids = [world.device.index] if world.device.type == "cuda" else None
        self._ddp = DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)
        super().__init__(module, compiled(self._ddp, compile), make_optimizer(module), precision, world)

    def micro_batch(self, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else self._ddp.no_sync()

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

"""The engines in which every process has the whole model: alone, or as one of several copies."""

from contextlib import AbstractContextManager, nullcontext

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from textmill.engine.clip_and_step import TorchUpdate
from textmill.engine.compiling import Compiler
from textmill.engine.engine import MakeOptimizer
from textmill.engine.world import World
from textmill.machine.precision import Precision


class SingleEngine(TorchUpdate):
    """The engine of one process: the module is moved to its device."""

    name = "single"

    def __init__(
        self,
        module: nn.Module,
        make_optimizer: MakeOptimizer,
        precision: Precision,
        world: World,
        *,
        compile: Compiler | None,
    ) -> None:
        super().__init__(module.to(world.device), module, make_optimizer, precision, world, compile=compile)


class DDPEngine(TorchUpdate):
    """The engine of several processes. Gradients are averaged, and move in the last micro-batch only.

    Source: Li et al. 2020, arXiv:2006.15704.
    """

    name = "ddp"

    def __init__(
        self,
        module: nn.Module,
        make_optimizer: MakeOptimizer,
        precision: Precision,
        world: World,
        *,
        compile: Compiler | None,
    ) -> None:
        module.to(world.device)
        ids = [world.device.index] if world.device.type == "cuda" else None
        self._ddp = DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)
        super().__init__(module, self._ddp, make_optimizer, precision, world, compile=compile)

    def micro_batch(self, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else self._ddp.no_sync()

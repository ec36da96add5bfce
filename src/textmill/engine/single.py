"""Training in one process."""

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from textmill.engine.clip_and_step import TorchUpdate, compiled
from textmill.engine.engine import MakeOptimizer
from textmill.engine.world import World
from textmill.machine.precision import Precision


class SingleEngine(TorchUpdate):
    """The engine of one process: the module is moved to its device."""

    name = "single"
    writers = 1

    def __init__(
        self, module: nn.Module, make_optimizer: MakeOptimizer, precision: Precision, world: World, *, compile: bool
    ) -> None:
        module.to(world.device)
        super().__init__(module, compiled(module, compile), make_optimizer(module), precision, world)

    def micro_batch(self, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

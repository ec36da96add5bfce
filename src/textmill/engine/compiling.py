"""torch.compile for training, which ends no run where it fails: what cannot be compiled is computed as it is."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from textmill.errors import TextmillError
from textmill.machine.memory import is_out_of_memory

Target = TypeVar("Target", bound=Callable[..., Any])


class Compiler:
    """Compiles what it is called with, at the first call of the result.

    After the first failure (no C++ compiler, no Triton, a GPU or a system that inductor does not support, a defect of
    inductor) nothing more is compiled; `say` gets one sentence about it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._failed = say, False

    def __call__(self, target: Target) -> Target:
        """Return `target`, compiled. Training has one shape: kernels must not depend on which shapes came before."""
        try:
            return torch.compile(target, backend=self._compiled, dynamic=False)  # type: ignore[return-value]
        except RuntimeError as error:  # this system or version of Python is not supported
            self._give_up(error)
            return target

    def _compiled(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        """Return what computes `graph`, the recorded operations: inductor's kernels, or the operations one by one."""
        if self._failed:
            return graph.forward
        from torch._dynamo.backends.registry import lookup_backend  # takes long

        try:
            return lookup_backend("inductor")(graph, inputs)
        except TextmillError:
            raise
        except Exception as error:  # compilers fail in ways of their own, and of those that they call
            if is_out_of_memory(error):
                raise
            self._give_up(error)
            return graph.forward

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].rstrip(".:") if lines else type(error).__name__
        self._say(f"compile: off, because compiling failed ({reason}); the run goes on without, only slower")

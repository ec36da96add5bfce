"""What --layer-statistics measures: root mean squares of weights, gradients and outputs, layer by layer.

Nothing is measured, hooked or kept in a step without a training report. In one with a report the numbers stay on the
device until the report reads them, all at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from textmill.engine.engine import Engine
from textmill.engine.world import World
from textmill.model.repeated_layers import repeated_layers

REST = "rest"
"""The name under which all weights outside the layers are measured together: embeddings, last norm, head."""


@dataclass(frozen=True)
class LayerValues:
    """Mean squares by name, (n,), on the device."""

    names: list[str]
    squares: Tensor

    def row(self, world: World) -> dict[str, float]:
        """Return the root of each, over all processes. Waits for the device; all processes call it."""
        sums = world.sum_each(self.squares.tolist())
        return {name: math.sqrt(value / world.size) for name, value in zip(self.names, sums)}


class LayerStatistics:
    """Measures the layers of the module of `engine`, see `repeated_layers`. say: gets what cannot be measured."""

    def __init__(self, engine: Engine, say: Callable[[str], None]) -> None:
        self._engine = engine
        self._layers = repeated_layers(engine.module)
        self._outputs: dict[str, list[Tensor]] = {}
        self._compiled = hasattr(engine.model, "_orig_mod")
        if self._compiled:
            say("layer_statistics: outputs are not measured, because the model is compiled; weights and gradients are")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the mean square of what each layer returns within the block."""
        if self._compiled:
            yield
            return
        handles = [
            layer.register_forward_hook(lambda module, inputs, output, name=name: self._keep(name, output))
            for name, layer in self._layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep(self, name: str, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor):
            self._outputs.setdefault(name, []).append(first.detach().float().square().mean())

    @torch.no_grad()
    def measured(self) -> LayerValues:
        """Return the mean squares of the weights, of the gradients that are there, and of the outputs kept so far."""
        inside = {id(weight) for layer in self._layers.values() for weight in layer.parameters()}
        parts = {name: list(layer.parameters()) for name, layer in self._layers.items()}
        parts[REST] = [weight for weight in self._engine.module.parameters() if id(weight) not in inside]
        found: dict[str, Tensor] = {}
        for name, weights in parts.items():
            self._add(found, f"weights/{name}", [weight.detach() for weight in weights])
        for name, weights in parts.items():
            self._add(found, f"gradients/{name}", [weight.grad for weight in weights if weight.grad is not None])
        for name, squares in self._outputs.items():
            found[f"outputs/{name}"] = torch.stack(squares).mean()
        self._outputs = {}
        return LayerValues(list(found), torch.stack([value.float() for value in found.values()]))

    def _add(self, found: dict[str, Tensor], name: str, tensors: list[Tensor]) -> None:
        if tensors:
            norm = self._engine.whole(get_total_norm(tensors))
            found[name] = norm.square() / sum(tensor.numel() for tensor in tensors)

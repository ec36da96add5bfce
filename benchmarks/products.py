"""The matrix products of a training step at a model's own shapes, and how long they take when nothing else is done.

The time of the products is a lower bound for a step. Its ratio to the time of a step is the share of the matrix rate.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

Product = tuple[Callable[[], object], int]
"""A product and its floating-point operations."""


def linear_products(tokens: int, inputs: int, outputs: int, dtype: torch.dtype) -> Iterator[Product]:
    """Yield forward pass, gradient of the input and gradient of the weights of one linear map."""
    x, weights = torch.randn(tokens, inputs, dtype=dtype), torch.randn(outputs, inputs, dtype=dtype)
    gradient = torch.randn(tokens, outputs, dtype=dtype)
    operations = 2 * tokens * inputs * outputs
    yield (lambda: F.linear(x, weights)), operations
    yield (lambda: gradient @ weights), operations
    yield (lambda: gradient.t() @ x), operations


def attention_products(rows: int, heads: int, length: int, size: int, dtype: torch.dtype) -> Iterator[Product]:
    """Yield scores and outputs of one layer's attention, and the four products of their gradients."""
    q, k = torch.randn(2, rows * heads, length, size, dtype=dtype)
    weights = torch.randn(rows * heads, length, length, dtype=dtype)
    operations = 2 * rows * heads * length * length * size
    for _ in range(2):  # scores; gradient of the weights
        yield (lambda: torch.bmm(q, k.transpose(1, 2))), operations
    for _ in range(2):  # outputs; gradient of the queries
        yield (lambda: torch.bmm(weights, k)), operations
    for _ in range(2):  # gradients of the values and of the keys
        yield (lambda: torch.bmm(weights.transpose(1, 2), q)), operations


def step_products(
    architecture: str, *, vocab: int, width: int, layers: int, heads: int, context: int, batch: int, dtype: torch.dtype
) -> list[tuple[Product, int]]:
    """Return every product of a step with the number of its repetitions."""
    tokens, inside = batch * context, 4 * width if architecture != "qwen3" else gated_width(width)
    maps = [(width, 3 * width), (width, width)]
    maps += [(width, inside), (inside, width)] if architecture != "qwen3" else [(width, 2 * inside), (inside, width)]
    found = [(product, layers) for shape in maps for product in linear_products(tokens, *shape, dtype)]
    found += [(product, layers) for product in attention_products(batch, heads, context, width // heads, dtype)]
    return found + [(product, 1) for product in linear_products(tokens, width, vocab, dtype)]


def gated_width(width: int) -> int:
    """Return the feed-forward width that the qwen3 family has for this width unless it is given."""
    from textmill.config import ModelConfig

    inside = ModelConfig(d_model=width, num_heads=1, vocab_size=2).resolved().d_ff
    assert inside is not None
    return inside


class Products:
    """`run()` does all products of a step and returns the seconds, each the median of some repetitions."""

    def __init__(self, architecture: str, dtype: torch.dtype, **config: int) -> None:
        self.products = step_products(architecture, dtype=dtype, **config)
        self.format = str(dtype).removeprefix("torch.")
        self.operations = sum(operations * count for (_, operations), count in self.products)

    def run(self) -> float:
        return sum(_median_seconds(product) * count for (product, _), count in self.products)


def _median_seconds(product: Callable[[], object]) -> float:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])

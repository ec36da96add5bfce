"""One position at a time, by the shorter way, against the model that reads the whole text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from support.small_models import FAMILIES, VARIANTS, random_tokens, small_model
from textmill.generation.token_loop import generate
from textmill.model.decoder import Decoder
from textmill.model.one_position import OnePosition, can_step

EVERY = {**FAMILIES, **VARIANTS}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", EVERY)
def test_its_scores_are_those_of_the_whole_text(name: str, batch: int) -> None:
    """In float64, position by position after a prompt, equal to reading everything at once without a cache."""
    model = small_model(**EVERY[name]).double()
    for parameter in model.parameters():  # norms and biases that do something
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
    tokens = random_tokens(batch, 24)
    cache = model.new_cache(batch)
    with torch.no_grad():
        whole = model(tokens)
        model(tokens[:, :5], cache=cache)
    step = OnePosition(model, cache)
    scores = [step(tokens[:, position]).clone() for position in range(5, 24)]
    torch.testing.assert_close(torch.stack(scores, 1), whole[:, 5:], atol=1e-9, rtol=1e-9)
    assert cache.length == 24


def test_tiny_activations_are_normalised_with_eps() -> None:
    """Where the mean square is near eps, RMSNorm's eps counts as in the model."""
    model = small_model(norm_eps=1e-2).double()
    tokens = random_tokens(2, 8)
    cache = model.new_cache(2)
    with torch.no_grad():
        model.token_embedding.weight *= 0.3
        whole = model(tokens)
        model(tokens[:, :7], cache=cache)
    torch.testing.assert_close(OnePosition(model, cache)(tokens[:, 7]).clone(), whole[:, 7], atol=1e-9, rtol=1e-9)


def _with_hook(model: Decoder) -> nn.Module:
    model.get_submodule("model.layers.1").register_forward_hook(lambda *call: call[-1] * 2)
    return model


def _with_a_part_of_its_own(model: Decoder) -> nn.Module:
    class Doubled(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) * 2

    model.get_submodule("model.layers.0.mlp").down_proj = Doubled(128, 32, bias=False)
    return model


def _with_another_forward(model: Decoder) -> nn.Module:
    block = model.get_submodule("model.layers.0")
    forward = block.forward
    block.forward = lambda *inputs: forward(*inputs) * 2  # type: ignore[method-assign]
    return model


CHANGES = [_with_hook, _with_a_part_of_its_own, _with_another_forward, lambda model: model.bfloat16()]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_called_itself(change: Any) -> None:
    """Hooks, replaced parts and other dtypes are left to the model: with and without a cache come the same tokens."""
    plain = small_model(architecture="llama", d_ff=128)
    assert can_step(plain)
    model = change(plain)
    assert not can_step(model) and not can_step(nn.Linear(2, 2))
    options: dict[str, Any] = {"max_new_tokens": 12, "temperature": 0}
    assert list(generate(model, [[1, 2]], **options)) == list(generate(model, [[1, 2]], **options, use_cache=False))


def test_autocast_reaches_the_products() -> None:
    """Under autocast the model is called, so products run in the format that was asked for."""
    model = small_model()
    cache = model.new_cache(1)
    seen: list[torch.dtype] = []
    append = cache.append

    def watched(layer: int, k: torch.Tensor, v: torch.Tensor) -> Any:
        seen.append(v.dtype)
        return append(layer, k, v)

    model.new_cache = lambda *sizes: cache  # type: ignore[method-assign]
    cache.append = watched  # type: ignore[method-assign]
    with torch.autocast("cpu", torch.bfloat16):
        assert len(list(generate(model, [[1, 2]], max_new_tokens=4, temperature=0))) == 4
    assert seen == [torch.bfloat16] * 4 * 2


def test_threads_are_as_before() -> None:
    """A step of small products runs on one thread, and leaves the number that was set."""
    model = small_model()
    cache = model.new_cache(1)
    during: list[int] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model(random_tokens(1, 3), cache=cache)
        step = OnePosition(model, cache)
        activation = step.layers[0].mlp.activation

        def watched(x: torch.Tensor) -> torch.Tensor:
            during.append(torch.get_num_threads())
            return activation(x)

        step.layers[0].mlp.activation = watched
        step(torch.tensor([1]))
        assert during == [1] and torch.get_num_threads() == 2
        with pytest.raises(IndexError):
            step(torch.tensor([61]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert not step.threads and OnePosition(model, model.new_cache(10_000)).threads

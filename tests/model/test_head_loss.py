"""The loss with the logits of a part at a time is the loss with all of them at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from support.small_models import FAMILIES, random_tokens, small_model
from textmill.data.batches.loader import IGNORED, Batch
from textmill.model.cross_entropy import loss_sums
from textmill.model.decoder import Decoder
from textmill.model.head_loss import head_loss
from textmill.planning import logits as planned
from textmill.training.start_run import causal_loss


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is computed in parts of 64 tokens, as it is with larger vocabularies."""
    monkeypatch.setattr(planned, "LOGITS_AT_ONCE", 1)


def plain_sums(x: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    logits, ids = (x @ weight.T).flatten(0, -2), targets.flatten()
    options: dict[str, Any] = {"ignore_index": IGNORED, "reduction": "sum"}
    return F.cross_entropy(logits, ids, label_smoothing=smoothing, **options), F.cross_entropy(logits, ids, **options)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("size", [37, 64])
@pytest.mark.parametrize("tokens_at_once", [1, 4, 21, 64])
def test_sums_and_gradients_in_float64(tokens_at_once: int, size: int, smoothing: float) -> None:
    """They are those of F.cross_entropy to 1e-13, whatever the parts; rows without targets count nothing."""
    torch.manual_seed(0)
    x = torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(size, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(size, (3, 7))
    targets[0, :3] = targets[2] = IGNORED
    found = head_loss(x, weight, targets, tokens_at_once=tokens_at_once, label_smoothing=smoothing)
    expected = plain_sums(x, weight, targets, smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    gradients = torch.autograd.grad(0.3 * found[0], (x, weight))
    torch.testing.assert_close(gradients, torch.autograd.grad(0.3 * expected[0], (x, weight)), rtol=1e-12, atol=1e-13)
    assert not found[1].requires_grad


def test_gradients_are_the_slopes_of_the_loss() -> None:
    """Finite differences in float64 agree with the gradients."""
    torch.manual_seed(1)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([3, IGNORED, 0, 10, 3])
    assert torch.autograd.gradcheck(
        lambda x, weight: head_loss(x, weight, targets, tokens_at_once=2, label_smoothing=0.2)[0], (x, weight)
    )


def test_what_is_not_counted_may_be_anything() -> None:
    """A position without a target changes neither the sums nor the gradients, even with logits that are not finite."""
    x = torch.tensor([[1.0, 2.0], [torch.inf, 1.0]], requires_grad=True)
    weight = torch.tensor([[0.5, 0.1], [0.2, 0.3], [0.1, 0.1]], requires_grad=True)
    total, _ = head_loss(x, weight, torch.tensor([2, IGNORED]), tokens_at_once=1)
    total.backward()
    assert x.grad is not None and total.isfinite() and x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_float32(dtype: torch.dtype) -> None:
    """In half precision products are rounded and sums are not: as far from the exact gradient as the usual way."""
    torch.manual_seed(2)
    x, weight = torch.randn(400, 32, requires_grad=True), (0.1 * torch.randn(97, 32)).requires_grad_()
    targets = torch.randint(97, (400,))
    exact = torch.autograd.grad(plain_sums(x, weight, targets, 0.0)[0], (x, weight))
    with torch.autocast("cpu", dtype):
        total, _ = head_loss(x, weight, targets, tokens_at_once=64)
        logits = (x @ weight.T).float()
    usual = torch.autograd.grad(F.cross_entropy(logits, targets, reduction="sum"), (x, weight))
    assert total.dtype == torch.float32
    for found, other, true in zip(torch.autograd.grad(total, (x, weight)), usual, exact):
        assert found.dtype == torch.float32
        assert (found - true).norm() < 1.3 * (other - true).norm()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_model_learns_the_same(family: str, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and all gradients of each family agree, of a batch with documents apart and targets that do not count."""
    tokens = random_tokens(5, 24)
    targets = tokens.roll(-1, 1)
    targets[1, 4:] = IGNORED
    segments = torch.arange(24).expand(5, -1) // 10
    batch = Batch(tokens, targets, int((targets != IGNORED).sum()), torch.arange(24).expand(5, -1) % 10, segments)
    found = []
    for most in (10**9, 1000):
        monkeypatch.setattr(planned, "LOGITS_AT_ONCE", most)
        model = small_model(**FAMILIES[family], num_layers=2).train()
        loss = causal_loss(label_smoothing=smoothing)(model, batch)
        minimised, reported = loss if isinstance(loss, tuple) else (loss, loss)
        (minimised / batch.num_targets).backward()
        found.append([minimised, reported, *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("in_parts")
def test_no_tensor_has_the_logits_of_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest product of the head is that of a part; a head that was replaced or has hooks is called as it is."""
    seen: list[tuple[int, ...]] = []
    softmax = torch.log_softmax

    def watched(logits: Tensor, *arguments: Any, **options: Any) -> Tensor:
        seen.append(tuple(logits.shape))
        return softmax(logits, *arguments, **options)

    monkeypatch.setattr(torch, "log_softmax", watched)
    model, tokens = small_model(num_layers=1), random_tokens(5, 24)
    loss_sums(model, Batch(tokens, tokens, tokens.numel()))
    assert isinstance(model, Decoder) and model.config.vocab_size is not None
    columns = planned.filled_up(model.config.vocab_size)
    assert seen == [(64, columns), (56, columns)]
    calls: list[object] = []
    model.lm_head.register_forward_hook(lambda *_: calls.append(1))
    loss_sums(model, Batch(tokens, tokens, tokens.numel()))
    assert len(calls) == 1 and len(seen) == 2


@pytest.mark.usefixtures("in_parts")
def test_the_loss_is_part_of_what_is_compiled() -> None:
    """Compiled, model and loss are one graph without a break, with the sums and gradients of the plain model."""
    tokens = random_tokens(5, 24)
    batch = Batch(tokens, tokens.roll(-1, 1), tokens.numel())
    model = small_model(num_layers=1).train()
    expected, _ = loss_sums(model, batch, label_smoothing=0.1)
    expected.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    total, reported = loss_sums(compiled, batch, label_smoothing=0.1)  # pyright: ignore[reportArgumentType]
    total.backward()
    torch.testing.assert_close(total, expected)
    assert not reported.requires_grad
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], gradients)


def test_parts_are_as_large_as_allowed() -> None:
    """16 rows of 1,024 tokens and GPT-2's vocabulary are computed in 13 parts; few logits are computed at once."""
    assert planned.tokens_at_once(16 * 1024, 50257) == 1280
    assert 1280 * 12 < 16 * 1024 <= 1280 * 13
    assert planned.tokens_at_once(1024, 50257) is None  # few enough
    assert planned.filled_up(50257) == 50304 and planned.filled_up(50304) == 50304

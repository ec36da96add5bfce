"""Optimizers and the groups they work on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from textmill.engine.clip_and_step import set_learning_rate
from textmill.errors import ConfigError
from textmill.optim.muon import Muon
from textmill.optim.optimizer_choice import MuonSettings, build_optimizer
from textmill.optim.orthogonalise import POLYNOMIALS, orthogonalise
from textmill.optim.parameter_groups import parameter_groups
from textmill.optim.skip_on_device import SGD


class Small(nn.Module):
    """An embedding, two matrices, a norm and a head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.up = nn.Linear(8, 24)
        self.norm = nn.LayerNorm(24)
        self.down = nn.Linear(24, 8)
        self.lm_head = nn.Linear(8, 11, bias=False)
        self.lm_head.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.down(self.norm(self.up(self.table(tokens)))))


def test_every_parameter_is_in_one_group() -> None:
    """Groups hold each parameter once, decay matrices only, and count a tied head as the embedding it is."""
    model = Small()
    groups = {group["name"]: group for group in parameter_groups(model, weight_decay=0.1)}
    ids = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    assert groups["matrices"]["weight_decay"] == 0.1
    assert groups["embeddings"]["weight_decay"] == groups["vectors"]["weight_decay"] == 0.0
    assert groups["embeddings"]["params"] == [model.table.weight]
    assert {tuple(p.shape) for p in groups["matrices"]["params"]} == {(24, 8), (8, 24)}


@pytest.mark.parametrize("every", [1, 2])
def test_muon_follows_its_papers(every: int) -> None:
    """On a matrix, Muon's steps are momentum, look-ahead, decay and scale written out, with an update in some steps."""
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(16, 40))
    expected, buffer = ours.detach().clone(), torch.zeros(16, 40)
    muon = Muon([{"params": [ours], "name": "matrices", "weight_decay": 0.1}], lr=0.02, momentum=0.8, every=every)
    for step in range(6):
        ours.grad = torch.randn(16, 40)
        buffer = 0.8 * buffer + 0.2 * ours.grad
        expected = (1 - 0.02 * 0.1) * expected
        if step in (0, 2, 4) or every == 1:
            direction = _polynomials_of_singular_values(0.8 * buffer + 0.2 * ours.grad)
            expected = expected - 0.02 * 0.2 * 40**0.5 * direction
        muon.step()
    torch.testing.assert_close(ours.detach(), expected, rtol=1e-5, atol=1e-6)


def _polynomials_of_singular_values(matrix: torch.Tensor) -> torch.Tensor:
    """Return U p(S) V' in float64, where p are the polynomials of Polar Express, one after the other."""
    u, values, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    x = values / values.norm() / 1.01
    for a, b, c in POLYNOMIALS:
        x = x / 1.01
        x = a * x + b * x**3 + c * x**5
    return ((u * x) @ vh).float()


def test_muon_updates_everything_else_as_adamw() -> None:
    """Parameters outside the group of matrices move as under torch.optim.AdamW, bit for bit."""
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(9))
    theirs = nn.Parameter(ours.detach().clone())
    muon = Muon([{"params": [ours], "name": "vectors", "weight_decay": 0.2}], lr=0.02, betas=(0.8, 0.9))
    reference = torch.optim.AdamW([theirs], lr=0.02, betas=(0.8, 0.9), weight_decay=0.2, fused=True)
    for _ in range(6):
        gradient = torch.randn(9)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        reference.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 20, 50), (3, 50, 20)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Four iterations bring every singular value into [0.4, 1.6] and keep the singular vectors."""
    torch.manual_seed(1)
    matrices = torch.randn(shape)
    result = orthogonalise(matrices, dtype=dtype).float()
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.4
    assert values.max() < 1.6
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    cosine = (result * (u @ vh)).sum() / (result.norm() * (u @ vh).norm())
    assert cosine > 0.9


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "muon"])
def test_every_optimizer_lowers_a_loss(name: str) -> None:
    """Each optimizer, built by name, fits a few tokens."""
    torch.manual_seed(0)
    model = Small()
    tokens = torch.tensor([1, 5, 3, 7])
    optimizer = build_optimizer(model, name, learning_rate=0.1 if name == "sgd" else 0.01, weight_decay=0.01)
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(tokens), tokens.roll(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_factories_replace_names() -> None:
    """A function from groups to an optimizer, or its import string, is used as it is; other results are refused."""
    model = Small()
    made = build_optimizer(model, lambda groups: torch.optim.RMSprop(groups, lr=0.5), learning_rate=1.0)
    assert isinstance(made, torch.optim.RMSprop)
    assert build_optimizer(model, "torch.optim:RAdam", learning_rate=1.0).__class__ is torch.optim.RAdam
    with pytest.raises(ConfigError, match="not a torch"):
        build_optimizer(model, lambda groups: groups, learning_rate=1.0)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match="adamw"):
        build_optimizer(copy.deepcopy(model), "adamww", learning_rate=1.0)


@pytest.mark.parametrize(
    ("steps", "epochs", "every", "rate"),
    [(30, 6.0, 1, 0.5), (199, 8.0, 1, 0.5), (200, 1.0, 2, 3.0), (10**6, 2.0, 2, 3.0), (None, None, 2, 1.0)],
)
def test_muon_fits_the_run(steps: int | None, epochs: float | None, every: int, rate: float) -> None:
    """Short runs update the matrices in every step; the more often a text is read, the slower embeddings learn."""
    assert MuonSettings.of_run(steps, epochs, torch.float32) == MuonSettings(every, rate)
    rates = [MuonSettings.of_run(steps, 0.5 * epochs, torch.float32).embedding_rate for epochs in range(1, 17)]
    assert rates == sorted(rates, reverse=True)


def test_embeddings_beside_muon_have_a_rate_of_their_own() -> None:
    """Embeddings have a multiple of the scheduled rate; matrices, vectors and a head of its own have it as it is."""
    model = Small()
    for head in (None, nn.Linear(8, 9, bias=False)):
        if head is not None:
            model.lm_head = head
        optimizer = build_optimizer(model, "muon", learning_rate=0.01, muon=MuonSettings(embedding_rate=3.0))
        set_learning_rate(optimizer, 0.02)
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        expected = {"matrices": 0.02, "embeddings": 0.06, "vectors": 0.02} | ({"head": 0.02} if head else {})
        assert rates == pytest.approx(expected)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        assert {id(parameter) for parameter in parameters} == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize("skipped", [0, 2])
@pytest.mark.parametrize("name", ["adamw", "adam", "muon", "sgd"])
def test_a_flagged_step_changes_nothing(name: str, skipped: int) -> None:
    """With the flag of PyTorch's loss scaler set, NaN gradients leave all as it is, also in the first step; with the
    flag unset, and with scaled gradients, steps are those of an optimizer without a flag."""
    models = [Small(), Small()]
    models[1].load_state_dict(models[0].state_dict())
    plain, flagged = (_optimizer(name, model) for model in models)
    for step in range(4):
        if step == skipped:
            before = copy.deepcopy(_moving(models[1], flagged))
            for parameter in models[1].parameters():
                parameter.grad = torch.full_like(parameter, torch.nan)
            flagged.found_inf = torch.ones(())  # type: ignore[attr-defined]
            flagged.step()
            after = _moving(models[1], flagged)
            assert all(torch.equal(after[key], value) for key, value in before.items())
            assert all(value.isfinite().all() for value in after.values())
        for one, other in zip(*(model.parameters() for model in models)):
            one.grad = torch.randn_like(one)
            other.grad = 8 * one.grad
        flagged.found_inf, flagged.grad_scale = torch.zeros(()), torch.tensor(8.0)  # type: ignore[attr-defined]
        plain.step()
        flagged.step()
        flagged.grad_scale = None  # type: ignore[attr-defined]
    for one, other in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def _optimizer(name: str, model: nn.Module) -> torch.optim.Optimizer:
    if name == "sgd":  # on NVIDIA GPUs; elsewhere PyTorch's own is used
        return SGD(parameter_groups(model, weight_decay=0.1), lr=0.01, momentum=0.9)
    return build_optimizer(model, name, learning_rate=0.01, weight_decay=0.1)


def _moving(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the weights and the optimizer's state by name."""
    found = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        found |= {f"{key}/{name}": value for key, value in optimizer.state[parameter].items()}
    return found


def test_sgd_with_a_flag_is_the_sgd_of_pytorch() -> None:
    """Without the flag and with it, unset: the same bits, and a class of the same name, which checkpoints know."""
    models = [Small() for _ in range(3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    kinds = (torch.optim.SGD, SGD, SGD)
    optimizers = [
        kind(parameter_groups(model, weight_decay=0.1), lr=0.01, momentum=0.9) for kind, model in zip(kinds, models)
    ]
    optimizers[2].found_inf = torch.zeros(())  # type: ignore[attr-defined]
    for _ in range(3):
        for parameters in zip(*(model.parameters() for model in models)):
            gradient = torch.randn_like(parameters[0])
            for parameter in parameters:
                parameter.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert {type(optimizer).__name__ for optimizer in optimizers} == {"SGD"}
    for one, other, flagged in zip(*(model.parameters() for model in models)):
        assert torch.equal(one, other) and torch.equal(one, flagged)
    assert type(build_optimizer(models[0], "sgd", learning_rate=0.01)) is torch.optim.SGD

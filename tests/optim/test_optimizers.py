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

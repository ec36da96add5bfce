"""A mixture of experts: each token goes through the two feed-forward layers that a router likes best.

    textmill train book.txt --model mixture_of_experts:experts --loss mixture_of_experts:balanced

The loss keeps the experts equally busy (Fedus et al. 2021, arXiv:2101.03961, equation 4). Letters: B sequences,
T positions, N experts.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import textmill
from textmill.config import ModelConfig
from textmill.data import Batch
from textmill.model import cross_entropy_sum, forward, make_mlp

EXPERTS, CHOSEN = 4, 2


class Experts(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.router = nn.Linear(config.d_model, EXPERTS, bias=False)
        self.experts = nn.ModuleList(make_mlp(config) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        shares = self.router(x).softmax(-1)  # (B, T, N)
        chosen = shares >= shares.topk(CHOSEN).values[..., -1:]  # (B, T, N)
        weights = F.normalize(shares * chosen, p=1, dim=-1)  # (B, T, N), of the chosen ones, with sum 1
        self.balance = EXPERTS * (chosen.float().mean((0, 1)) / CHOSEN * shares.mean((0, 1))).sum()
        y = torch.zeros_like(x)
        for at, weight, expert in zip(chosen.unbind(-1), weights.unbind(-1), self.experts):  # (B, T) twice
            y[at] += (weight[at].unsqueeze(-1) * expert(x[at])).to(y.dtype)
        return y


experts = partial(textmill.build_model, mlp=Experts)


def balanced(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what to minimise, with the balance, which is 1 where all experts are equally busy; and the plain loss."""
    nats = cross_entropy_sum(forward(model, batch), batch.targets)
    return nats + 0.01 * batch.num_targets * sum(m.balance for m in model.modules() if isinstance(m, Experts)), nats

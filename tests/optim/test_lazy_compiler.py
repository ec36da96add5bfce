"""Optimizers without PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys

TRAINING = """
import sys, torch
from textmill.optim.optimizer_choice import build_optimizer
model = torch.nn.Linear(4, 4)
optimizer = build_optimizer(model, "muon", learning_rate=0.1)
for _ in range(2):
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""

COMPILED_LATER = """
import torch
@torch.compile(backend="eager")
def step():
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
before = model.weight.detach().clone()
step()
print(bool((model.weight != before).any()))
"""


def test_a_run_that_compiles_nothing_does_not_import_the_compiler() -> None:
    """Making, stepping, saving and loading Muon leaves torch._dynamo alone; compiling still works after it."""
    result = subprocess.run(
        [sys.executable, "-c", TRAINING + COMPILED_LATER], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "True"]

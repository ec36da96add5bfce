"""Optimizers without PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_a_whole_run_with_samples_does_not_import_the_compiler(tmp_path: Path) -> None:
    """From the command to the model: two seconds that nobody waits for."""
    text = tmp_path / "text.txt"
    text.write_text("once upon a time there was a mill\n" * 50)
    shape = "--tokenizer byte --d-model 16 --num-layers 1 --num-heads 1 --max-seq-len 16 --max-steps 2 --sample-steps 1"
    words = ["train", str(text), *shape.split(), "--output-dir", str(tmp_path / "run")]
    program = "import sys; from textmill.cli.main import main; code = main(sys.argv[1:])\n"
    program += "print(code, 'torch._dynamo' in sys.modules, 'torch._inductor' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert result.stdout.split()[-3:] == ["0", "False", "False"]

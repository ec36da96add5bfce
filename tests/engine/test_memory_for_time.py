"""Gradient checkpointing and torch.compile change what a step costs and not what it computes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from textmill.cli.main import main
from textmill.config import ModelConfig
from textmill.data.batches.loader import IGNORED, Batch
from textmill.engine.compiling import Compiler
from textmill.model.cross_entropy import cross_entropy_sum
from textmill.model.from_config import build_model
from textmill.training.start_run import causal_loss


def forward_and_backward(checkpointing: bool) -> tuple[int, dict[str, Tensor]]:
    """Return the bytes of activations held between forward and backward, and the gradients."""
    config = ModelConfig(
        vocab_size=61, d_model=32, num_layers=6, num_heads=2, max_seq_len=64, dropout=0.1,
        gradient_checkpointing=checkpointing,
    )  # fmt: skip
    model = build_model(config, seed=1).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.randint(61, (4, 64), generator=torch.Generator().manual_seed(2))
    torch.manual_seed(3)  # dropout
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = cross_entropy_sum(model(tokens), tokens.roll(-1, 1))
    activations = sum(held.values())
    loss.backward()
    return activations, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_recomputing_layers_holds_less_and_changes_no_gradient() -> None:
    """With gradient checkpointing six layers hold less than a third, and the gradients are the same bits."""
    plain, expected = forward_and_backward(False)
    less, gradients = forward_and_backward(True)
    assert less < plain / 3
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected[name]), name


@pytest.mark.slow
def test_a_compiled_run_is_the_same_run(tmp_path: Path) -> None:
    """--compile gives the losses of the run without it to 1e-4, and a model folder with the same names."""
    import json

    from safetensors.torch import load_file

    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    text = tmp_path / "book.txt"
    text.write_text(Path(__file__).read_text())
    runs = []
    for name, flags in (("plain", []), ("compiled", ["--compile"])):
        run = tmp_path / name
        command = ["train", str(text), "--tokenizer", "byte", "--cache-dir", str(tmp_path / "cache"), "--dropout", "0"]
        command += ["--d-model", "32", "--num-layers", "2", "--num-heads", "2", "--max-seq-len", "32", "--seed", "5"]
        command += ["--batch-size", "4", "--max-steps", "6", "--logging-steps", "1", "--precision", "fp32"]
        command += ["--optimizer", "adamw", "--gradient-accumulation-steps", "2", *flags, "--output-dir", str(run)]
        assert main(command) == 0
        losses = [json.loads(line)["train_loss"] for line in (run / "steps.jsonl").read_text().splitlines()]
        runs.append((losses, load_file(run / "final" / "model.safetensors")))
    (plain, weights), (compiled, others) = runs
    assert compiled == pytest.approx(plain, abs=1e-4)
    assert weights.keys() == others.keys()


@pytest.mark.slow
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_compiled_loss_is_the_loss(label_smoothing: float) -> None:
    """Compiled, the loss over bfloat16 logits has the same value to 1e-6 and gradient to 1e-3."""
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    ids = torch.randint(5003, (4, 32), generator=torch.Generator().manual_seed(4))
    targets = ids.roll(-1, 1)
    targets[0, :5] = IGNORED
    batch = Batch(ids, targets, int((targets != IGNORED).sum()))
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Embedding(5003, 16), torch.nn.Linear(16, 5003))
        with torch.autocast("cpu", torch.bfloat16):
            loss = causal_loss(label_smoothing=label_smoothing, compile=Compiler(pytest.fail) if compiled else None)(
                model, batch
            )
        minimised, reported = loss if isinstance(loss, tuple) else (loss, loss)
        minimised.backward()
        assert model[1].weight.grad is not None
        found.append((minimised.item(), reported.item(), model[1].weight.grad))
    (plain, plain_reported, gradient), (compiled, compiled_reported, other) = found
    assert (compiled, compiled_reported) == pytest.approx((plain, plain_reported), rel=1e-6)
    assert (gradient - other).norm() < 1e-3 * gradient.norm()

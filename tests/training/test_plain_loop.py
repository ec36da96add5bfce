"""A run equals a loop of plain PyTorch, written out here: the same losses, gradient norms and weights in float32.

The loop uses nothing of textmill's loop, engines, optimizers and schedules. It reads the prepared ids itself; the
model's first weights and the order of rows, which have tests of their own, are textmill's.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

import textmill as tm
from textmill.cli.main import main
from textmill.data.batches.row_order import row_order

LENGTH, ROWS, MICRO_BATCHES, SEED = 24, 3, 2, 11  # tokens per row; rows per micro-batch; micro-batches per step
STEPS, WARMUP, PEAK, FLOOR = 50, 7, 1e-2, 0.2  # FLOOR is a share of the peak
DECAY, MAX_NORM, BETAS, EPSILON = 0.3, 0.8, (0.9, 0.95), 1e-8
TOLERANCE = 1e-6

FAMILIES = {"qwen3": ["--num-kv-heads", "1"], "llama": ["--tie-embeddings", "false"], "gpt2": []}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus of 2,000 byte tokens, whose last row is not full; 50 steps pass it three and a half times."""
    folder = tmp_path_factory.mktemp("plain")
    book = folder / "book.txt"
    book.write_text(Path(json.__file__).read_text(encoding="utf-8")[:2000], encoding="utf-8")
    words = ["prepare", str(book), "--tokenizer", "byte", "--val-split", "0", "--output", str(folder / "prepared")]
    assert main([*words, "--cache-dir", str(folder / "cache")]) == 0
    return folder / "prepared"


def learning_rate(step: int) -> float:
    """Linear warm-up to the peak, then half a cosine down to the floor."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    done = (step - WARMUP) / (STEPS - WARMUP)
    return PEAK * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2)


def rows_of(ids: Tensor, indices: list[int]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets (rows, LENGTH); the last row is filled up with targets that do not count."""
    inputs = torch.zeros(len(indices), LENGTH, dtype=torch.int64)
    targets = torch.full((len(indices), LENGTH), -100)
    for row, index in enumerate(indices):
        piece = ids[index * LENGTH : index * LENGTH + LENGTH + 1]
        inputs[row, : len(piece) - 1] = piece[:-1]
        targets[row, : len(piece) - 1] = piece[1:]
    return inputs, targets


def groups(model: nn.Module) -> list[dict[str, object]]:
    """Weight decay is for the matrices inside the blocks: not for embeddings, the head, norms and biases."""
    named = dict(model.named_parameters())
    inside = [value for name, value in named.items() if value.ndim == 2 and (".layers." in name or ".h." in name)]
    rest = [value for value in named.values() if all(value is not other for other in inside)]
    return [{"params": inside, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]


def plain_loop(model: nn.Module, ids: Tensor) -> tuple[list[float], list[float]]:
    """Train `model` for STEPS steps; return the loss and the gradient norm of each."""
    # Fused, because Adam turns another rounding of a gradient that is nothing but rounding (of gpt2's key biases, which
    # softmax ignores) into whole steps.
    optimizer = torch.optim.AdamW(groups(model), lr=PEAK, betas=BETAS, eps=EPSILON, fused=True)  # type: ignore[arg-type]
    num_rows = math.ceil((len(ids) - 1) / LENGTH)
    losses, norms = [], []
    model.train()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        step_rows = ROWS * MICRO_BATCHES
        order = row_order(np.arange(step * step_rows, (step + 1) * step_rows), num_rows, SEED).tolist()
        inputs, targets = rows_of(ids, order)
        counted = int((targets != -100).sum())
        total = 0.0
        for first in range(0, step_rows, ROWS):
            logits = model(inputs[first : first + ROWS])
            nats = F.cross_entropy(logits.flatten(0, 1), targets[first : first + ROWS].flatten(), reduction="sum")
            (nats / counted).backward()
            total += nats.item()
        losses.append(total / counted)
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM).item())
        optimizer.step()
        optimizer.zero_grad()
    return losses, norms


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_equals_a_plain_loop(prepared: Path, tmp_path: Path, family: str) -> None:
    """50 steps with accumulation, warm-up, cosine decay, clipping and weight decay end at the same weights."""
    out = tmp_path / "run"
    words = ["train", str(prepared), "--output-dir", str(out), "--architecture", family, *FAMILIES[family]]
    words += [*("--d-model", "32", "--num-layers", "2", "--num-heads", "2", "--max-seq-len", str(LENGTH))]
    words += [*("--dropout", "0", "--precision", "fp32", "--seed", str(SEED), "--threads", "1")]
    words += [*("--batch-size", str(ROWS), "--gradient-accumulation-steps", str(MICRO_BATCHES))]
    words += [*("--max-steps", str(STEPS), "--warmup-steps", str(WARMUP), "--learning-rate", str(PEAK))]
    words += [*("--lr-schedule", "cosine", "--min-lr-ratio", str(FLOOR), "--optimizer", "adamw")]
    words += [*("--weight-decay", str(DECAY), "--max-grad-norm", str(MAX_NORM), "--eps", str(EPSILON))]
    words += [*("--beta1", str(BETAS[0]), "--beta2", str(BETAS[1]), "--logging-steps", "1", "--sample-steps", "0")]
    assert main(words) == 0
    logged = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]

    shape = tm.load_config(out / "config.yaml").model
    shape.vocab_size = 257  # bytes and the EOS token; config.yaml leaves to the tokenizer what was not asked for
    model = tm.build_model(shape, seed=SEED)
    ids = torch.from_numpy(np.fromfile(prepared / "train" / "00000.bin", dtype="<u2").astype(np.int64))
    losses, norms = plain_loop(model, ids)

    assert [row["learning_rate"] for row in logged] == pytest.approx([learning_rate(step) for step in range(STEPS)])
    assert [row["train_loss"] for row in logged] == pytest.approx(losses, abs=TOLERANCE)
    assert [row["grad_norm"] for row in logged] == pytest.approx(norms, rel=1e-5)
    assert min(norms) < MAX_NORM < max(norms)  # some steps are clipped and some are not
    assert losses[-1] < losses[0] - 1
    trained = load_file(out / "final" / "model.safetensors")
    mine = model.state_dict()
    for name, tensor in trained.items():
        assert (tensor - mine[name]).abs().max().item() <= TOLERANCE, name

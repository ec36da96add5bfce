"""Training time to a validation loss, and loss after a given time, beside the plain loop's recipe.

    python benchmarks/time_to_loss.py TEXT --steps 260 --seeds 5

Characters, 4 layers of width 128, context 64, 12 rows: the run on a CPU that nanoGPT's README describes, which
`plain.py` trains by its published recipe (2,000 steps, warm-up 100, cosine from 1e-3 to 1e-4). textmill gets this
shape, the number of steps and nothing else. The first nine tenths of TEXT are trained on, the last tenth is evaluated
whole.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import PlainTrainer
from train_speed import CONFIGS, busy, machine

import textmill
from textmill.console.screen import Screen
from textmill.training.evaluate_and_sample import evaluate

SHAPE = CONFIGS["S"]

OUR_SHAPE: dict[str, Any] = {
    "tokenizer": "char",
    "d_model": SHAPE["width"],
    "num_layers": SHAPE["layers"],
    "num_heads": SHAPE["heads"],
    "max_seq_len": SHAPE["context"],
    "batch_size": SHAPE["batch"],
}
"""The same in textmill's settings."""


def plain_run(
    ids: np.ndarray, held_out: np.ndarray, vocab: int, steps: int, folder: Path, *, peak: float = 1e-3
) -> tuple[float, float]:
    """Return seconds of training and the validation loss in nats of the plain recipe.

    peak: learning rate after the warm-up; it falls to a tenth.
    """
    np.save(folder / "plain.npy", ids)
    trainer = PlainTrainer(str(folder / "plain.npy"), **{**SHAPE, "vocab": vocab})
    warmup = steps // 20
    started = time.perf_counter()
    for step in range(steps):
        falling = 0.5 * (1.0 + math.cos(math.pi * max(0, step - warmup) / (steps - warmup)))
        rate = peak * ((step + 1) / warmup if step < warmup else 0.1 + 0.9 * falling)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        trainer.run(1)
    seconds = time.perf_counter() - started
    length = SHAPE["context"]
    rows = (len(held_out) - 1) // length
    inputs = torch.from_numpy(held_out[: rows * length].astype(np.int64)).view(rows, length)
    targets = torch.from_numpy(held_out[1 : rows * length + 1].astype(np.int64)).view(rows, length)
    with torch.no_grad():
        parts = zip(inputs.split(256), targets.split(256))
        nats = sum(trainer.model(x, y).item() * y.numel() for x, y in parts)
    return seconds, nats / (rows * length)


def our_run(folder: Path, steps: int, seed: int, threads: int) -> tuple[float, float]:
    """Return seconds of training and the validation loss in nats of textmill without flags but the shape."""
    values: dict[str, Any] = {
        "data": [str(folder / "train.txt")],
        "val_data": [str(folder / "val.txt")],
        **OUR_SHAPE,
        "max_steps": steps,
        "eval_steps": steps,
        "save_steps": steps,
        "seed": seed,
        "threads": threads,
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / f"run-{steps}-{seed}"),
    }
    with textmill.assemble(textmill.load_config(values), screen=Screen(quiet=True)) as run:
        for _ in textmill.steps(run):
            pass
        return run.progress.training_seconds, evaluate(run)["loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="a text of about a megabyte")
    parser.add_argument("--steps", type=int, nargs="+", default=[260], help="steps of our runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plain-steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="append the result to this JSON Lines file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    text = arguments.text.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    places = {character: index for index, character in enumerate(sorted(set(text)))}
    ids = np.array([places[character] for character in text], dtype=np.uint16)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.txt").write_text(text[:cut], encoding="utf-8")
        (folder / "val.txt").write_text(text[cut:], encoding="utf-8")
        load = busy()
        ours: dict[int, list[tuple[float, float]]] = {steps: [] for steps in arguments.steps}
        plain = plain_run(ids[:cut], ids[cut:], len(places), arguments.plain_steps, folder)
        for seed in range(1, arguments.seeds + 1):
            for steps, found in ours.items():
                found.append(our_run(folder, steps, seed, arguments.threads))
    result = {
        "plain": {"steps": arguments.plain_steps, "seconds": round(plain[0], 1), "loss": round(plain[1], 4)},
        "ours": [
            {
                "steps": steps,
                "seconds": round(statistics.median(seconds for seconds, _ in found), 1),
                "share_of_plain_seconds": round(statistics.median(seconds for seconds, _ in found) / plain[0], 3),
                "loss": round(statistics.median(loss for _, loss in found), 4),
                "losses": [round(loss, 4) for _, loss in found],
            }
            for steps, found in ours.items()
        ],
        "machine": machine(),
        "threads": arguments.threads,
        "foreign_load": load,
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        with arguments.output.open("a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

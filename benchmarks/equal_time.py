"""What is learned in the same time: bits per byte of held-out text, beside the plain loop with several learning rates.

    python benchmarks/equal_time.py TEXT TEXT --seconds 300 --rates 1e-3 4e-3

textmill gets the text and the time, and nothing else; and once more with the plain loop's tokenizer, shape and rows.
The plain loop (`plain.py`) trains on characters in the shape S; its steps are measured first, so that its cosine ends
with the time. The first nine tenths of each text are trained on, the last tenth is evaluated whole, after training.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import PlainTrainer
from time_to_loss import OUR_SHAPE, SHAPE, plain_run
from train_speed import busy, machine

import textmill
from textmill.console.screen import Screen
from textmill.evaluation.evaluate_saved_model import evaluate_model


def ours(folder: Path, name: str, seconds: float, threads: int, shape: dict[str, Any]) -> dict[str, float]:
    """Return bits per byte of the last model, and the seconds that the run took with all that belongs to it."""
    started = time.perf_counter()
    result = textmill.train(
        shape,
        data=[str(folder / "train.txt")],
        val_data=[str(folder / "val.txt")],
        max_time=seconds,
        threads=threads,
        cache_dir=str(folder / "cache"),
        output_dir=str(folder / name),
        screen=Screen(quiet=True),
    )
    taken = time.perf_counter() - started
    found = evaluate_model(folder / name / "final", folder / "val.txt", cache_dir=folder / "cache")
    return {"bits_per_byte": round(found["bits_per_byte"], 4), "steps": result.total_steps, "seconds": round(taken, 1)}


def plain(folder: Path, text: str, cut: int, seconds: float, rate: float) -> dict[str, float]:
    """Return the same of the plain loop; its seconds are of training alone."""
    places = {character: index for index, character in enumerate(sorted(set(text)))}
    ids = np.array([places[character] for character in text], dtype=np.uint16)
    np.save(folder / "plain.npy", ids[:cut])
    trial = PlainTrainer(str(folder / "plain.npy"), **{**SHAPE, "vocab": len(places)})
    trial.run(20)
    started = time.perf_counter()
    trial.run(100)
    steps = int(seconds * 100 / (time.perf_counter() - started))
    taken, nats = plain_run(ids[:cut], ids[cut:], len(places), steps, folder, peak=rate)
    bits = nats * (len(text) - cut) / len(text[cut:].encode()) / math.log(2)
    return {"bits_per_byte": round(bits, 4), "steps": steps, "seconds": round(taken, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-3, 4e-3])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="append the results to this JSON Lines file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for path in arguments.texts:
        text = path.read_text(encoding="utf-8")
        cut = len(text) * 9 // 10
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "train.txt").write_text(text[:cut], encoding="utf-8")
            (folder / "val.txt").write_text(text[cut:], encoding="utf-8")
            load = busy()
            sides = {
                "no flags": ours(folder, "none", arguments.seconds, arguments.threads, {}),
                "shape S, characters": ours(folder, "same", arguments.seconds, arguments.threads, OUR_SHAPE),
            }
            for rate in arguments.rates:
                sides[f"plain, {rate:g}"] = plain(folder, text, cut, arguments.seconds, rate)
        result = {"text": path.name, "asked_seconds": arguments.seconds, "sides": sides}
        result |= {"machine": machine(), "threads": arguments.threads, "foreign_load": load}
        print(json.dumps(result, indent=1), flush=True)
        if arguments.output:
            with arguments.output.open("a") as file:
                file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

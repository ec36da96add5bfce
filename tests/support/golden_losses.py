"""Losses of small runs that are kept in the repository, so that a change of the numbers is seen and has a reason.

    PYTHONPATH=tests python -m support.golden_losses "why they change"

measures them anew and writes tests/distributed/golden_losses.yaml. The reason must stand in CHANGELOG.md, word by word.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import yaml

from support.made_text import sentences
from support.rank_processes import run_together, values

GOLDEN = Path(__file__).resolve().parents[1] / "distributed" / "golden_losses.yaml"

FAMILIES = ("qwen3", "llama", "gpt2")
ENGINES = {"single": 1, "ddp": 2, "fsdp": 2}
"""Engine -> its number of processes."""

OPTIMIZERS = {"default": [], "adamw": ["--optimizer", "adamw", "--learning-rate", "3e-3"]}
"""The default is what `auto` chooses for this much text on a CPU."""

CASES = [
    (family, engine, optimizer)
    for family, engine, optimizer in itertools.product(FAMILIES, ENGINES, OPTIMIZERS)
    if optimizer == "adamw" or engine == "single" or family == "qwen3"
]


def measured_losses(folder: Path, family: str, engine: str, optimizer: str, threads: int = 1) -> list[float]:
    """Train for 12 steps below `folder`; return the training loss of each step, and last the validation loss."""
    size, run, book = ENGINES[engine], folder / "run", folder / "book.txt"
    folder.mkdir(parents=True, exist_ok=True)
    book.write_text(sentences(160), encoding="utf-8")
    words = ["train", str(book), "--tokenizer", "byte", "--output-dir", str(run), "--cache-dir", str(folder / "cache")]
    words += ["--architecture", family, "--engine", engine, *OPTIMIZERS[optimizer], "--seed", "5"]
    words += [*("--d-model", "32", "--num-layers", "2", "--num-heads", "2", "--max-seq-len", "32", "--dropout", "0")]
    words += [*("--precision", "fp32", "--device", "cpu", "--threads", str(threads), "--logging-steps", "1")]
    words += [*("--batch-size", str(4 // size), "--gradient-accumulation-steps", "2", "--max-steps", "12")]
    words += [*("--warmup-steps", "4", "--eval-steps", "12", "--sample-steps", "0")]
    run_together(folder / "said", words, size)
    return [*values(run / "steps.jsonl", "train_loss"), values(run / "metrics.jsonl", "val_loss")[-1]]


def measure_all(threads: int = 1) -> dict[str, list[float]]:
    """Return the losses of every case by its name, such as `qwen3 ddp adamw`."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            losses = measured_losses(Path(folder) / "-".join(case), *case, threads=threads)
            found[" ".join(case)] = [round(loss, 7) for loss in losses]
    return found


def main(reason: str) -> None:
    tree = {"reason": reason, "losses": measure_all()}
    GOLDEN.write_text(yaml.safe_dump(tree, sort_keys=False, width=120, default_flow_style=None), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage:{(__doc__ or '').split(chr(10))[2]}")
    main(sys.argv[1])

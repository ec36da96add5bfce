"""A metric of your own: how often the target is among the model's five likeliest tokens.

A metric returns a sum and a count, never a mean: textmill adds both over batches and processes and divides once, so
the number does not depend on the batch size. From a file, the same is `metrics: ["custom_metric:top5"]`.
"""

from __future__ import annotations

import sys

from torch import Tensor

import textmill
from textmill.data import Batch


def top5(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return hits and counted targets; logits are (B, T, V), targets (B, T) with -100 where none counts."""
    counted = batch.targets != -100  # (B, T)
    hits = (logits.topk(5).indices == batch.targets[..., None]).any(-1) & counted  # (B, T)
    return hits.sum(), counted.sum()


def main(data: str, output_dir: str) -> None:
    result = textmill.train(
        data=data, output_dir=output_dir, max_steps=30, d_model=64, num_layers=2, metrics={"top5": top5}, overwrite=True
    )
    print(f"the rows of {result.output_dir / 'metrics.jsonl'} have a column val_top5")


if __name__ == "__main__":
    main(*sys.argv[1:3])

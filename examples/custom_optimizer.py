"""An optimizer of your own: a function from parameter groups to an optimizer.

The groups are called `matrices`, `embeddings` and `vectors`; a group's `lr_scale`, where set, multiplies the scheduled
learning rate. From a file, the same is `optimizer: custom_optimizer:slow_embeddings`.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

import textmill


def slow_embeddings(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return RAdam in which embeddings learn at a third of the learning rate."""
    for group in groups:
        group["lr_scale"] = 1 / 3 if group["name"] == "embeddings" else 1.0
    return torch.optim.RAdam(groups, decoupled_weight_decay=True)


def main(data: str, output_dir: str) -> None:
    result = textmill.train(
        data=data,
        output_dir=output_dir,
        max_steps=30,
        d_model=64,
        num_layers=2,
        learning_rate=1e-3,
        optimizer=slow_embeddings,
        overwrite=True,
    )
    print(f"training loss {result.final_train_loss:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])

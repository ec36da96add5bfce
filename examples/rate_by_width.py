"""AdamW whose rate serves several widths: that of matrices is divided by the width, as in muP (arXiv:2203.03466).

    textmill train book.txt --optimizer rate_by_width:adamw --learning-rate 3e-3

The rate is that of a model of width BASE. Of muP this is the part that moves the best rate; weights are drawn as ever.
"""

from __future__ import annotations

from typing import Any

import torch

BASE = 64


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return AdamW over the groups; the width is that of the embeddings, the tables (V, D)."""
    width = next(group["params"][0].shape[1] for group in groups if group["name"] == "embeddings")
    for group in groups:
        group["lr_scale"] = BASE / width if group["name"] == "matrices" else 1.0
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))

"""The other side of the comparison: a plain GPT-2 and a plain training loop, as one writes them in an afternoon.

The mathematics is that of the gpt2 family: LayerNorm before each block, learned positions, GELU, one matrix for
embedding and head. float32, PyTorch's own attention, AdamW with default kernels, clipping, windows at random offsets:
what nanoGPT's training script does on a CPU.
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).split(width, dim=2)
        q, k, v = (t.view(batch, length, self.heads, width // self.heads).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class PlainGPT(nn.Module):
    def __init__(self, vocab: int, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.size(1)))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


class PlainTrainer:
    """`run(steps)` trains for so many steps."""

    def __init__(self, ids: str, *, vocab: int, width: int, layers: int, heads: int, context: int, batch: int) -> None:
        self.data = np.load(ids, mmap_mode="r")
        self.context, self.batch = context, batch
        torch.manual_seed(1337)
        self.model = PlainGPT(vocab, width, layers, heads, context)
        decayed = [parameter for parameter in self.model.parameters() if parameter.ndim >= 2]
        others = [parameter for parameter in self.model.parameters() if parameter.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))

    def get_batch(self) -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(self.data) - self.context, (self.batch,))
        x = torch.stack([torch.from_numpy(self.data[i : i + self.context].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(self.data[i + 1 : i + 1 + self.context].astype(np.int64)) for i in starts])
        return x, y

    def run_timed(self, steps: int) -> float:
        """Train for so many steps; return the seconds."""
        started = time.perf_counter()
        self.run(steps)
        return time.perf_counter() - started

    def run(self, steps: int) -> float:
        loss = torch.zeros(())
        for _ in range(steps):
            loss = self.model(*self.get_batch())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

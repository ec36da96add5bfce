"""A model of your own: any module from token ids (B, T) to logits (B, T, V)."""

from __future__ import annotations

import sys

from torch import Tensor, nn

import textmill


class Recurrent(nn.Module):
    """A GRU that reads one token after the other."""

    def __init__(self, vocab_size: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.memory = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)  # (B, T) -> (B, T, D)
        x, _ = self.memory(x)  # (B, T, D)
        return self.head(x)  # (B, T, V)


def main(data: str, output_dir: str) -> None:
    result = textmill.train(
        data=data, output_dir=output_dir, tokenizer="byte", max_steps=30, model=Recurrent(257), overwrite=True
    )
    print(f"validation loss {result.best_val_loss:.3f} nats per byte")


if __name__ == "__main__":
    main(*sys.argv[1:3])

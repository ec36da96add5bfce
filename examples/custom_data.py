"""Data of your own: a dataset of rows that you made, with the validation text that you chose."""

from __future__ import annotations

import sys
from pathlib import Path

import textmill
from textmill.data import TextDataset


def main(data: str, output_dir: str) -> None:
    text = Path(data).read_text(encoding="utf-8")
    half = Path(output_dir).parent
    (half / "first.txt").write_text(text[: len(text) // 2], encoding="utf-8")
    (half / "second.txt").write_text(text[len(text) // 2 :], encoding="utf-8")
    result = textmill.train(
        data=TextDataset(half / "first.txt", block_size=64),
        validation=TextDataset(half / "second.txt", block_size=64),
        output_dir=output_dir,
        d_model=64,
        num_layers=2,
        max_steps=30,
        overwrite=True,
    )
    print(f"loss on the other half {result.final_val_loss:.3f} nats per byte")


if __name__ == "__main__":
    main(*sys.argv[1:3])

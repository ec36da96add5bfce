"""A text as a torch Dataset, for those who bring their own loop."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from textmill.data.batches.loader import Rows
from textmill.data.prepare import prepare
from textmill.tokenizers import Tokenizer


class TextDataset(Dataset):
    """The rows of a text: item i is (tokens, targets), int64 (block_size,) each.

    Everything in `path` is one side; nothing is split off. Without a tokenizer the ids are the bytes of the text.

    Attributes:
        tokenizer: what made the ids, or None where `path` is an array of ids.
        vocab_size: the tokenizer's, or the highest id plus one.
        rows: the rows, which a TrainLoader also reads.
        corpus: the prepared corpus they come from.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path] | Any,
        block_size: int = 256,
        tokenizer: str | Path | Tokenizer | None = None,
        *,
        vocab_size: int | None = None,
        cache_dir: str | Path | None = None,
        say: Callable[[str], None] = lambda sentence: None,
        **settings: Any,
    ) -> None:
        """Prepare `path`, which is what `prepare` takes as data, or find it in the cache.

        `prepare` takes the other settings and raises the errors.
        """
        self.corpus = prepare(
            path,
            val_split=0,
            tokenizer="byte" if tokenizer is None else tokenizer,
            vocab_size=vocab_size,
            cache_dir=cache_dir,
            say=say,
            **settings,
        )
        self.tokenizer = self.corpus.tokenizer
        self.vocab_size = self.corpus.vocab_size
        self.rows = Rows(self.corpus.train, block_size)

    @property
    def block_size(self) -> int:
        return self.rows.seq_len

    def __repr__(self) -> str:
        kind = self.tokenizer.kind if self.tokenizer is not None else "given"
        rows = f"{len(self):,} rows of {self.block_size}"
        return f"<TextDataset: {rows}, {self.corpus.train.num_tokens:,} tokens ({kind}, {self.vocab_size:,} ids)>"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        tokens, targets = self.rows.read(np.array([index % len(self)]))
        return torch.from_numpy(tokens[0]), torch.from_numpy(targets[0])

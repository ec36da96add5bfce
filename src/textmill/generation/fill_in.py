"""What a model is asked that fills in the middle: prefix and suffix in the order in which it was trained.

Source: Bavarian et al., "Efficient Training of Language Models to Fill in the Middle" (2022); see
`data.batches.fill_in_middle`, whose rows this continues.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from textmill.config import load_config
from textmill.errors import TextmillError
from textmill.runs.layout import run_of
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.fim_tokens import fim_tokens


def fill_in_ids(tokenizer: Tokenizer, prefix: str, suffix: str, *, suffix_first: bool) -> tuple[list[int], int]:
    """Return the ids after which a model writes what is between `prefix` and `suffix`, and the id that ends it.

    suffix_first: in the order `spm` of the training. Raises ConfigError for a tokenizer without the tokens for it.
    """
    remedy = "train a model with --fim-rate to fill in what stands before a suffix"
    marks = fim_tokens(tokenizer, remedy)
    before, after = ([int(token) for token in tokenizer.encode(text)] for text in (prefix, suffix))
    if suffix_first:
        parts = [marks.prefix, marks.suffix, *after, marks.middle, *before]
    else:
        parts = [marks.prefix, *before, marks.suffix, *after, marks.middle]
    return [*map(int, tokenizer.prefix_ids), *parts], marks.end


def puts_suffix_first(model: Path) -> bool:
    """Return whether the run of a model folder trained in the order `spm` alone; models from elsewhere did not."""
    run = run_of(model)
    with suppress(TextmillError):
        return run is not None and load_config(run).data.fim_format == "spm"
    return False

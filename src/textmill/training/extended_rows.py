"""The rows of embedding and head for characters that were added to the tokenizer of a trained model.

A new row is the mean of the rows of its character's parts, where Unicode takes it apart (é is e and an accent) and the
model knows any of them, else the mean of all rows, and random numbers with the spread of the rows (half of it beside
parts): so a new token begins about as likely as the others, and no two of them alike. Source: Hewitt, "Initializing New
Word Embeddings for Pretrained Language Models" (2021); measured in docs/decisions.md. What the model computed before is
what it computes now.
"""

import unicodedata
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from textmill.tokenizers import Tokenizer
from textmill.tokenizers.extend_vocabulary import added_symbols

_SPREAD, _SPREAD_BESIDE_PARTS = 1.0, 0.5


def parts_of_new(tokenizer: Tokenizer, known: Tokenizer) -> dict[int, list[int]]:
    """Return id of each token that `tokenizer` adds to `known` -> the ids in `known` of its parts, if any."""
    symbols = added_symbols(tokenizer, known)
    if known.kind == "bpe":  # its symbols are bytes
        return {number: [] for number in symbols}
    spelled = known.encode_batch([unicodedata.normalize("NFKD", symbol) for symbol in symbols.values()])
    nameless = {number for number, symbol in symbols.items() if symbol in tokenizer.special_tokens}  # stand for no text
    return {
        number: [] if number in nameless else [int(i) for i in ids if i != known.unk_id]
        for number, ids in zip(symbols, spelled)
    }


def extended_rows(rows: Tensor, stored: Tensor, parts: Mapping[int, Sequence[int]], known: Tokenizer) -> Tensor:
    """Return `rows` (V, D) with the first ones replaced by all of `stored`, and those of new tokens made from it.

    parts: see `parts_of_new`. The mean and the spread (the deviation of each column) are those of the tokens of
    `known`, without the unknown token. The random numbers are the same in every process and run.
    """
    generator = torch.Generator().manual_seed(len(stored))
    with torch.no_grad():
        extended = rows.clone()
        extended[: len(stored)] = stored.to(rows.dtype)
        ids = [number for number in known.vocabulary().values() if number != known.unk_id]
        whole, deviation = stored[ids].double().mean(0), stored[ids].double().std(0, correction=0)
        for number, of_parts in parts.items():
            mean = stored[list(of_parts)].double().mean(0) if of_parts else whole
            spread = (_SPREAD_BESIDE_PARTS if of_parts else _SPREAD) * deviation
            noise = torch.randn(len(spread), dtype=spread.dtype, generator=generator)
            extended[number] = (mean + spread * noise).to(rows.dtype)
    return extended

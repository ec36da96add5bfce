"""The rows of embedding and head for characters that were added to the tokenizer of a trained model.

A new row is the mean of the rows of its character's parts, where Unicode takes it apart (é is e and an accent) and the
model knows any of them, else the mean of all rows: so a new token begins about as likely as the others, as
in https://nlp.stanford.edu/~johnhew/vocab-expansion.html. What the model computed before is what it computes now.
"""

import unicodedata
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from textmill.tokenizers import Tokenizer
from textmill.tokenizers.extend_vocabulary import added_symbols


def parts_of_new(tokenizer: Tokenizer, known: Tokenizer) -> dict[int, list[int]]:
    """Return id of each token that `tokenizer` adds to `known` -> the ids in `known` of its parts, if any."""
    symbols = added_symbols(tokenizer, known)
    if known.kind == "bpe":  # its symbols are bytes
        return {number: [] for number in symbols}
    spelled = known.encode_batch([unicodedata.normalize("NFKD", symbol) for symbol in symbols.values()])
    return {number: [int(i) for i in ids if i != known.unk_id] for number, ids in zip(symbols, spelled)}


def extended_rows(rows: Tensor, stored: Tensor, parts: Mapping[int, Sequence[int]], known: Tokenizer) -> Tensor:
    """Return `rows` (V, D) with the first ones replaced by all of `stored`, and those of new tokens by means of it.

    parts: see `parts_of_new`. The mean of all rows is that of the tokens of `known`, without the unknown token.
    """
    with torch.no_grad():
        extended = rows.clone()
        extended[: len(stored)] = stored.to(rows.dtype)
        ids = [number for number in known.vocabulary().values() if number != known.unk_id]
        whole = stored[ids].double().mean(0)
        for number, of_parts in parts.items():
            mean = stored[list(of_parts)].double().mean(0) if of_parts else whole
            extended[number] = mean.to(rows.dtype)
    return extended

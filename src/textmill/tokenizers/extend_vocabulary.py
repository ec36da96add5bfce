"""Add characters to a tokenizer that exists: they get the ids behind its own, which all stay what they were.

They become entries of its model and no added tokens: those would cut words around them, and decode with spaces where
the tokenizer puts some between words.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Tokenizer as Backend

from textmill.errors import ConfigError
from textmill.tokenizers.tokenizer import Tokenizer

_BELOW_THE_LOWEST = 10.0
"""What the library takes off the lowest score of a Unigram model for an unknown character. A new piece that costs as
much changes no way to spell a text that was known."""


def with_characters(tokenizer: Tokenizer, characters: Iterable[str]) -> Tokenizer:
    """Return `tokenizer` with entries for those of `characters` that it cannot spell, in their order.

    What it can spell already has the same ids as before. Raises ConfigError for a tokenizer whose vocabulary cannot
    grow by characters: one of whole words, or a Unigram one with further tokens behind its pieces.
    """
    described: dict[str, Any] = json.loads(tokenizer.content)
    known, model = tokenizer.vocabulary(), described["model"]
    symbols = dict.fromkeys(symbol for character in characters for symbol in tokenizer.symbols_of(character))
    before, after = _affixes(model)
    forms = dict.fromkeys(
        form for symbol in symbols for form in (symbol, before + symbol, symbol + after, before + symbol + after)
    )
    new = [form for form in forms if form not in known]
    if not new:
        return tokenizer
    if model.get("type") == "Unigram" and len(model["vocab"]) == tokenizer.vocab_size:
        lowest = min(score for _, score in model["vocab"])
        model["vocab"] += [[form, lowest - _BELOW_THE_LOWEST] for form in new]
    elif model.get("type") in ("BPE", "WordPiece"):
        # The library numbers added tokens by the size of the vocabulary unless they are in it.
        for token in described.get("added_tokens", []):
            model["vocab"].setdefault(token["content"], token["id"])
        model["vocab"] |= {form: number for number, form in enumerate(new, tokenizer.vocab_size)}
    else:
        raise ConfigError(
            f"extend_vocab cannot add characters to a vocabulary of the kind {model.get('type')}"
            f"{' with tokens behind its pieces' if model.get('type') == 'Unigram' else ''}: use another tokenizer"
        )
    extended = Tokenizer.from_backend(Backend.from_str(json.dumps(described, ensure_ascii=False)), tokenizer.roles)
    if not extends(extended, tokenizer):
        raise ConfigError("extend_vocab would change ids of the tokenizer: use another one")
    return extended


def extends(tokenizer: Tokenizer, other: Tokenizer) -> bool:
    """Return whether `tokenizer` has every token of `other` under the same id."""
    tokens = tokenizer.vocabulary()
    return all(tokens.get(token) == number for token, number in other.vocabulary().items())


def added_symbols(tokenizer: Tokenizer, other: Tokenizer) -> dict[int, str]:
    """Return id -> character of the tokens that `tokenizer` has and `other`, which it extends, has not."""
    known, (before, after) = other.vocabulary(), _affixes(json.loads(tokenizer.content)["model"])
    new = {number: token for token, number in tokenizer.vocabulary().items() if token not in known}
    return {
        number: token if len(token) == 1 else token.removeprefix(before).removesuffix(after)
        for number, token in sorted(new.items())
    }


def _affixes(model: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a model puts before a symbol that does not begin a word, and after one that ends a word."""
    return model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""

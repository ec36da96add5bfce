"""The special tokens of fill-in-the-middle: their names in models of code, and how a tokenizer gets them.

They are special tokens, so that their names in a text stay text; only textmill puts them around what they divide.
"""

import json
from typing import Any, NamedTuple

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from textmill.errors import ConfigError
from textmill.tokenizers.extend_vocabulary import extends
from textmill.tokenizers.new_tokenizers import END_OF_TEXT
from textmill.tokenizers.tokenizer import Tokenizer


class Names(NamedTuple):
    """What the tokens before prefix, suffix and middle are called, and the one after the middle (None: EOS)."""

    prefix: str
    suffix: str
    middle: str
    end: str | None = None


NEW = Names("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
"""Those of a new tokenizer, and of Qwen2.5-Coder and CodeGemma."""

_KNOWN = (
    NEW,
    Names("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    Names("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    Names("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),  # Code Llama
    Names("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder: the hole is where the middle was
)

ADDED = 3
"""How many tokens a new tokenizer gets; one of characters gets an EOS token as well."""


class FimTokens(NamedTuple):
    """The ids before prefix, suffix and middle, and the one that ends a middle."""

    prefix: int
    suffix: int
    middle: int
    end: int


def fim_names(tokenizer: Tokenizer) -> Names | None:
    """Return what the tokens are called in `tokenizer`, None if it has none of the names that are known."""
    added = {token["content"] for token in json.loads(tokenizer.content).get("added_tokens", [])}
    return next((names for names in _KNOWN if added.issuperset(names[:3])), None)


def fim_tokens(tokenizer: Tokenizer, remedy: str) -> FimTokens:
    """Return the ids of the tokens. Raises ConfigError, which ends with `remedy`, if there are none or no EOS token."""
    names, vocabulary = fim_names(tokenizer), tokenizer.vocabulary()
    if names is None:
        raise ConfigError(f"the tokenizer has no tokens for fill-in-the-middle (such as {NEW.prefix}): {remedy}")
    end = vocabulary.get(names.end) if names.end is not None else None
    end = tokenizer.eos_id if end is None else end
    if end is None:
        raise ConfigError("fill-in-the-middle needs a token that ends the middle, and the tokenizer declares no EOS "
                          "token: --eos-token names one")  # fmt: skip
    return FimTokens(vocabulary[names.prefix], vocabulary[names.suffix], vocabulary[names.middle], end)


def with_fim_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Return `tokenizer` with the tokens NEW behind its own, unless it has some; then their names in texts stay text.

    One without an EOS token, to which they are added, gets that too. Ids that it had stay. Raises ConfigError if they
    cannot.
    """
    names = fim_names(tokenizer)
    if names is None:
        backend, roles, new = Backend.from_str(tokenizer.content), dict(tokenizer.roles), list(NEW[:3])
        if tokenizer.eos_id is None:
            new.insert(0, END_OF_TEXT)
            roles["eos_token"] = END_OF_TEXT
        backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in new])
        made = Tokenizer.from_backend(backend, roles)
        if not extends(made, tokenizer) or len({*made.vocabulary().values()}) != len(made.vocabulary()):
            raise ConfigError("the tokens for fill-in-the-middle would change ids of the tokenizer: use another one")
        return made
    described: dict[str, Any] = json.loads(tokenizer.content)
    found = [token for token in described["added_tokens"] if token["content"] in names and not token["special"]]
    for token in found:  # as in Qwen's tokenizer.json
        token["special"] = True
    return Tokenizer(json.dumps(described, ensure_ascii=False), tokenizer.roles) if found else tokenizer

"""Text that the vocabulary cannot spell: said where it is a little, refused where it is more than was allowed.

Behind the unknown token text is lost: a model learns to predict holes, and nothing that it says can fill them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from textmill.console.whole_characters import is_mark
from textmill.errors import DataError
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.char_and_byte import LONGEST_CHARACTER

DEFAULT_MAX_UNKNOWN = 0.01
"""Share of characters: more text of the same kind stays far below it, other languages are above (docs/decisions.md)."""

EXAMPLES = 3
"""How many unknown characters are shown."""


@dataclass
class UnknownText:
    """What of the text of one side the tokenizer cannot spell.

    Attributes:
        tokens: how many unknown tokens stand for it.
        found: the characters, each with how often it occurs.
        characters: of all the text of the side, as far as it is encoded.
    """

    tokens: int = 0
    found: Counter[str] = field(default_factory=Counter)
    characters: int = 0

    def add(self, more: UnknownText) -> None:
        """Add what is found in further text."""
        self.tokens += more.tokens
        self.found.update(more.found)
        self.characters += more.characters

    @property
    def number(self) -> int:
        """Unknown characters. A tokenizer may not know a word although it knows its characters: that counts as one."""
        return max(self.found.total(), self.tokens)

    def summary(self) -> dict[str, Any]:
        """Return the counts as plain values, for the report."""
        share = min(1.0, self.number / max(self.characters, 1))
        examples = [character for character, _ in self.found.most_common(EXAMPLES)]
        return {"share": share, "characters": self.number, "of": self.characters, "examples": examples}

    def sentence(self, which: str, tokenizer: Tokenizer) -> str:
        """Return what to say of a few unknown characters of the text that is called `which`."""
        charged = f"each adds {8 * LONGEST_CHARACTER} bits to bits per byte"
        effect = charged if tokenizer.kind == "char" else "no bits per byte"
        such = such_as(self.summary()["examples"])
        return f"not in the vocabulary, and counted as unknown: {self.tokens:,} tokens of {which} ({effect}){such}"


@dataclass(frozen=True)
class UnknownLimit:
    """How much of each side's text may be unknown.

    Attributes:
        most: the largest share.
        names: side -> what an error calls its text. A side that is missing has no limit.
        characters: side -> of its text in all.
    """

    most: float
    names: Mapping[int, str]
    characters: Mapping[int, int]

    def check(self, unknown: Sequence[UnknownText], *, ended: bool = False) -> None:
        """Raise DataError for a side with too much unknown text, as soon as it is certain; `ended`: all is encoded."""
        for side, name in self.names.items():
            if ended or unknown[side].number > self.most * self.characters[side]:
                refuse_unknown(name, unknown[side].summary(), self.most)


def refuse_unknown(name: str, found: Mapping[str, Any], most: float) -> None:
    """Raise DataError if the share in `found`, a summary of the text that is called `name`, is larger than `most`."""
    if found["share"] <= most:
        return
    share, of, such = f"{found['share']:.1%}", found["of"], such_as(found["examples"])
    raise DataError(
        f"the tokenizer does not know {share} of {of:,} characters of {name}{such}, and max_unknown is {most:g}: use a "
        "tokenizer made for such text (for a new model --tokenizer bpe, unigram, char or byte), train with "
        "--extend-vocab, which adds its characters, or accept it with --max-unknown 1"
    )


def refuse_dropped_text(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
    """Raise DataError if the tokenizer, which has no token for what it cannot spell, would drop some of the text."""
    lost: Counter[str] = Counter()
    for text in texts:
        lost += tokenizer.unknown_in(text)
    if lost:
        such = such_as([character for character, _ in lost.most_common(EXAMPLES)])
        raise DataError(
            f"the tokenizer has no token for some characters of the text{such}, and would drop them without a trace: "
            "use another tokenizer (a new one: --tokenizer bpe)"
        )


def such_as(characters: Sequence[str]) -> str:
    """Return how a sentence goes on that shows some characters; an empty string for none."""
    shown = {character: f"'◌{character}'" if is_mark(character) else repr(character) for character in characters}
    names = [f"{shown[character]} (U+{ord(character):04X})" for character in characters]
    return f", such as {', '.join(names)}" if names else ""

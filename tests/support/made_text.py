"""English of a kind, the same every time and on every machine."""

from __future__ import annotations

_WHO = ["The miller", "Her brother", "A traveller", "The old clerk", "Nobody", "Once, a king"]
_DID = ["walked to", "dreamed of", "wrote about", "never saw", "came back from", "sold"]
_WHAT = [
    "the river.",
    "seven grey horses.",
    "a village in the hills!",
    "his letters;",
    "the café at noon.",
    "winter.",
]


def sentences(number: int) -> str:
    """Return this many sentences, one per line, with some variety in them."""
    lines = [f"{_WHO[i % 6]} {_DID[i * i % 5]} {_WHAT[(i // 3) % 6]}" for i in range(number)]
    return "".join(line + ("\n\n" if i % 7 == 6 else "\n") for i, line in enumerate(lines))

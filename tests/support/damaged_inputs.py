"""Good files made bad: bytes flipped, cut, doubled and moved, and JSON whose values are no longer of their kind."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

NASTY_TEXT = [
    *(
        "",
        " ",
        "\n",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "-1",
        "0",
        "1",
        "0.5",
        "3e-4",
        "1_000",
        "0x10",
        "10m",
        "2h",
        "500k",
    ),
    *("9" * 400, "true", "no", "none", "null", "auto", "epoch", "epoch-1", "step-1", "last", "best", "~", "{}", "[1]"),
    *(
        "é😀 日本語",
        "\u202e\u200b",
        "a\0b",
        "x" * 5000,
        "../..",
        "--help",
        "-x",
        "%s %d {0} {x}",
        "a=b",
        "math:nothing",
    ),
    *("os.path:join", ":", "no.such.module:thing", "<|endoftext|>", "\x1b[31m", "C:\\a\\b", "a: b", "# a", "&a", "*a"),
]

NASTY_NUMBERS = [
    *(0, 1, -1, 2, 3, 7, 255, 256, 65_536, 2**31, 2**32, 2**63, 2**64, 10**30, -(2**63), 10**400),
    *(0.0, -0.0, 0.5, 1.0, -0.1, 1e-400, 5e-324, 1e-9, 1e9, 1e300, 1.5, float("nan"), float("inf"), float("-inf")),
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NASTY_NUMBERS),
    st.sampled_from(NASTY_TEXT),
    st.integers(-3, 20),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)

values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NASTY_TEXT), inner, max_size=3)
    ),
    max_leaves=5,
)
"""Whatever JSON can hold, and what it cannot."""


@st.composite
def damaged_bytes(draw: st.DrawFn, good: bytes) -> bytes:
    """`good` with a few changes such as disks, networks and editors make, or bytes that never were such a file."""
    content = bytearray(good)
    for change in draw(
        st.lists(st.sampled_from(["flip", "cut", "insert", "delete", "swap", "zero", "noise"]), max_size=4)
    ):
        place, other = (draw(st.integers(0, max(len(content) - 1, 0))) for _ in range(2))
        low, high = sorted((place, other))
        if change == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del content[place:]
        elif change == "insert":
            content[place:place] = draw(st.binary(max_size=16))
        elif change == "delete":
            del content[low : min(high, low + 64)]
        elif change == "swap":
            size = min(high - low, 32)
            content[low : low + size], content[high : high + size] = (
                content[high : high + size],
                content[low : low + size],
            )
        elif change == "zero":
            content[low : low + 8] = bytes(len(content[low : low + 8]))
        elif change == "noise":
            content = bytearray(draw(st.binary(max_size=64))) + content[len(content) - place // 2 :]
    return bytes(content)


@st.composite
def damaged_json(draw: st.DrawFn, good: Any) -> bytes:
    """The JSON of `good` with a few values of another kind, keys missing and foreign, or spelled wrong."""
    tree = {"": copy.deepcopy(good)}
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(_places(tree))
        change = draw(st.sampled_from(["value", "value", "value", "drop", "key", "double"]))
        if change == "drop" and holder is not tree:
            del holder[key]
        elif change == "key" and isinstance(holder[key], dict):
            holder[key][draw(st.sampled_from(NASTY_TEXT))] = draw(values)
        elif change == "double" and isinstance(holder[key], list):
            holder[key] += copy.deepcopy(holder[key])
        else:
            holder[key] = draw(values)
    if draw(st.integers(0, 9)) == 0:
        depth = draw(st.sampled_from([50, 2000, 100_000]))
        return b"[" * depth + b"]" * draw(st.sampled_from([0, depth]))
    return json.dumps(tree[""]).encode("utf-8", "surrogatepass")


@st.composite
def _places(draw: st.DrawFn, tree: Any) -> tuple[Any, Any]:
    """A container of `tree` and a key in it, deep ones as likely as shallow ones."""
    holder, key = tree, ""
    while isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 3)):
        holder = holder[key]
        key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))))
    return holder, key

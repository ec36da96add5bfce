"""Try a tokenizer.json, read from standard input, on short texts; a program that runs in a process of its own.

It prints "started", then "fine", "unknown" or what went wrong. After a crash, or where a limit that it sets itself ends
it, "started" stands alone. Arguments: bytes of memory, seconds of computing.
"""

import importlib
import json
import string
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from tokenizers import Tokenizer

_TEXT = "It's 7:45, Übung 日本語 ﷺ 😀 e\u0301;\r\n\n\t" + string.printable
_USUAL = "a0 \n"
_REPEATED = 64
_MOST_CHARACTERS = 64
_GROWTH = 1000
"""Characters that a normalizer may make of one. Unicode's largest is 18."""


def main() -> None:
    memory, seconds = map(int, sys.argv[1:3])
    content = sys.stdin.read()
    with suppress(ImportError):  # Windows: the limit of time is that of the process that waits
        _limit(memory, seconds)
    print("started", flush=True)
    try:
        found = _try(content)
    except Exception:  # no tokenizer at all, which is said where it is loaded
        found = "unknown"
    except BaseException as error:  # a panic of the library
        found = " ".join(str(error).split())
    print(found or "fine", flush=True)


def _limit(memory: int, seconds: int) -> None:
    """Let the system end this process when it takes more. Raises ImportError where there are no such limits."""
    resource = importlib.import_module("resource")
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):  # some systems have no limit of memory
            resource.setrlimit(limit, (most, hard))


def _try(content: str) -> str | None:
    tokenizer = Tokenizer.from_str(content)
    for text in _texts(json.loads(content)):
        if tokenizer.normalizer is not None:
            length = len(tokenizer.normalizer.normalize_str(text))
            if length > _GROWTH * (len(text) + 1):
                return f"its normalizer makes {length:,} characters of {len(text)}"
        try:
            ids = tokenizer.encode(text, add_special_tokens=True).ids
        except Exception:  # a vocabulary need not spell every text of the trial
            continue
        tokenizer.decode(ids)
    return None


def _texts(described: dict[str, Any]) -> Iterator[str]:
    """Yield usual text, then repetitions of what the patterns are made of, on which slow ones are slowest."""
    yield "a"
    yield _TEXT
    strings = [text for step in ("normalizer", "pre_tokenizer") for text in _strings(described.get(step))]
    characters = list(dict.fromkeys(_USUAL + "".join(strings)))[:_MOST_CHARACTERS]
    yield "".join(characters) * 4
    for character in characters:
        yield character * _REPEATED + "!"
    for text in strings[:_MOST_CHARACTERS]:
        if len(text) <= _REPEATED:
            yield text * 8 + "!"


def _strings(value: Any) -> Iterator[str]:
    """Yield the patterns and replacements in a step of a tokenizer."""
    if isinstance(value, dict):
        for name, entry in value.items():
            if name not in ("type", "behavior", "prepend_scheme", "precompiled_charsmap"):
                yield from _strings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)
    elif isinstance(value, str):
        yield value


if __name__ == "__main__":
    main()

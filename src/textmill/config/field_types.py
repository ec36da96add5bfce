"""Field types that accept what people write: 3e-4 in quotes, 1e5 for a whole number, "2h", "2.5B".

Each validator returns the plain value or raises ValueError, whose text completes "<where>: ...". Booleans are not
numbers, and NaN and infinity are refused everywhere, because a run that starts with them only fails later.
"""

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict

from textmill.files.operating_system import is_reserved

_COUNT = re.compile(r"([0-9._]+(?:e[+-]?[0-9]+)?)\s*([kmbt])?", re.IGNORECASE)
_DURATION = re.compile(r"([0-9.]+)\s*(d|h|min|m|sec|s)?", re.IGNORECASE)
_COUNT_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
MOST = 2**63 - 1
"""The largest whole number: torch and tensor files use 64 bits."""

MOST_THREADS = 1024
"""More than any processor has; operating systems crash when a program asks for a hundred thousand."""

_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes; Linux's limits, at least as large as macOS's

_SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Fields(BaseModel):
    """Base of the fields of a section: the docstring of a field is its help text."""

    # Building validators only when the first value arrives keeps them out of the time that a help page takes.
    model_config = ConfigDict(defer_build=True, use_attribute_docstrings=True)


def show(value: Any) -> str:
    """Return `value` as an error shows it: short, one line, strings in quotes."""
    text = repr(str(value)) if isinstance(value, os.PathLike) else repr(value)
    text = text.replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def closest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known word closest to `word`, or "" if none is close.

    A prefix of known words matches the shortest of them.
    """
    words, word = list(known), word.lower()
    near = sorted((name for name in words if len(word) > 2 and name.startswith(word)), key=len)
    near = near or difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def closest_beside(path: Path, others: Iterable[str] = ()) -> str:
    """Return "; did you mean 'x'?" for what is called most like `path` in its folder or among `others`.

    Nothing if `path` is there: then it is of the wrong kind, not misspelled.
    """
    beside = []
    with suppress(OSError):
        beside = [found.name for found in path.parent.iterdir()]
    return "" if path.name in beside else closest(path.name, [*beside, *others])


def number(value: Any) -> float:
    """Return a finite float from a number or its spelling."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a number, not {show(value)}")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"must be a number, not {show(value)}") from None
    if not math.isfinite(result):
        raise ValueError(f"must be a finite number, not {show(value)}")
    return result


def whole(value: Any) -> int:
    """Return an int of at most 64 bits from a whole number, however spelled: 8, 8.0, "8", 1e5, "1e5"."""
    try:
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9_]+\s*", value):
            value = int(value)
        result = value if isinstance(value, int) and not isinstance(value, bool) else number(value)
    except ValueError:
        raise ValueError(f"must be a whole number, not {show(value)}") from None
    if result != int(result):
        raise ValueError(f"must be a whole number, not {show(value)}")
    if abs(result) > MOST:
        raise ValueError(f"must be a number of at most 64 bits, not {show(value)}")
    return int(result)


def count(value: Any) -> int:
    """Return an int from a whole number or a spelling with a unit: "500k", "2.5B" (k, M, B, T: powers of 1000)."""
    match = _COUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not match[2]:
        return whole(value)
    result = number(match[1]) * _COUNT_UNITS[match[2].lower()]
    return whole(round(result, 3))


def seconds(value: Any) -> float:
    """Return seconds from a number or a spelling such as "90", "10m", "2h", "1h30m"."""
    if not isinstance(value, str):
        return number(value)
    text = value.replace(" ", "")
    parts = list(_DURATION.finditer(text))
    if (
        not parts
        or "".join(part[0] for part in parts) != text
        or (len(parts) > 1 and not all(part[2] for part in parts))
    ):
        raise ValueError(f"must be a time such as 90 (seconds), '10m' or '2h', not {show(value)}")
    return sum(number(part[1]) * _SECONDS[(part[2] or "").lower()] for part in parts)


def switch(value: Any) -> bool:
    """Return a bool from true/false, yes/no, on/off, 1/0."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word in {"true", "yes", "on", "1"}:
        return True
    if word in {"false", "no", "off", "0"}:
        return False
    raise ValueError(f"must be true or false, not {show(value)}")


def text(value: Any) -> str:
    """Return a string from a string, a path or a number (YAML reads `run_name: 7` as a number)."""
    if isinstance(value, bool) or not isinstance(value, str | os.PathLike | int | float):
        raise ValueError(f"must be text, not {show(value)}")
    result = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if "\0" in result:
        raise ValueError(f"must not contain a zero byte, as {show(value)} does")
    try:
        os.fsencode(result)  # file names may have bytes that are not UTF-8, which Python keeps as surrogates
    except UnicodeEncodeError:
        raise ValueError(f"must not contain a lone surrogate, as {ascii(result)[:60]} does") from None
    return result


def path(value: Any) -> str:
    """Return a path that a file system accepts: not empty, no name longer than 255 bytes."""
    result = text(value)
    if not result.strip():
        raise ValueError("must not be empty: leave it out for the default")
    if len(os.fsencode(result)) > _LONGEST_PATH or max(map(len, os.fsencode(result).split(b"/"))) > _LONGEST_NAME:
        raise ValueError(f"must be a path with names of at most {_LONGEST_NAME} bytes, not {show(value)}")
    return result


def name(value: Any) -> str:
    """Return the name of a folder inside another one: `a` or `a/b`, never outside of it."""
    result = path(value)
    outside = result.startswith(("/", os.sep)) or ".." in re.split(f"[/{re.escape(os.sep)}]", result)
    if outside or re.search(r"[\x00-\x1f\x7f]", result):
        raise ValueError(f"must be a name such as 'first-try', not {show(value)}; a folder elsewhere is output_dir")
    if any(map(is_reserved, re.split(f"[/{re.escape(os.sep)}]", result))):
        raise ValueError(f"must be a name that folders can have on Windows, not {show(value)}")
    return result


def import_string(value: Any) -> str:
    """Return `package.module:attribute`, with names that Python can import."""
    result = text(value)
    module, _, attribute = result.partition(":")
    if not all(part.isidentifier() for dotted in (module, attribute) for part in dotted.split(".")):
        raise ValueError(f"must name an object as package.module:attribute, not {show(value)}")
    return result


def import_strings(value: Any) -> list[str]:
    """Return a list of `package.module:attribute`."""
    return [import_string(item) for item in texts(value)]


def paths(value: Any) -> list[str]:
    """Return a list of texts, none of them empty: an empty path would mean the current folder."""
    result = texts(value)
    if not all(item.strip() for item in result):
        raise ValueError("must not contain an empty name; the current folder is '.'")
    return result


def texts(value: Any) -> list[str]:
    """Return a list of strings from one string or several."""
    if isinstance(value, str | os.PathLike):
        return [text(value)]
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ValueError(f"must be text or a list of texts, not {show(value)}")
    return [text(item) for item in value]


def is_none(value: Any) -> bool:
    """Return whether a value means none: None, the words none and null of command lines, a list of one of these."""
    if isinstance(value, list | tuple) and len(value) == 1:
        return is_none(value[0])
    return value is None or (isinstance(value, str) and value.strip().lower() in {"none", "null"})


def or_none(validator: Callable[[Any], Any], none: Callable[[], Any] = lambda: None) -> Callable[[Any], Any]:
    """Return `validator` extended to what means none (`is_none`), for which the result is `none()`."""
    return lambda value: none() if is_none(value) else validator(value)


def never_none(validator: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `validator` of a text that is always needed: it refuses what means none, instead of taking it as text."""

    def validate(value: Any) -> Any:
        if is_none(value):
            raise ValueError(f"cannot be unset, as {show(value)} would: leave it out for the default")
        return validator(value)

    return validate


def one_of(literal: Any, **synonyms: str) -> Callable[[Any], Any]:
    """Return a validator for the members of a Literal type; accepts hyphens, upper case and `synonyms`."""
    choices = get_args(literal)

    def validate(value: Any) -> Any:
        word = str(value).strip().lower().replace("-", "_") if isinstance(value, str) else value
        word = synonyms.get(word, word) if isinstance(word, str) else word
        if word not in choices:
            hint = closest(word, [*choices, *synonyms]) if isinstance(word, str) else ""
            raise ValueError(f"must be one of {', '.join(map(str, choices))}, not {show(value)}{hint}")
        return word

    return validate


def comma_separated(validator: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Return a validator for lists whose items pass `validator`; "a,b" and "a b" are two items."""

    def validate(value: Any) -> list[Any]:
        words = [word for item in texts(value) for word in re.split(r"[,\s]+", item) if word]
        return list(dict.fromkeys(validator(word) for word in words))

    return or_none(validate, list)


Number = Annotated[float, BeforeValidator(number)]
MaybeNumber = Annotated[float | None, BeforeValidator(or_none(number))]
Whole = Annotated[int, BeforeValidator(whole)]
MaybeWhole = Annotated[int | None, BeforeValidator(or_none(whole))]
MaybeCount = Annotated[int | None, BeforeValidator(or_none(count))]
Seconds = Annotated[float, BeforeValidator(never_none(seconds))]
MaybeSeconds = Annotated[float | None, BeforeValidator(or_none(seconds))]
Switch = Annotated[bool, BeforeValidator(switch)]
MaybeSwitch = Annotated[bool | None, BeforeValidator(or_none(switch))]
Text = Annotated[str, BeforeValidator(never_none(text))]
MaybeText = Annotated[str | None, BeforeValidator(or_none(text))]
Texts = Annotated[list[str], BeforeValidator(or_none(texts, list))]
PathText = Annotated[str, BeforeValidator(never_none(path))]
MaybePath = Annotated[str | None, BeforeValidator(or_none(path))]
MaybeName = Annotated[str | None, BeforeValidator(or_none(name))]
MaybePaths = Annotated[list[str] | None, BeforeValidator(or_none(paths))]

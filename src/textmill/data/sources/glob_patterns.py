"""Patterns of paths by the rules of .gitignore files, with braces for alternatives."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_CLASS_NAMES = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z", "space": r"\s"}
_NEVER = r"(?!)"


@dataclass(frozen=True)
class Pattern:
    """A pattern.

    Attributes:
        typed: as somebody wrote it.
        regex: matches the whole of a path relative to the folder of the patterns, a slash at the end of a folder's.
        negated: what it matches is taken back from the patterns before it.
    """

    typed: str
    regex: re.Pattern[str]
    negated: bool = False


def with_alternatives(pattern: str) -> list[str]:
    """Return the patterns that one with braces stands for: `*.{py,md}` is `*.py` and `*.md`."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    wholes = (whole for word in match[1].split(",") for whole in with_alternatives(before + word + after))
    return list(dict.fromkeys(wholes))


def git_pattern(line: str) -> Pattern | None:
    """Return the pattern of a line of a .gitignore file, None for a blank line or a comment.

    Source: the section PATTERN FORMAT of gitignore(5).
    """
    text = re.sub(r"(?<!\\)((?:\\\\)*)[ ]+$", r"\1", line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    regex = _regex(text[1:] if negated else text)
    return None if regex is None else Pattern(line.strip(), regex, negated)


def any_of(patterns: Iterable[Pattern]) -> "list[tuple[re.Pattern[str], bool]]":
    """Return patterns as few expressions, the last first, each with whether it is negated: the first match decides."""
    groups: list[tuple[list[str], bool]] = []
    for pattern in patterns:
        if not groups or groups[-1][1] != pattern.negated:
            groups.append(([], pattern.negated))
        groups[-1][0].append(pattern.regex.pattern)
    return [(re.compile("|".join(group), re.DOTALL), negated) for group, negated in reversed(groups)]


def _regex(pattern: str) -> re.Pattern[str] | None:
    """Return the expression of a pattern, which begins anywhere unless it has a slash before its end."""
    only_folders = pattern.endswith("/")
    body = pattern.removesuffix("/")
    if not body:
        return None
    anchored = "/" in body
    body = body.removeprefix("/")
    begin = "" if anchored or body.startswith("**/") else "(?:.*/)?"
    return re.compile(f"{begin}{_translated(body)}{'/' if only_folders else '/?'}", re.DOTALL)


def _translated(body: str) -> str:
    parts, at = [], 0
    while at < len(body):
        rest = body[at:]
        at_start = at == 0 or body[at - 1] == "/"
        if at_start and rest.startswith("**/"):
            parts.append("(?:.*/)?")
            at += 3
        elif at_start and at > 0 and rest == "**":
            parts.append(".+")
            at += 2
        elif rest[0] == "*":
            parts.append("[^/]*")
            at += len(rest) - len(rest.lstrip("*"))
        elif rest[0] == "?":
            parts.append("[^/]")
            at += 1
        elif rest[0] == "[":
            expression, length = _character_class(rest)
            parts.append(expression)
            at += length
        elif rest[0] == "\\" and len(rest) == 1:
            return _NEVER
        else:
            literal = rest[1] if rest[0] == "\\" else rest[0]
            parts.append(re.escape(literal))
            at += 1 + (rest[0] == "\\")
    return "".join(parts)


def _character_class(rest: str) -> tuple[str, int]:
    """Return the expression of a class such as `[a-z]` at the beginning of `rest`, and the length of the class."""
    at = 2 if rest[1:2] in ("!", "^") else 1
    negated, inside, first = at == 2, "", True
    while at < len(rest) and (first or rest[at] != "]"):
        first = False
        named = re.match(r"\[:(\w+):\]", rest[at:])
        if named is not None:
            inside += _CLASS_NAMES.get(named[1], "")
            at += len(named[0])
            continue
        at += rest[at] == "\\" and at + 1 < len(rest)
        begin, at = rest[at], at + 1
        inside += re.escape(begin)
        if rest[at : at + 1] == "-" and rest[at + 1 : at + 2] not in ("", "]"):
            at += 1 + (rest[at + 1] == "\\" and at + 2 < len(rest))
            inside += f"-{re.escape(rest[at])}" if rest[at] >= begin else ""
            at += 1
    if at >= len(rest):
        return _NEVER, len(rest)
    return f"(?!/)[{'^' if negated else ''}{inside}]", at + 1

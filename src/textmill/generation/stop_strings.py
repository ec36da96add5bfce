"""End a text at a given string, which may span several tokens."""

from collections.abc import Callable, Sequence

from textmill.errors import ConfigError


class StopStrings:
    """Passes a stream of text through until one of the strings appears; neither it nor what follows is passed on.

    Text that could be the start of one of the strings is delayed until that is decided.
    """

    def __init__(self, strings: Sequence[str], normalized: Callable[[str], str] = str) -> None:
        """normalized: returns a text in the normal form that the stream has."""
        if isinstance(strings, str):
            strings = [strings]
        if not all(isinstance(string, str) and string for string in strings):
            raise ConfigError(f"stop strings must be text and not empty: {list(strings)!r}")
        self.strings = tuple(map(normalized, strings))
        self.stopped = False
        """Whether one of the strings has appeared."""
        self._held = ""

    def push(self, text: str) -> str:
        """Return what may be shown now that `text` has arrived."""
        if self.stopped:
            return ""
        text = self._held + text
        found = [(start + len(string), start) for string in self.strings if (start := text.find(string)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            _, start = min(found)  # the one that was complete first, so the pieces the text came in do not matter
            return text[:start]
        keep = max((_overlap(text, string) for string in self.strings), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return what was held back: nothing more will arrive."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Return the length of the longest end of `text` that is a beginning of `string`, but not all of it."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0

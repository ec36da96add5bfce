"""How far reading is, whether to stop, and whether a file changed in the meantime."""

from collections.abc import Callable, Sequence
from pathlib import Path

from textmill.errors import DataError, MissingInputError


class ReadProgress:
    """The progress of reading files `passes` times."""

    def __init__(
        self,
        paths: Sequence[Path],
        passes: int,
        progress: Callable[[int, int], None] | None,
        interrupted: Callable[[], None] | None,
    ) -> None:
        self._states = {path: _state(path) for path in paths}
        self._size = sum(size for size, *_ in self._states.values())
        self._total = max(self._size * passes, 1)
        self._done = 0
        self._owed = 0.0
        self._progress = progress
        self._interrupted = interrupted

    def tick(self, more: int) -> None:
        """Count `more` bytes as read. Raises what `interrupted` raises, and DataError when a file grows and grows."""
        if self._interrupted is not None:
            self._interrupted()
        self._done += more
        if self._done > self._total:
            self.check_unchanged()
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)

    def advance(self, share: float) -> None:
        """Count `share` of one pass as done: all of it where the pass is not needed, or what is tokenized of it."""
        self._owed += share * self._size
        more = int(self._owed)
        self._owed -= more
        self.tick(more)

    def finish(self) -> None:
        """Report that all is read."""
        self._done = self._total
        self.tick(0)

    def check_unchanged(self) -> None:
        """Raise DataError if a file has changed since the start: what was read may be a mixture of two texts."""
        for path, state in self._states.items():
            if _state(path) != state:
                raise DataError(f"{path} changed while it was read: start again when it is complete")


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror or error}") from error
    return found.st_size, found.st_mtime_ns, found.st_ino

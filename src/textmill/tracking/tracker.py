"""What a tracker is, and how several are fed without one of them ever stopping a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from textmill.errors import MissingExtraError


class Tracker(Protocol):
    """A place to which a run reports. Any object with these four methods is one."""

    def start(self, run_info: Mapping[str, Any]) -> None:
        """Open it. `run_info`: "name" of the run, "config" as nested plain values, "step" of the last row that stays.

        A step above 0 means that a run goes on: what was reported after that step is about to be reported again.
        """

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Report one row of metrics, under the names of `metrics.METRICS` or the user's own, measured after `step`."""

    def text(self, name: str, text: str, step: int) -> None:
        """Report a text, such as a sample of what the model writes."""

    def finish(self, status: str) -> None:
        """Close it. `status` is "finished", "interrupted" or "failed"."""


class Trackers:
    """Every tracker of `trackers` in turn. One that fails is dropped, and `say` hears of it once: the run goes on."""

    def __init__(self, trackers: Sequence[Tracker], say: Callable[[str], None]) -> None:
        self.trackers = list(trackers)
        self.say = say

    def start(self, run_info: Mapping[str, Any]) -> None:
        """Open all. Raises MissingExtraError, before anything was trained, where a tracker lacks its library."""
        self._each(lambda tracker: tracker.start(run_info))

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Report one row of metrics to all."""
        self._each(lambda tracker: tracker.log(row, step))

    def text(self, name: str, text: str, step: int) -> None:
        """Report a text to all."""
        self._each(lambda tracker: tracker.text(name, text, step))

    def finish(self, status: str) -> None:
        """Close all; calling it again does nothing."""
        self._each(lambda tracker: tracker.finish(status))
        self.trackers.clear()

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                act(tracker)
            except MissingExtraError:
                raise
            except Exception as error:
                self.trackers.remove(tracker)
                reason = (str(error).splitlines() or [""])[0] or type(error).__name__
                self.say(f"{type(tracker).__name__} failed and hears no more of this run: {reason}")

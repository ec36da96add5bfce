"""Objects that live as long as a run are set aside from Python's search for cycles of garbage.

PyTorch and what else is imported are some hundred thousand objects; a full search passes over all of them, and stops
the step that it happens to fall into. When the first steps have made what they keep, all of it is set aside. What is
made later is searched as before, so nothing accumulates.
"""

import gc


class LongLived:
    """Sets aside, once, all objects that exist; `release` returns them to the search."""

    def __init__(self) -> None:
        self._decided = self._set_aside = False

    def set_aside(self) -> None:
        """Search all objects for garbage once more, and set aside what is left; nothing at any later call.

        Does nothing where a program has switched the search off, or has set objects aside by itself.
        """
        if self._decided:
            return
        self._decided = True
        if gc.isenabled() and not gc.get_freeze_count():
            gc.collect()
            gc.freeze()
            self._set_aside = True

    def release(self) -> None:
        """Return to the search what was set aside."""
        if self._set_aside:
            gc.unfreeze()
            self._set_aside = False

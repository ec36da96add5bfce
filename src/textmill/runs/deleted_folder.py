"""A run folder that is deleted or moved while the run writes to it."""

import os
from pathlib import Path

from textmill.errors import WriteFailedError


class OpenFolder:
    """The folder `path` as it is now: another one that is made under its name later is not it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)

    @property
    def is_gone(self) -> bool:
        """Whether the folder was deleted or moved since it was opened."""
        if self._descriptor < 0:
            return False
        try:
            return os.fstat(self._descriptor).st_nlink == 0 or not self.path.is_dir()
        except OSError:  # ESTALE: deleted on another machine
            return True

    def refuse_deleted(self) -> None:
        """Raises WriteFailedError if the folder is gone: writing would begin it anew, without what was there."""
        if self.is_gone:
            raise WriteFailedError(
                f"{self.path} was deleted or moved while the run was writing to it: nothing more can be saved there. "
                "Resume the folder where it is now, or start again"
            )

    def close(self) -> None:
        """Forget the folder; it counts as there from now on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

"""A run folder that is deleted or moved while the run writes to it."""

import os
from contextlib import suppress
from pathlib import Path

from textmill.errors import WriteFailedError
from textmill.files import retry_stale
from textmill.files.operating_system import FOLDER, IS_POSIX


class OpenFolder:
    """The folder `path` as it is now: another one that is made under its name later is not it.

    Windows opens no folder, and deletes and moves none in which a file is open, as a run's logs are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = retry_stale(lambda: os.open(path, FOLDER)) if IS_POSIX else -1
        self._found = os.fstat(self._descriptor) if IS_POSIX else path.stat()

    @property
    def is_gone(self) -> bool:
        """Whether the folder was deleted or moved since it was opened."""
        if self._descriptor < 0:
            return False
        try:
            return os.fstat(self._descriptor).st_nlink == 0 or not self.path.is_dir()
        except OSError:  # ESTALE: deleted on another machine, or the file server was started again
            return not self._opened_again()

    def _opened_again(self) -> bool:
        """Open the folder by its name; return whether it is the same one."""
        try:
            descriptor = retry_stale(lambda: os.open(self.path, FOLDER))
            if not os.path.samestat(os.fstat(descriptor), self._found):
                os.close(descriptor)
                return False
        except OSError:
            return False
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = descriptor
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

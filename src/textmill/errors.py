"""Errors that a user can act on: one line of text and one exit code each.

The message is one line that says what is wrong, where (file, key, line, byte) and how to fix it; the command line
prints it without a traceback and exits with its code. Any other exception is a bug in textmill and exits 70. The codes
follow sysexits.h.
"""

from collections.abc import Iterable
from typing import Any


class TextmillError(Exception):
    """Base of all errors that a user can act on."""

    exit_code = 70
    told = False
    """Whether another process of the same run prints the error, so that it is printed once and not once per GPU."""


class ConfigError(TextmillError):
    """The command line, a configuration file or a keyword argument is wrong."""

    exit_code = 2


class RunExistsError(ConfigError):
    """The run folder already contains a run, or another process is using it."""


class DataError(TextmillError):
    """The data exists but cannot be used: broken encoding, wrong type, a damaged shard."""

    exit_code = 65


class MissingInputError(TextmillError):
    """A given file, folder, checkpoint or model does not exist."""

    exit_code = 66


class PeerLostError(TextmillError):
    """Another process of the same distributed run died or stopped responding."""

    exit_code = 69


class NonFiniteError(TextmillError):
    """Loss, gradients or weights became NaN or infinite, and continuing would be useless."""

    exit_code = 70


class OutOfMemoryError(TextmillError):
    """The device or the machine has less memory than a run needs."""

    exit_code = 70


class CannotWriteError(TextmillError):
    """A file or folder cannot be created (73)."""

    exit_code = 73


class WriteFailedError(CannotWriteError):
    """Writing began and failed, as on a full disk (74)."""

    exit_code = 74


class StaleFileError(WriteFailedError):
    """Another machine has replaced or deleted what is in use, on a file system of a network (74)."""


class ResumeError(TextmillError):
    """The checkpoint does not fit the configuration of the run that is to be resumed."""

    exit_code = 78


class MissingExtraError(ConfigError):
    """A required optional dependency is not installed; the message names the extra."""


class Interrupted(BaseException):
    """A signal such as SIGTERM arrived: unwind to the nearest code that can save, then exit with 128 + its number.

    A BaseException like KeyboardInterrupt, so that no handler for ordinary errors swallows it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        return 128 + self.signal_number


def one_line(error: BaseException, longest: int = 200) -> str:
    """Return the text of an error in one line of limited length, or the name of its type."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else text[: longest - 3] + "..."


def listed(names: Iterable[Any]) -> str:
    """Return names as an error lists them: in quotes, at most twenty."""
    quoted = [repr(str(name)) for name in names]
    more = f" and {len(quoted) - 20} more" if len(quoted) > 20 else ""
    return (", ".join(quoted[:20]) or "none") + more

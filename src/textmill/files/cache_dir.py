"""The cache folder: everything in it can be made or fetched again."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from textmill.errors import CannotWriteError, ConfigError
from textmill.files.atomic import expand_home
from textmill.files.operating_system import is_own, user_name


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Return `cache_dir`, or the user's cache folder for textmill, where this system keeps such.

    That is $XDG_CACHE_HOME or ~/.cache on Linux, ~/Library/Caches on macOS, %LOCALAPPDATA% on Windows.
    A user without a home folder, as in a container, has one in the folder for temporary files that nobody else reads.
    Raises ConfigError if somebody else made it.
    """
    if cache_dir is not None:
        return expand_home(cache_dir)
    with suppress(RuntimeError):  # no home folder
        usual = Path(platformdirs.user_cache_dir("textmill", appauthor=False))
        if usual.is_absolute():
            return usual
    folder = Path(tempfile.gettempdir()) / f"textmill-{user_name()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_own(folder.stat()):
        raise ConfigError(
            f"{folder} belongs to somebody else, and there is no home folder for the cache: set cache_dir"
        )
    return folder


@contextmanager
def naming_cache_dir(cache_dir: str | Path | None) -> Iterator[None]:
    """Say how to choose another folder, in an error of the block, if the user's cache folder cannot be written to."""
    try:
        yield
    except CannotWriteError as error:
        if cache_dir is not None or str(cache_root()) not in str(error):
            raise
        raise type(error)(f"{error}. Name another folder for prepared text with --cache-dir") from error

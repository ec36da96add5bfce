"""The cache folder: everything in it can be made or fetched again."""

import os
import tempfile
from pathlib import Path

from textmill.errors import ConfigError
from textmill.files.atomic import expand_home


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Return `cache_dir`, or the user's cache folder for textmill (XDG).

    A user without a home folder, as in a container, has one in the folder for temporary files that nobody else reads.
    Raises ConfigError if somebody else made it.
    """
    if cache_dir is not None:
        return expand_home(cache_dir)
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not named.is_absolute():
        named = expand_home("~/.cache")
    if named.is_absolute():
        return named / "textmill"
    folder = Path(tempfile.gettempdir()) / f"textmill-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ConfigError(
            f"{folder} belongs to somebody else, and there is no home folder for the cache: set cache_dir"
        )
    return folder

"""The cache folder: everything in it can be made or fetched again."""

import os
from pathlib import Path


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Return `cache_dir`, or the user's cache folder for textmill (XDG)."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "textmill"

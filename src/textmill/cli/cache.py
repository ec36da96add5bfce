"""textmill cache: the prepared text that is kept for later runs."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from textmill.cli.help_pages import Json

app = App(name="cache", help="List and clear the prepared text that is kept for later runs.")

CacheDir = Annotated[
    Path | None, Parameter(name="--cache-dir", help="The cache. Unset: the user's cache folder.", show_default=False)
]


@app.command(name="list", sort_key=0)
def list_(*, cache_dir: CacheDir = None, json: Json = False) -> None:
    """List the prepared corpora of the cache, least recently used first."""
    from textmill.console.format import size
    from textmill.console.terminal import write

    entries = _entries(cache_dir)
    if json:
        write(json_format.dumps(entries, indent=2))
        return
    for entry in entries:
        unknown = "damaged" if entry["finished"] else "unfinished"
        source = entry["sources"][0] if entry["sources"] else unknown
        more = f" and {len(entry['sources']) - 1} more" if len(entry["sources"]) > 1 else ""
        write(f"{_short(entry['name'])}  {size(entry['bytes']):>9}  {entry['used']}  {source}{more}")
    total = size(sum(entry["bytes"] for entry in entries))
    write(f"{len(entries)} prepared corpora, {total} in {_folder(cache_dir)}")


@app.command(sort_key=1)
def clean(*name: str, cache_dir: CacheDir = None, older_than_days: int = 0, json: Json = False) -> None:
    """Delete prepared corpora; they are prepared again when they are needed.

    Parameters
    ----------
    name
        Beginnings of the names to delete. Unset: all.
    older_than_days
        Delete only what was not used for this many days.

    Examples
    --------
    textmill cache clean
    textmill cache clean --older-than-days 30
    """
    import time

    from textmill.console.format import size
    from textmill.console.terminal import write
    from textmill.errors import MissingInputError
    from textmill.files import cannot_write, remove_directory

    entries = _entries(cache_dir)
    unknown = [word for word in name if not any(_is_called(entry, word) for entry in entries)]
    if unknown:
        raise MissingInputError(f"the cache has no corpus {unknown[0]}: textmill cache list lists them")
    before = time.time() - older_than_days * 86400
    doomed = [
        entry
        for entry in entries
        if (not name or any(_is_called(entry, word) for word in name)) and entry["used_at"] <= before
    ]
    for entry in doomed:
        folder = _folder(cache_dir) / entry["name"]
        try:
            remove_directory(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
    if json:
        write(json_format.dumps({"deleted": [entry["name"] for entry in doomed]}, indent=2))
        return
    write(f"deleted {len(doomed)} prepared corpora, {size(sum(entry['bytes'] for entry in doomed))}")


def _is_called(entry: dict[str, Any], word: str) -> bool:
    return entry["name"].startswith(word) or entry["name"].rpartition("-")[2].startswith(word)


def _short(name: str) -> str:
    return name.rpartition("-")[2][:12]


def _folder(cache_dir: Path | None) -> Path:
    from textmill.data.store.corpus_cache import cache_folder

    return cache_folder(cache_dir, "x").parent


def _entries(cache_dir: Path | None) -> list[dict[str, Any]]:
    """Return every corpus of the cache, unfinished ones too: name, size, time of last use, sources."""
    import time

    from textmill.data.store.unfinished_corpus import PREFIX, is_in_use

    folder = _folder(cache_dir)
    entries = []
    for path in folder.iterdir() if folder.is_dir() else ():
        begun = path.name.startswith(PREFIX)
        if not path.is_dir() or (path.name.startswith(".") and not begun) or (begun and is_in_use(path)):
            continue
        files = [file.stat() for file in path.rglob("*") if file.is_file()]
        used = max((max(one.st_atime, one.st_mtime) for one in files), default=path.stat().st_mtime)
        entries.append(
            {
                "name": path.name,
                "bytes": sum(one.st_size for one in files),
                "used_at": used,
                "finished": not begun,
                "used": time.strftime("%Y-%m-%d", time.localtime(used)),
                "sources": _sources(path),
            }
        )
    return sorted(entries, key=lambda entry: entry["used_at"])


def _sources(folder: Path) -> list[str]:
    from textmill.runs.layout import PREPARED

    try:
        return list(json_format.loads((folder / PREPARED).read_text(encoding="utf-8"))["sources"])
    except (OSError, ValueError, KeyError, TypeError):
        return []

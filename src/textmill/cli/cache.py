"""textmill cache: the prepared text that is kept for later runs."""

from __future__ import annotations

import json as json_format
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from textmill.cli.help_pages import Json

if TYPE_CHECKING:
    from textmill.data.store.corpus_cache import CacheEntry

app = App(name="cache", help="List and clear the prepared text that is kept for later runs.")

CacheDir = Annotated[
    Path | None, Parameter(name="--cache-dir", help="The cache. Unset: the user's cache folder.", show_default=False)
]


@app.command(name="list", sort_key=0)
def list_(*, cache_dir: CacheDir = None, json: Json = False) -> None:
    """List the prepared corpora of the cache, least recently used first."""
    from textmill.console.number_format import size
    from textmill.console.standard_streams import write
    from textmill.data.store.corpus_cache import cache_entries

    folder = _folder(cache_dir)
    entries = cache_entries(folder)
    if json:
        write(json_format.dumps([_as_dict(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        source = entry.sources[0] if entry.sources else "damaged" if entry.finished else "unfinished"
        more = f" and {len(entry.sources) - 1} more" if len(entry.sources) > 1 else ""
        used = _as_dict(entry)["used"]
        write(f"{_short(entry.name)}  {size(entry.bytes):>9}  {used}  {source}{more}")
    total = size(sum(entry.bytes for entry in entries))
    write(f"{len(entries)} prepared corpora, {total} in {folder}")


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
    from textmill.console.number_format import size
    from textmill.console.standard_streams import write
    from textmill.data.store.corpus_cache import cache_entries, delete_entries
    from textmill.errors import MissingInputError

    folder = _folder(cache_dir)
    entries = cache_entries(folder)
    unknown = [word for word in name if not any(entry.is_called(word) for entry in entries)]
    if unknown:
        raise MissingInputError(f"the cache has no corpus {unknown[0]}: textmill cache list lists them")
    before = time.time() - older_than_days * 86400
    named = [entry for entry in entries if not name or any(map(entry.is_called, name))]
    old = [entry for entry in named if entry.used_at <= before]
    delete_entries(folder, old)
    if json:
        write(json_format.dumps({"deleted": [entry.name for entry in old]}, indent=2))
        return
    write(f"deleted {len(old)} prepared corpora, {size(sum(entry.bytes for entry in old))}")


def _short(name: str) -> str:
    return name.rpartition("-")[2][:12]


def _folder(cache_dir: Path | None) -> Path:
    from textmill.data.store.corpus_cache import corpora_folder

    return corpora_folder(cache_dir)


def _as_dict(entry: CacheEntry) -> dict[str, Any]:
    used = time.strftime("%Y-%m-%d", time.localtime(entry.used_at))
    return {**asdict(entry), "used": used}

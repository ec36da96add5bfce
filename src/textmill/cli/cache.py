"""textmill cache: the prepared text that is kept for later runs."""

import time
from dataclasses import asdict
from typing import Any

from cyclopts import App

from textmill.cli.help_pages import CacheDir, Json
from textmill.console.number_format import size
from textmill.console.standard_streams import write, write_json
from textmill.data.store.corpus_cache import cache_entries, cache_folder, delete_empty, delete_entries
from textmill.errors import ConfigError, MissingInputError

app = App(name="cache", help="List and clear the prepared text that is kept for later runs.")


@app.command(name="list", sort_key=0)
def list_(*, cache_dir: CacheDir = None, json: Json = False) -> None:
    """List the prepared corpora of the cache, least recently used first."""
    folder = cache_folder(cache_dir)
    entries = cache_entries(folder)
    used = [time.strftime("%Y-%m-%d", time.localtime(entry.used_at)) for entry in entries]
    if json:
        write_json([{**asdict(entry), "used": day} for entry, day in zip(entries, used)])
        return
    for entry, day in zip(entries, used):
        source = entry.sources[0] if entry.sources else "damaged" if entry.finished else "unfinished"
        more = f" and {len(entry.sources) - 1} more" if len(entry.sources) > 1 else ""
        write(f"{entry.name.rpartition('-')[2][:12]}  {size(entry.bytes):>9}  {day}  {source}{more}")
    total = size(sum(entry.bytes for entry in entries))
    write(f"{_corpora(entries)}, {total} in {folder}")


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
    folder = cache_folder(cache_dir)
    entries = cache_entries(folder)
    for word in name:
        if not any(entry.is_called(word) for entry in entries):
            raise MissingInputError(f"the cache has no corpus {word}: textmill cache list lists them")
    if older_than_days < 0:
        raise ConfigError(f"--older-than-days: must be at least 0, not {older_than_days}")
    before = time.time() - older_than_days * 86400
    named = [entry for entry in entries if not name or any(map(entry.is_called, name))]
    old = [entry for entry in named if entry.used_at <= before]
    delete_entries(folder, old)
    delete_empty(folder)
    if json:
        write_json({"deleted": [entry.name for entry in old]})
    else:
        write(f"deleted {_corpora(old)}, {size(sum(entry.bytes for entry in old))}")


def _corpora(entries: list[Any]) -> str:
    return f"{len(entries)} prepared {'corpus' if len(entries) == 1 else 'corpora'}"

"""Corpora that have a name: fetched once into the cache, checked, and files from then on."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from textmill import files
from textmill.data.sources.cache_dir import cache_root
from textmill.errors import DataError, MissingInputError

_BLOCK = 1 << 20
_SECONDS = 30.0


@dataclass(frozen=True)
class NamedFile:
    """One file of a corpus: where it is, how large, and the SHA-256 of its bytes where it is known.

    Where it is not known, the hash of the first fetch is recorded beside the file, and later fetches must agree.
    """

    address: str
    file: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus with a name: its training file, its validation file if it comes with one, and its licence."""

    about: str
    licence: str
    train: NamedFile
    validation: NamedFile | None = None


CORPORA = {
    "shakespeare": NamedCorpus(
        about="Tiny Shakespeare, 1.1 MB of plays",
        licence="public domain",
        train=NamedFile(
            address="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            file="shakespeare.txt",
            size=1_115_394,
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    ),
    "wikitext-2": NamedCorpus(
        about="WikiText-2, 2 million words of Wikipedia articles",
        licence="CC BY-SA 3.0",
        train=NamedFile(
            address="https://huggingface.co/datasets/Salesforce/wikitext/resolve/main/wikitext-2-raw-v1/train-00000-of-00001.parquet",
            file="wikitext-2-train.parquet",
            size=None,
            sha256=None,
        ),
        validation=NamedFile(
            address="https://huggingface.co/datasets/Salesforce/wikitext/resolve/main/wikitext-2-raw-v1/validation-00000-of-00001.parquet",
            file="wikitext-2-validation.parquet",
            size=None,
            sha256=None,
        ),
    ),
    "tinystories": NamedCorpus(
        about="TinyStories, 2 million short stories written by a language model, 2 GB",
        licence="CDLA-Sharing 1.0",
        train=NamedFile(
            address="https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-train.txt",
            file="tinystories-train.txt",
            size=None,
            sha256=None,
        ),
        validation=NamedFile(
            address="https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-valid.txt",
            file="tinystories-validation.txt",
            size=None,
            sha256=None,
        ),
    ),
}
"""Name -> corpus."""


def is_named(item: str | Path) -> bool:
    """Whether `item` is the name of a corpus and no file or folder of that name is in the way."""
    return str(item) in CORPORA and not Path(item).exists()


def fetch(
    wanted: NamedFile,
    *,
    cache_dir: str | Path | None = None,
    address: str | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Return the file in the cache, fetched if it is not there; an interrupted fetch goes on where it stopped.

    Args:
        wanted: the file.
        cache_dir: the cache; None for the user's.
        address: where to get it from, if not from its own address.
        say: hears that something is fetched, and what its hash is where none was known.
        progress: hears (bytes so far, bytes in all or None).

    Raises:
        MissingInputError: it cannot be reached.
        DataError: what came is not what was expected; nothing of it is kept.
        CannotWriteError: the cache cannot be written.
    """
    folder = files.make_directory(cache_root(cache_dir) / "named")
    final, record = folder / wanted.file, folder / f"{wanted.file}.sha256.json"
    if final.is_file():
        return final
    address = address or wanted.address
    say(f"fetching {wanted.file} from {address}")
    part = folder / f"{wanted.file}.part"
    try:
        _download(address, part, progress)
        found, size = files.sha256(part), part.stat().st_size
        expected = wanted.sha256 or _recorded(record)
        if (wanted.size or size) != size or (expected or found) != found:
            part.unlink()
            raise DataError(
                f"{address} is not the file that was expected ({size:,} bytes, SHA-256 {found[:12]}...): "
                "try again later, or give a file of your own"
            )
        if expected is None:
            files.write_json(record, {"sha256": found, "size": size, "address": address})
            say(f"no checksum of {wanted.file} is known; this one is recorded: {found}")
        return files.move_into_place(part, final)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise MissingInputError(
            f"cannot fetch {wanted.file} from {address} ({reason}): check the network, or put the file at {final}"
        ) from error
    except OSError as error:
        raise files.cannot_write(part, error) from error


def _recorded(record: Path) -> str | None:
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _download(address: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """`part` holds what is at `address`, whole; what it held before is the beginning, if the server plays along."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"User-Agent": "textmill"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        return  # nothing is left to fetch: the hash will tell
    with answer:
        begins = have if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = begins + int(length) if length else None
        with part.open("ab" if begins else "wb") as file:
            done = begins
            while block := answer.read(_BLOCK):
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)

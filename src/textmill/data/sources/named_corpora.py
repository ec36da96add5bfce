"""Corpora that have a name: fetched once into the cache, compared with their checksum, and files from then on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from textmill import files
from textmill.errors import DataError, MissingInputError, TextmillError, one_line
from textmill.files import read_object
from textmill.files.cache_dir import cache_root
from textmill.hub_access import hub_client


@dataclass(frozen=True)
class NamedFile:
    """One file of a corpus: its address, its name in the cache, its size in bytes and its SHA-256 where known."""

    address: str
    file: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus with a name: its training file, its validation file if it comes with one, and its licence."""

    about: str
    licence: str
    train: NamedFile
    validation: NamedFile | None = None


@cache
def named_corpora() -> dict[str, NamedCorpus]:
    """Return name -> corpus, as named_corpora.yaml lists them."""
    listed = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    for described in listed.values():
        described |= {side: NamedFile(**described[side]) for side in ("train", "validation") if side in described}
    return {name: NamedCorpus(**described) for name, described in listed.items()}


def is_named(item: str | Path) -> bool:
    """Whether `item` is the name of a corpus and no file or folder of that name is in the way."""
    return str(item) in named_corpora() and not Path(item).exists()


def fetch(
    wanted: NamedFile,
    *,
    cache_dir: str | Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Path:
    """Return the file in the cache, fetched if it is not there; an interrupted fetch continues where it stopped.

    Args:
        wanted: the file.
        cache_dir: the cache; None for the user's.
        say: called with a sentence about what is fetched, and its hash where none was known.

    Raises:
        MissingInputError: it cannot be reached.
        DataError: what came is not what was expected; nothing of it is kept.
        CannotWriteError: the cache cannot be written.
    """
    folder = files.make_directory(cache_root(cache_dir) / "named")
    final, record = folder / wanted.file, folder / f"{wanted.file}.sha256.json"
    if final.is_file():
        return final
    say(f"fetching {wanted.file} from {wanted.address}")
    part = folder / f"{wanted.file}.part"
    try:
        _download(wanted, part)
        found, size = files.sha256(part), part.stat().st_size
        expected = wanted.sha256 or read_object(record).get("sha256")
        if (wanted.size or size) != size or (expected or found) != found:
            part.unlink()
            raise DataError(
                f"{wanted.address} is not the file that was expected ({size:,} bytes, SHA-256 {found[:12]}...): "
                "try again later, or give a file of your own"
            )
        if expected is None:
            files.write_json(record, {"sha256": found, "size": size, "address": wanted.address})
            say(f"no checksum of {wanted.file} is known; this one is recorded: {found}")
        return files.move_into_place(part, final)
    except TextmillError:
        raise
    except Exception as error:  # of the client, whose errors differ between its versions
        if isinstance(error, OSError) and error.errno is not None:
            raise files.cannot_write(part, error) from error
        raise MissingInputError(
            f"cannot fetch {wanted.file} from {wanted.address} ({one_line(error)}): "
            f"check the network, or put the file at {final}"
        ) from error


def _download(wanted: NamedFile, part: Path) -> None:
    """Write the whole file to `part`; what it contains already is taken for the beginning."""
    from huggingface_hub.file_download import http_get

    with part.open("ab") as file, hub_client(wanted.address):
        try:
            http_get(wanted.address, file, resume_size=file.tell(), displayed_filename=wanted.file)
        except Exception as error:
            if getattr(getattr(error, "response", None), "status_code", None) != 416 or not file.tell():
                raise  # 416: nothing is left to fetch, and the hash will tell

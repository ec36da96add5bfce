"""Hashes of a run's small files: config.yaml has its own, status.json has those of the others, so damage is noticed."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from textmill.files import read_bytes, read_object, retry_stale, with_own_hash
from textmill.files.regular_files import NotAFileError
from textmill.runs.layout import CONFIG, ENVIRONMENT, METRICS, SAMPLES, STATUS, STEPS, TOKENIZER, TRAIN_LOG

LOGS = (METRICS, STEPS, SAMPLES, TRAIN_LOG)

_HASH_LINE = "# SHA-256 of the lines below: "


def with_hash(header: str, values: str) -> str:
    """Return the text of a config.yaml: comments, the line with the hash of `values`, and `values`."""
    return f"{header}{_HASH_LINE}{hashlib.sha256(_encoded(values)).hexdigest()}\n{values}"


def config_changed(path: Path) -> bool | None:
    """Return whether a configuration has changed since textmill wrote it; None for one that contains no hash.

    Raises OSError when the file cannot be read.
    """
    _, line, after = read_bytes(path).partition(_HASH_LINE.encode())
    if not line:
        return None
    digest, _, values = after.partition(b"\n")
    return hashlib.sha256(values).hexdigest().encode() != digest


def is_as_written(path: Path) -> bool:
    """Whether a configuration is there, and as textmill wrote it."""
    with suppress(OSError):
        return config_changed(path) is False
    return False


def record_files(run: Path, *, with_logs: bool) -> dict[str, dict[str, Any]]:
    """Return size and hash of the files that describe the run, by name; of the logs too when nothing writes to them."""
    names = [CONFIG, ENVIRONMENT, *(LOGS if with_logs else ())]
    names += sorted(f"{TOKENIZER}/{path.name}" for path in (run / TOKENIZER).glob("[!.]*"))
    return {name: _described(read_bytes(run / name)) for name in names if (run / name).is_file()}


def changed_files(run: Path, recorded: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name of each recorded file that is missing or has changed, and the problem; a log may have grown."""
    for name, entry in recorded.items():
        if name not in (CONFIG, ENVIRONMENT, *LOGS) and Path(name) != Path(TOKENIZER, Path(name).name):
            continue  # no file that textmill records: somebody else's status.json may name any
        try:
            content = read_bytes(run / name)
            size = entry["size"]
            grown = name in LOGS and len(content) > size
            if len(content) != size and not grown:
                yield name, f"has {len(content)} bytes instead of {size}"
            elif _described(content[:size]) != entry:
                yield name, "has changed (its SHA-256 differs)"
        except NotAFileError as error:
            yield name, str(error.strerror)
        except OSError as error:
            yield name, f"cannot be read ({error.strerror or error})"
        except (TypeError, KeyError):
            yield name, "is recorded in a way that cannot be read"


def damage(run: Path) -> dict[str, str]:
    """Return what has changed in a run folder since the run wrote it: name -> sentence; empty for a run that is whole.

    Looks at config.yaml, status.json, and the files whose hashes status.json has as long as it is whole itself. Logs of
    a run that was killed have none.
    """
    status = read_object(run / STATUS)
    found: dict[str, str] = {}
    if has_own_hash(status):
        recorded = status.get("files")
        found |= changed_files(run, recorded if isinstance(recorded, dict) else {})
    elif retry_stale((run / STATUS).is_file) and (not status or "sha256" in status):
        found[STATUS] = "has changed since the run wrote it (its SHA-256 differs)"
    with suppress(OSError):
        if CONFIG not in found and config_changed(run / CONFIG):
            found[CONFIG] = "has changed since the run wrote it (its SHA-256 differs)"
    return {name: f"{run / name} {problem}" for name, problem in found.items()}


def has_own_hash(status: Mapping[str, Any]) -> bool | None:
    """Return whether the content of a status.json is as it was written; None for one that contains no hash."""
    return with_own_hash(dict(status)) == status if "sha256" in status else None


def _described(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # as `files.write_text` does

"""Refuse a tokenizer.json that crashes the library behind it, or that takes time or memory without end.

Its patterns, replacements and tables are run by a library that panics on some and sets no limits. So one that somebody
else made is tried once, in a process of its own with limits; that it passed is noted under the hash of its content.
What consists of parts that cannot do harm, as all but Unigram that textmill makes, is not tried.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from textmill.errors import DataError, TextmillError, one_line
from textmill.files.cache_dir import cache_root
from textmill.tokenizers.word_patterns import PATTERNS, pattern_of

MOST_BYTES = 1 << 27
"""Size of a tokenizer.json; the largest in use have a quarter of it."""

_MEMORY = 1 << 30  # and so much for each byte of the file:
_MEMORY_PER_BYTE = 64
_SECONDS = 10  # of computing, and one more for each of so many bytes:
_BYTES_PER_SECOND = 1 << 20
_WAITING = 10  # times as long, on a machine that has more to do
_FINE, _UNKNOWN = "fine", "unknown"
_PROBE = Path(__file__).with_name("foreign_probe.py")
_HARMLESS = {
    "normalizer": (None, "NFC", "NFD", "NFKC"),
    "pre_tokenizer": (None, "ByteLevel"),
    "post_processor": (None, "ByteLevel", "TemplateProcessing"),
    "decoder": (None, "ByteLevel", "Fuse"),
    "model": ("BPE",),
}
"""The types of parts that take time and memory in proportion to the text."""


def check_foreign(path: Path, content: str, described: dict[str, Any]) -> None:
    """Raise DataError if the tokenizer.json at `path`, which reads `content`, cannot be used safely."""
    parts = {part: _type(described.get(part)) for part in _HARMLESS}
    if pattern_of(described) in PATTERNS:
        parts["pre_tokenizer"] = None
    if all(kind in _HARMLESS[part] for part, kind in parts.items()):
        return
    note = _note(content)
    if note is not None and note.is_file():
        return
    outcome = _try(content.encode("utf-8", "surrogatepass"))
    if outcome not in (_FINE, _UNKNOWN):
        raise DataError(f"{path} is damaged or harmful: {outcome}. Use another tokenizer")
    if outcome == _FINE and note is not None:
        with suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()


def _type(part: Any) -> Any:
    return part.get("type", "") if isinstance(part, dict) else part


def _note(content: str) -> Path | None:
    """Return the file whose presence means that this content was tried; None without a cache folder."""
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        return cache_root() / "checked" / "tokenizers" / digest
    except (OSError, TextmillError):
        return None


def _try(content: bytes) -> str:
    """Return what happens when the tokenizer is tried: _FINE, _UNKNOWN, or a phrase."""
    memory = _MEMORY + _MEMORY_PER_BYTE * len(content)
    seconds = _SECONDS + len(content) // _BYTES_PER_SECOND
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
    command = [sys.executable or "python3", "-P", str(_PROBE), str(memory), str(seconds)]
    too_slow = f"it takes more than {seconds} seconds for a short text"
    try:
        ended = subprocess.run(
            command, input=content, capture_output=True, env=environment, timeout=seconds * _WAITING, check=False
        )
    except subprocess.TimeoutExpired:
        return too_slow
    except OSError:  # no further process can be started here
        return _UNKNOWN
    told = ended.stdout.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    if told[0] != "started" or told[1] in (_FINE, _UNKNOWN):
        return told[1] if told[0] == "started" else _UNKNOWN
    if told[1]:
        return f"the library tokenizers fails ({told[1][:160]})"
    if ended.returncode == -getattr(signal, "SIGXCPU", 0) != 0:
        return too_slow
    return f"it needs more than {memory >> 20:,} MB for a short text, or crashes the library tokenizers"


@contextmanager
def backend_errors(what: str) -> Iterator[None]:
    """Turn what the library tokenizers raises inside the block into a DataError: `what` and the reason.

    It raises plain Exceptions and, where it panics, an exception that is not derived from Exception.
    """
    try:
        yield
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise DataError(f"{what} ({one_line(error)}): use another tokenizer") from error

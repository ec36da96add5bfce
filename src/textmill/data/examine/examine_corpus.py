"""Read a corpus, or a share of every file of a large one, and tell what it is. Memory: 16 bytes per document."""

import codecs
import hashlib
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from textmill.console.number_format import plural, size
from textmill.data.examine.suspicious_text import SuspiciousText
from textmill.data.examine.text_sample import TextSample, tokenizer_trials
from textmill.data.preparing.languages import language_of, sample_of
from textmill.data.preparing.mixed_forms import MixedForms
from textmill.data.preparing.scripts import code_points, letters_by_script
from textmill.data.reading.document import Document, Reading
from textmill.data.reading.odd_files import BrokenFarInsideError, OddFiles
from textmill.data.reading.read_documents import open_file, read_documents
from textmill.data.sources.file_extensions import format_of
from textmill.data.sources.findings import Notes
from textmill.errors import DataError, MissingExtraError
from textmill.files.byte_order_mark import MARK_BYTES, marked_encoding
from textmill.tokenizers.new_tokenizers import make_byte

MOST_READ = 100_000_000
"""Bytes. Of a larger corpus a share of every file is read, from its beginning."""

LEAST_READ = 1 << 16
"""Bytes that are read of each file even then, if it has them."""

_QUANTILES = {"shortest": 0, "5 %": 5, "median": 50, "95 %": 95, "longest": 100}
_LANGUAGE_PIECES = 500
_COUNTED_AT_ONCE = 1 << 20  # characters
_REMEMBERED = 1 << 20  # documents among which the first copy is named


def examine(
    files: Sequence[Path],
    reading: Reading,
    *,
    normalize: str | None = None,
    everything: bool = False,
    within: Collection[Path] = (),
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Return what `files` contain, as plain values. Raises what reading them raises, and DataError for no text.

    normalize: the normal form that text will be brought into. everything: read all of a large corpus. within: the
    files that nobody named, of which one that cannot be read is skipped. say: gets what reading reports. progress: gets
    (bytes read, bytes in all).
    """
    sizes = {path: path.stat().st_size for path in files}
    total = sum(sizes.values())
    share = 1.0 if everything else min(1.0, MOST_READ / max(total, 1))
    step = max(1, len(files) * LEAST_READ // MOST_READ) if share < 1 else 1
    chosen = files[::step]
    limits = {path: None if share == 1 else max(LEAST_READ, round(share * step * sizes[path])) for path in chosen}
    if share < 1:
        files_read = f"{len(chosen):,} of {plural(len(files), 'file')}, which have {size(total)}"
        say(f"read {size(MOST_READ)} of text, the beginnings of {files_read}: --all reads all")
    odd, seen = OddFiles(within), None
    while seen is None:
        with suppress(BrokenFarInsideError):  # it is left out from the beginning, then
            seen = _look_at(limits, reading, odd, round(total * share), lambda done: progress(min(done, total), total))
    look, forms, notes = seen
    progress(total, total)
    for sentence in (*notes.sentences(), odd.sentence()):
        if sentence is not None:
            say(sentence)
    if not look.num_bytes:
        nothing = f"there is no text in {files[0]}{' and the other files' if len(files) > 1 else ''}"
        raise DataError(next(iter(odd.reasons.values()), nothing))
    mixed = forms.sentence(make_byte().with_normal_form(normalize))
    return look.described() | {
        "complete": share == 1,
        "files": len(files) - len(odd.reasons),
        "skipped": {str(path): reason for path, reason in odd.reasons.items()},
        "mixed_forms": mixed,
        "languages": _languages(look.sample.pieces),
        "tokenizers": tokenizer_trials(look.sample, normalize),
    }


def _look_at(
    limits: Mapping[Path, int | None], reading: Reading, odd: OddFiles, size: int, progress: Callable[[int], None]
) -> "tuple[_Look, MixedForms, Notes]":
    """Look at so many bytes of each file, None for all of it; `size` is that of all. progress: gets bytes read."""
    look, forms, notes, done = _Look(TextSample(size)), MixedForms(list(limits)), Notes(), 0
    for path, limit in limits.items():
        beginning = partial(_beginning, path, reading, limit)
        for part in forms.watch(odd.documents(path, beginning, notes)):
            look.add(part)
            progress(done + look.bytes_of_file)
        if path not in odd.reasons:
            look.encodings[_encoding(path, reading)] += 1
        done += limit or path.stat().st_size
        look.bytes_of_file = 0
    return look, forms, notes


def _beginning(path: Path, reading: Reading, limit: int | None, notes: Notes) -> Iterator[Document]:
    """Yield the documents of a file, until they or what was read of it have so many bytes."""
    given, read = 0, array("q")
    for part in read_documents([path], reading, notes, read.append):
        given += len(part.text.encode())
        ended = limit is not None and max(given, sum(read)) >= limit
        yield Document(part.text, part.source) if ended else part
        if ended:
            return


def _encoding(path: Path, reading: Reading) -> str:
    extension, compression = format_of(path, reading.format)
    if compression:
        return f"{extension or 'text'} in {compression}"
    if extension in ("", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".srt", ".vtt"):
        with open_file(path) as file:
            found = marked_encoding(file.read(MARK_BYTES))
        return codecs.lookup(found or reading.encoding).name + (" with a byte order mark" if found else "")
    return extension


def _languages(pieces: Sequence[str]) -> dict[str, float] | None:
    """Return the share of the text in each language, most first, by a part of `pieces`; None without py3langid."""
    found: Counter[str] = Counter()
    try:
        for piece in pieces[:: 1 + len(pieces) // _LANGUAGE_PIECES]:
            found[language_of(sample_of(piece))] += len(piece)
    except MissingExtraError:
        return None
    return {code: number / found.total() for code, number in found.most_common()}


class _Look:
    """What was seen so far of a corpus."""

    def __init__(self, sample: TextSample) -> None:
        self.sample = sample
        self.encodings: Counter[str] = Counter()
        self.num_bytes = self.bytes_of_file = 0
        self._suspicious = SuspiciousText()
        self._counts = np.zeros(0x110000, dtype=np.int64)
        self._waiting: list[str] = []
        self._waiting_characters = 0
        self._lengths, self._keys = array("q"), array("Q")
        self._remembered: set[int] = set()
        self._longest = (0, "")
        self._length, self._digest = 0, hashlib.blake2b(digest_size=8)

    def add(self, part: Document) -> None:
        """Look at the next part of a document."""
        text = part.text
        self.num_bytes += (more := len(text.encode()))
        self.bytes_of_file += more
        self._length += len(text)
        self._digest.update(unicodedata.normalize("NFC", text).encode())
        self._suspicious.add(part)
        self.sample.add(text)
        self._waiting.append(text)
        self._waiting_characters += len(text)
        if self._waiting_characters >= _COUNTED_AT_ONCE:
            self._count()
        if not part.continues:
            self._end_document(part.source)

    def _end_document(self, source: str) -> None:
        self._suspicious.finish(source)
        key = int.from_bytes(self._digest.digest(), "big")
        if key in self._remembered and self._length:
            self._suspicious.note("copies", source)
        elif len(self._remembered) < _REMEMBERED:
            self._remembered.add(key)
        self._lengths.append(self._length)
        self._keys.append(key)
        self._longest = max(self._longest, (self._length, source), key=lambda pair: pair[0])
        self._length, self._digest = 0, hashlib.blake2b(digest_size=8)

    def _count(self) -> None:
        self._counts += np.bincount(code_points("".join(self._waiting)), minlength=self._counts.size)
        self._waiting, self._waiting_characters = [], 0

    def described(self) -> dict[str, Any]:
        """Return it as plain values."""
        self._count()
        lengths = np.array(self._lengths)
        quantiles = np.percentile(lengths, list(_QUANTILES.values()), method="lower").tolist()
        nonempty = np.array(self._keys)[lengths > 0]
        letters = letters_by_script(self._counts)
        findings = self._suspicious.findings
        if "copies" in findings:
            findings["copies"].number = int(nonempty.size - np.unique(nonempty).size)
        return {
            "encodings": dict(self.encodings.most_common()),
            "documents": int(lengths.size),
            "characters": int(lengths.sum()),
            "bytes": self.num_bytes,
            "different_characters": int((self._counts > 0).sum()),
            "lengths": dict(zip(_QUANTILES, map(int, quantiles))),
            "longest": self._longest[1],
            "scripts": {code: number / sum(letters.values()) for code, number in letters.items()},
            "findings": [found.as_dict(name) for name, found in findings.items()],
        }

"""Inputs made to fill a machine: read in a stream or refused, in a process whose memory is bounded and measured."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOM = 300_000
"""KiB that a process may hold at its peak, Python and its packages included."""

ADDRESSES = 3 << 30
"""Bytes of address space; libraries reserve far more than they use, and a text must not."""

CHILD = """
import pathlib, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
from textmill.cli.main import main
code = main(sys.argv[2:])
status = pathlib.Path("/proc/self/status")
if status.exists():  # what getrusage tells has the size of the process that started this one in it
    peak = re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(code, peak, "torch" in sys.modules)
"""


def measured(folder: Path, *words: str, seconds: float = 300) -> tuple[int, int, str]:
    """Return the exit code of a command, its peak memory in KiB, and what it said on standard error.

    A command that only reads never imports torch.
    """
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ADDRESSES), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds,
    )
    code, peak, torch = done.stdout.splitlines()[-1].split()
    assert torch == "False" and "Traceback" not in done.stderr, done.stderr
    return int(code), int(peak), done.stderr


def prepared(folder: Path, name: str, tokenizer: str = "byte") -> tuple[int, int, str]:
    words = ["prepare", name, "--tokenizer", tokenizer, "--val-split", "0.01", "--output", "out"]
    return measured(folder, *words, "--cache-dir", "cache")


LINE = b"one huge line of many words that goes on and on, without an end in sight. "


def blocks(size: int, block: bytes = LINE * 10_000) -> Iterator[bytes]:
    """Yield `size` bytes of words."""
    whole, rest = divmod(size, len(block))
    yield from (block for _ in range(whole))
    yield block[:rest]


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["byte", "bpe"])
def test_five_hundred_megabytes_on_one_line(tmp_path: Path, tokenizer: str) -> None:
    """A text of 500 MB without a line break is prepared within 300 MB."""
    with (tmp_path / "line.txt").open("wb") as file:
        file.writelines(blocks(500_000_000))
    code, peak, said = prepared(tmp_path, "line.txt", tokenizer)
    assert code == 0, said
    assert peak < ROOM


@pytest.mark.slow
@pytest.mark.parametrize("name", ["line.jsonl", "line.json", "line.csv", "line.jsonl.gz"])
def test_five_hundred_megabytes_in_one_row(tmp_path: Path, name: str) -> None:
    """A row is held in memory whole, so one of 500 MB is refused at 256 MB, naming its line."""
    begin = {"line.csv": b'text\n"'}.get(name, b'{"text": "')
    with gzip.open(tmp_path / name, "wb", 1) if name.endswith("gz") else (tmp_path / name).open("wb") as file:
        file.write(begin)
        # Random enough that packing it is no bomb.
        file.writelines(blocks(500_000_000, b"".join(b"%d words, " % (n * 7919) for n in range(50_000))))
        file.write(b'"' if name == "line.csv" else b'"}')
    code, peak, said = prepared(tmp_path, name)
    assert code == 65 and f"{name}, line" in said and "256" in said, said
    assert peak < 2_500_000 and not (tmp_path / "out").exists()


def _epub(path: Path, size: int) -> None:
    container = '<container xmlns="urn:x"><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>'
    package = (
        '<package xmlns="urn:y"><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("META-INF/container.xml", container)
        book.writestr("b.opf", package)
        with book.open("a.xhtml", "w", force_zip64=True) as chapter:
            for _ in range(size >> 20):
                chapter.write(b" " * (1 << 20))


def _xml_bomb(path: Path) -> None:
    """A book whose table of contents names itself a billion times."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("META-INF/container.xml", f'<!DOCTYPE x [<!ENTITY e0 "lol">{entities}]><x>&e9;</x>')


def _packed(opener: Callable[..., object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with opener(path, "wb") as file:  # type: ignore[attr-defined]
            for _ in range(1000):
                file.write(bytes(1 << 20))

    return write


def _zst(path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs zstandard, of the extra data")
    _packed(zstandard.open)(path)


def _twice(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.compress(bytes(300 << 20))))


BOMBS: dict[str, Callable[[Path], None]] = {
    "zeros.txt.gz": _packed(gzip.open),
    "zeros.txt.bz2": _packed(bz2.open),
    "zeros.jsonl.xz": _packed(lzma.open),
    "zeros.txt.zst": _zst,
    "book.epub": lambda path: _epub(path, 1 << 30),
    "lol.epub": _xml_bomb,
    "twice.txt.gz": _twice,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(tmp_path: Path, name: str) -> None:
    """A gigabyte packed into a file is refused before it is unpacked, whatever packed it."""
    BOMBS[name](tmp_path / name)
    code, peak, said = prepared(tmp_path, name)
    assert code == 65 and name in said, said
    assert peak < ROOM and not (tmp_path / "out").exists()


DEEP = 10_000_000
TEXTS_OF_MANY_SIGNS = {
    "deep.json": b"[" * DEEP,
    "deep.jsonl": b'{"a":' * DEEP,
    "objects.json": b'{"text": {"a": ' * (DEEP // 10),
    "string.jsonl": json.dumps({"text": "ä word, " * 1_250_000}).encode(),
    "empty.jsonl": b"\n" * DEEP,
    "spaces.txt": b" " * DEEP,
    "commas.csv": b"text\n" + b"," * DEEP,
    "quotes.csv": b'text\n"' + b'""' * (DEEP // 2),
    "tags.epub": b"<a>" * (DEEP // 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS_OF_MANY_SIGNS)
def test_ten_megabytes_of_one_thing(tmp_path: Path, name: str) -> None:
    """Brackets, quotes, blanks, a string of ten megabytes: prepared or refused by name, in half a minute."""
    (tmp_path / name).write_bytes(TEXTS_OF_MANY_SIGNS[name])
    words = ["prepare", name, "--tokenizer", "byte", "--output", "out", "--cache-dir", "cache"]
    code, peak, said = measured(tmp_path, *words, seconds=60)
    assert code == (0 if name == "string.jsonl" else 65), said
    assert name in said or code == 0
    assert peak < 2 * ROOM and (tmp_path / "out").exists() == (code == 0)


NINE = ",".join(["*{}"] * 9)
CONFIGURATIONS = {
    "bomb.yaml": "a: &a [x]\n"
    + "".join(f"{b}: &{b} [{NINE.replace('{}', a)}]\n" for a, b in zip("abcdefgh", "bcdefghi")),
    "deep.yaml": "[" * 200_000,
    "deep.json": "[" * 200_000,
    "deep.toml": "x = " + "[" * 200_000,
    "indents.yaml": "\n".join(" " * n + "a:" for n in range(1400)),
    "large.yaml": "# " + "x" * 20_000_000,
    "keys.yaml": "".join(f"k{n}: 1\n" for n in range(20_000)),
    "number.yaml": "seed: " + "9" * 200_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_made_to_fill_the_machine(tmp_path: Path, name: str) -> None:
    """References that multiply, a million brackets, twenty megabytes: refused in one line that names the file."""
    (tmp_path / name).write_text(CONFIGURATIONS[name])
    code, peak, said = measured(tmp_path, "config", "show", "--config", name, seconds=60)
    assert code == 2 and name in said and said.count("\n") == 1, said
    assert peak < ROOM and len(said) < 400

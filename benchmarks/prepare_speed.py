"""Megabytes of text per second from files to token ids, beside the libraries alone, in one run.

    python benchmarks/prepare_speed.py --megabytes 1000

The text is the source code and documentation below this Python's library folders and the folders named. It is prepared
from nothing with byte-level BPE (learning included), then killed at a random instant and continued, then prepared again
after one byte of one file has changed. Beside it, Hugging Face tokenizers and tiktoken encode the first part of the
same text, in memory, with the same vocabulary, on all cores, taking turns with textmill's own encoder.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ENDINGS = (".py", ".pyi", ".md", ".rst", ".txt", ".h", ".c", ".js", ".html", ".css", ".rs", ".ts")

PREPARE = """
import json, resource, sys, time
from textmill.data import prepare
started = time.perf_counter()
corpus = prepare(sys.argv[1], tokenizer=sys.argv[2], cache_dir=sys.argv[3])
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": round(seconds, 1),
    "cores_busy": round((used.ru_utime + used.ru_stime) / seconds, 2),
    "peak_mib": round(used.ru_maxrss / 1024),
    "fingerprint": corpus.fingerprint,
    "folder": str(corpus.folder),
}))
"""


def texts(places: list[Path]) -> Iterator[bytes]:
    """Yield the content of every text file below `places`, each content once."""
    seen = set()
    for place in places:
        for folder, folders, names in os.walk(place):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if not name.endswith(ENDINGS) or not path.is_file() or not 500 < path.stat().st_size < 5_000_000:
                    continue
                content = path.read_bytes()
                digest = hashlib.blake2b(content).digest()
                if digest in seen or b"\0" in content:
                    continue
                try:
                    content.decode("utf-8")
                except UnicodeDecodeError:
                    continue
                seen.add(digest)
                yield content


def collect(places: list[Path], folder: Path, megabytes: float) -> tuple[int, int]:
    """Write so much text into files below `folder`; return their number and bytes."""
    count = size = 0
    for content in texts(places):
        part = folder / f"{count // 1000:04d}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{count:07d}.txt").write_bytes(content)
        count, size = count + 1, size + len(content)
        if size >= megabytes * 1e6:
            break
    return count, size


def prepared(data: Path, tokenizer: str, cache: Path, kill_after: float | None = None) -> dict[str, Any]:
    """Prepare in a process of its own; return its figures, {} if it was killed after so many seconds."""
    command = [sys.executable, "-c", PREPARE, str(data), tokenizer, str(cache)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        out, _ = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {}
    return json.loads(out)


def encoders(tokenizer_folder: Path, files: list[Path], blocks: int) -> dict[str, float]:
    """Return the median MB/s of every encoder on the text of `files`."""
    import tiktoken
    from tokenizers import Tokenizer

    from textmill.tokenizers import load_tokenizer
    from textmill.tokenizers.split_long_text import pieces
    from textmill.tokenizers.tiktoken_encoder import token_ranks
    from textmill.tokenizers.word_patterns import GPT2

    ours = load_tokenizer(tokenizer_folder)
    _, ranks = token_ranks(json.loads(ours.content)["model"])
    other = tiktoken.Encoding("same", pat_str=GPT2.ranked, mergeable_ranks=ranks, special_tokens={})
    backend = Tokenizer.from_str(ours.content)
    documents = [path.read_text(encoding="utf-8") for path in files]
    parts = [part for text in documents for part in pieces(text, 16384)]
    size = sum(path.stat().st_size for path in files) / 1e6
    cores = os.cpu_count() or 1
    sides: dict[str, Callable[[], Any]] = {
        "tokenizers, whole texts": lambda: backend.encode_batch_fast(documents, add_special_tokens=False),
        "tokenizers, pieces": lambda: backend.encode_batch_fast(parts, add_special_tokens=False),
        "tiktoken": lambda: other.encode_ordinary_batch(documents, num_threads=cores),
        "textmill": lambda: ours.encode_batch(documents),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for block in range(blocks + 1):
        for name, encode in sides.items():
            started = time.perf_counter()
            encode()
            if block:
                seconds[name].append(time.perf_counter() - started)
    return {name: round(size / statistics.median(times), 1) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument(
        "--from", dest="places", nargs="*", type=Path, default=[], help="more folders to take text from"
    )
    parser.add_argument("--blocks", type=int, default=5, help="timed turns of each encoder")
    parser.add_argument("--output", type=Path, help="append the result to this JSON Lines file")
    arguments = parser.parse_args()
    paths = sysconfig.get_paths()
    places = [Path(paths["stdlib"]), Path(paths["purelib"]), *arguments.places]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count, size = collect(places, folder / "data", arguments.megabytes)
        result: dict[str, Any] = {"files": count, "megabytes": round(size / 1e6, 1)}
        whole = prepared(folder / "data", "bpe", folder / "cache")
        result["from nothing"] = whole
        seconds = random.uniform(0.2, 0.9) * whole["seconds"]
        killed = prepared(folder / "data", "bpe", folder / "again", kill_after=seconds)
        assert not killed
        result["killed after"] = round(seconds, 1)
        result["continued"] = prepared(folder / "data", "bpe", folder / "again")
        assert result["continued"]["fingerprint"] == whole["fingerprint"]
        tokenizer = Path(whole["folder"]) / "tokenizer"
        changed = sorted((folder / "data").rglob("*.txt"))[count // 2]
        content = changed.read_bytes()
        changed.write_bytes(b"#" + content[1:])
        result["one byte changed"] = prepared(folder / "data", str(tokenizer), folder / "cache")
        some = sorted((folder / "data").rglob("*.txt"))[: max(1, int(count * min(1, 20e6 / size)))]
        result["MB/s in memory"] = encoders(tokenizer, some, arguments.blocks)
    for part in result.values():
        if isinstance(part, dict):
            part.pop("folder", None)
            part.pop("fingerprint", None)
    result |= {"cores": os.cpu_count(), "date": datetime.date.today().isoformat()}
    print(json.dumps(result, indent=1))
    if arguments.output:
        with arguments.output.open("a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

"""Token stores: what was written is read at any place, across files; damage is an error that names the file."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.small_corpora import end_document
from textmill.data.store.token_shards import ShardWriter, TokenStore
from textmill.errors import DataError, MissingInputError


def store(folder: Path, ids: np.ndarray, vocab_size: int = 1000, shard_bytes: int = 64, **more: int) -> TokenStore:
    writer = ShardWriter(folder, vocab_size, shard_bytes=shard_bytes, **more)
    for part in np.array_split(ids, 7):
        writer.write(part, 2 * part.size)
    writer.close()
    return TokenStore.open(folder)


@settings(deadline=None)
@given(start=st.integers(0, 500), count=st.integers(0, 500))
def test_reading_equals_slicing(tmp_path_factory: pytest.TempPathFactory, start: int, count: int) -> None:
    """Any range, over any number of files, is the slice of the array that was written."""
    ids = np.arange(500) * 7 % 1000
    folder = tmp_path_factory.getbasetemp() / "slices"
    opened = TokenStore.open(folder) if folder.exists() else store(folder, ids)
    if start + count > 500:
        with pytest.raises(IndexError):
            opened.read(start, count)
    else:
        assert opened.read(start, count).tolist() == ids[start : start + count].tolist()


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_the_width_follows_the_vocabulary(tmp_path: Path, vocab_size: int, dtype: type) -> None:
    """16 bits up to 65,536 tokens, 32 beyond; an id outside the vocabulary is refused and never wrapped."""
    opened = store(tmp_path / "a", np.array([0, vocab_size - 1, 3]), vocab_size)
    assert opened.dtype == dtype and opened.read(0, 3).tolist() == [0, vocab_size - 1, 3]
    assert opened.max_id == vocab_size - 1
    for bad in (vocab_size, -1):
        with pytest.raises(DataError, match=f"id {bad} is outside the vocabulary"):
            ShardWriter(tmp_path / "b", vocab_size).write(np.array([1, bad]), 0)


def test_counts_and_marks(tmp_path: Path) -> None:
    """Bytes, documents and EOS tokens are counted per store, across shards."""
    writer = ShardWriter(tmp_path, 10, eos_id=9, shard_bytes=4)
    for document in ([1, 2, 3], [4], []):
        writer.write(np.array(document, dtype=np.uint32), 5)
        end_document(writer)
    writer.close()
    opened = TokenStore.open(tmp_path)
    assert opened.read(0, len(opened)).tolist() == [1, 2, 3, 9, 4, 9, 9]
    assert (opened.num_documents, opened.num_bytes, opened.eos_id, opened.max_id) == (3, 15, 9, 9)
    assert len(list(tmp_path.glob("*.bin"))) == 4


def test_the_fingerprint_is_of_the_ids(tmp_path: Path) -> None:
    """Equal ids have equal fingerprints wherever they lie, one changed id changes it."""
    ids = np.arange(100)
    same = store(tmp_path / "a", ids).fingerprint
    assert store(tmp_path / "b", ids).fingerprint == same
    ids[50] += 1
    assert store(tmp_path / "c", ids).fingerprint != same


def test_damage_is_found_and_named(tmp_path: Path) -> None:
    """Short, long and missing files, and a broken description."""
    store(tmp_path, np.arange(100))
    shard = tmp_path / "00002.bin"
    good = shard.read_bytes()
    for content in (good[:-1], good + b"x"):
        shard.write_bytes(content)
        with pytest.raises(DataError, match=r"00002\.bin is damaged"):
            TokenStore.open(tmp_path)
    shard.unlink()
    with pytest.raises(DataError, match=r"00002\.bin cannot be read"):
        TokenStore.open(tmp_path)
    for content in ("", "{}", "[]", '{"format": 1}', '{"format": 99}'):
        (tmp_path / "shards.json").write_text(content)
        with pytest.raises(DataError, match=r"shards\.json"):
            TokenStore.open(tmp_path)
    with pytest.raises(MissingInputError, match="no token store"):
        TokenStore.open(tmp_path / "nowhere")


def test_a_file_that_shrinks_in_use_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """Where a memory map would die of a bus error, reading raises."""
    opened = store(tmp_path, np.arange(100), shard_bytes=1 << 20)
    with (tmp_path / "00000.bin").open("r+b") as file:
        file.truncate(100)
    assert opened.read(0, 50).tolist() == list(range(50))
    with pytest.raises(DataError, match="became shorter while it was in use"):
        opened.read(40, 20)


def test_a_store_travels_to_other_processes(tmp_path: Path) -> None:
    """Pickling opens the same store again."""
    copy = pickle.loads(pickle.dumps(store(tmp_path, np.arange(100))))  # noqa: S301 (our own bytes)
    assert copy.read(10, 5).tolist() == [10, 11, 12, 13, 14]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_stores_close_their_files(tmp_path: Path) -> None:
    """A store that nobody uses any more gives back its file descriptors."""
    store(tmp_path, np.arange(100))
    before = open_files()
    opened = TokenStore.open(tmp_path)
    assert open_files() > before
    del opened
    gc.collect()
    assert open_files() == before


def test_the_reading_half_needs_no_torch() -> None:
    """Preparing data starts without the seconds that torch takes."""
    script = (
        "import sys, textmill.data, textmill.data.prepare, textmill.data.batches.row_order, textmill.tokenizers;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


MEMORY_SCRIPT = """
import sys, numpy as np
from pathlib import Path
from textmill.data.batches.row_order import row_order
from textmill.data.store.token_shards import TokenStore
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
store = TokenStore.open(Path(sys.argv[1]))
rows = store.num_tokens // 257
buffer = np.empty(257, dtype=store.dtype)
for row in row_order(np.arange(50), rows, 1): store.read_into(int(row) * 257, buffer)
before = anonymous()
for row in row_order(np.arange(5000), rows, 1): store.read_into(int(row) * 257, buffer)
print(store.num_tokens, anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of anonymous memory")
def test_two_gigabytes_cost_no_memory(tmp_path: Path) -> None:
    """Thousands of scattered reads of a 2 GB store grow the memory of the process by less than 2 MB."""
    writer = ShardWriter(tmp_path, 1000)
    writer.write(np.zeros(1000, dtype=np.uint16), 0)
    writer.close()
    tokens = 1 << 30
    with (tmp_path / "00000.bin").open("r+b") as file:
        file.truncate(2 * tokens)
    description = tmp_path / "shards.json"
    description.write_text(description.read_text().replace('"tokens": 1000', f'"tokens": {tokens}'))
    run = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    num_tokens, grown_kib = map(int, run.stdout.split())
    assert num_tokens == tokens and grown_kib < 2048

"""Packed rows against the plain definition: every document whole, every target once, as placed by the slow way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.small_corpora import end_document
from textmill.config import ModelConfig
from textmill.config.fields.model import Architecture
from textmill.data import Rows, TokenStore, TrainLoader, eval_batches
from textmill.data.batches.loader import IGNORED
from textmill.data.batches.packed_rows import PackedRows
from textmill.data.batches.packing import STRATEGIES, pack
from textmill.data.store.token_shards import DOCUMENTS, ShardWriter
from textmill.errors import ConfigError, DataError
from textmill.model import build_model

EOS = 0


def store_of(folder: Path, lengths: list[int], *, has_eos: bool = True, unfinished: bool = False) -> TokenStore:
    """A store of documents whose ids count from 1 through the store; with `has_eos`, the last token of each is EOS."""
    writer = ShardWriter(folder, 60_000, EOS if has_eos else None, shard_bytes=64)
    next_id = 1
    for number, length in enumerate(lengths):
        own = length - has_eos
        writer.write(np.arange(next_id, next_id + own), own)
        next_id += length
        if not (unfinished and number == len(lengths) - 1):
            end_document(writer)
    writer.close()
    return TokenStore.open(folder)


def slowly(lengths: list[int], capacity: int, strategy: str) -> list[int]:
    """The row of every length, by looking at every row."""
    free: list[int] = []
    used: list[int] = []  # rows, the one used last at the end
    found = []
    for length in lengths:
        fitting = [row for row in range(len(free)) if free[row] >= length]
        if strategy == "greedy":
            fitting = [row for row in fitting if row == len(free) - 1]
        if strategy == "best_fit":
            fitting.sort(key=lambda row: (free[row], -used.index(row)))
        if not fitting:
            fitting = [len(free)]
            free.append(capacity)
        row = fitting[0]
        free[row] -= length
        used = [other for other in used if other != row] + [row]
        found.append(row)
    return found


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(2, 20), max_size=60),
    capacity=st.integers(20, 40),
    strategy=st.sampled_from(["greedy", "first_fit", "best_fit"]),
)
def test_documents_are_placed_as_by_looking_at_every_row(lengths: list[int], capacity: int, strategy: str) -> None:
    """Tree and bit mask choose the rows that a search through all of them chooses."""
    lengths = [length for length in lengths if length < capacity]
    packed = pack(np.array(lengths, dtype=np.int64), capacity, strategy)
    starts = np.cumsum([0, *lengths])[:-1]
    expected: dict[int, list[int]] = {}
    for start, row in zip(starts.tolist(), slowly(lengths, capacity, strategy)):
        expected.setdefault(row, []).append(start)
    rows = [packed.starts[one:other].tolist() for one, other in zip(packed.first[:-1], packed.first[1:])]
    assert rows == [expected[row] for row in sorted(expected)]


def test_the_textbook_example() -> None:
    """Documents of 3, 6 and 1 tokens and an EOS token each, in rows of 8: three rows by next fit, two by first fit."""
    lengths = np.array([3 + 1, 6 + 1, 1 + 1])
    assert {strategy: pack(lengths, 8, strategy).targets.tolist() for strategy in STRATEGIES} == {
        "greedy": [3, 6, 1],
        "first_fit": [3 + 1, 6],
        "best_fit": [3 + 1, 6],
        "alone": [3, 6, 1],
    }


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=30),
    capacity=st.integers(1, 16),
    strategy=st.sampled_from(STRATEGIES),
    has_eos=st.booleans(),
    unfinished=st.booleans(),
)
def test_every_token_is_an_input_and_every_target_counts_once(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    capacity: int,
    strategy: str,
    has_eos: bool,
    unfinished: bool,
) -> None:
    """Each document's tokens are inputs once, in order; each but its first is a target once, of the token before it."""
    folder = tmp_path_factory.mktemp("store")
    store = store_of(folder, lengths, has_eos=has_eos, unfinished=unfinished)
    documents = np.split(store.read(0, store.num_tokens), np.cumsum(store.document_lengths())[:-1])
    pairs = sorted(pair for document in documents for pair in zip(document[:-1].tolist(), document[1:].tolist()))
    if not pairs:
        with pytest.raises(DataError, match="no document of two tokens"):
            PackedRows(store, capacity, strategy)
        return
    rows = PackedRows(store, capacity, strategy, mask_documents=True)
    every = np.arange(len(rows))
    tokens, targets = rows.read(every)
    counted = targets != IGNORED
    assert sorted(zip(tokens[counted].tolist(), targets[counted].tolist())) == pairs
    assert np.array_equal(counted.sum(axis=1), rows.counts(every)) and rows.num_targets == len(pairs)
    assert (counted.sum(axis=1) > 0).all()
    # What is an input at all: everything, but for last tokens that a whole number of rows leaves alone.
    inputs = int(rows.packing.lengths.sum())
    alone = sum((document.size - 1) % capacity == 0 for document in documents)
    assert inputs == store.num_tokens - alone
    assert rows.filled == inputs / (len(rows) * capacity)
    batch = rows.batch(every)
    assert batch.segments is not None and batch.positions is not None and batch.num_targets == len(pairs)
    for row in range(len(rows)):
        first, last = rows.packing.first[row : row + 2]
        sizes = rows.packing.lengths[first:last].tolist()
        empty = capacity - sum(sizes)
        assert batch.segments[row].tolist() == [n for n, size in enumerate([*sizes, empty]) for _ in range(size)]
        assert batch.positions[row].tolist() == [place for size in (*sizes, empty) for place in range(size)]


def test_loaders_read_packed_rows_as_any_others(tmp_path: Path) -> None:
    """Steps, ranks and evaluation count every target of an epoch once."""
    store = store_of(tmp_path, [5, 3, 12, 7, 2, 9, 4, 4, 30, 6, 3])
    rows = PackedRows(store, 8, "best_fit")
    expected = store.num_tokens - store.num_documents
    assert rows.num_targets == expected
    assert sum(batch.num_targets for batch in eval_batches(rows, 3)) == expected
    loaders = [TrainLoader(rows, batch_size=1, world_size=2, rank=rank, seed=5) for rank in (0, 1)]
    order = np.concatenate([own.row_indices(step) for step in range(len(rows) // 2) for own in loaders], axis=None)
    assert len(set(order.tolist())) == len(rows) // 2 * 2
    assert rows.batch(np.array([0, 1])).segments is None


def test_a_row_of_its_own_for_every_document(tmp_path: Path) -> None:
    """Nothing is shared; long documents take as many rows as they need."""
    rows = PackedRows(store_of(tmp_path, [3, 8, 9, 20]), 8, "alone")
    assert [rows.read(np.array([row]))[0][0].tolist() for row in range(len(rows))] == [
        [1, 2, 0, 0, 0, 0, 0, 0],
        [4, 5, 6, 7, 8, 9, 10, 0],
        [12, 13, 14, 15, 16, 17, 18, 19],
        [21, 22, 23, 24, 25, 26, 27, 28],
        [29, 30, 31, 32, 33, 34, 35, 36],
        [37, 38, 39, 0, 0, 0, 0, 0],
    ]
    assert rows.counts(np.arange(6)).tolist() == [2, 7, 8, 8, 8, 3]
    assert rows.read(np.array([2]))[1].tolist() == [[13, 14, 15, 16, 17, 18, 19, EOS]]


def test_packing_many_documents_leaves_little_empty() -> None:
    """Of a hundred thousand documents, each strategy fills rows better than the one before it."""
    lengths = np.random.default_rng(0).lognormal(4, 1, 100_000).astype(np.int64) + 2
    packed = {strategy: pack(lengths, 512, strategy) for strategy in STRATEGIES}
    filled = {name: rows.lengths.sum() / rows.targets.size / 512 for name, rows in packed.items()}
    assert filled["best_fit"] >= filled["first_fit"] > 0.98 > filled["greedy"] > filled["alone"]


def test_how_far_packing_is_can_be_heard(tmp_path: Path) -> None:
    """The last report is of everything; an error raised there ends the work."""
    heard: list[tuple[int, int]] = []
    pack(np.full(70_000, 3), 8, "first_fit", lambda done, total: heard.append((done, total)))
    assert heard == [(65_536, 70_000), (70_000, 70_000)]


FAMILIES: dict[Architecture, int] = {"qwen3": 2, "llama": 1, "gpt2": 2}
"""With so many key and value heads."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("packed", [True, False])
def test_a_masked_document_is_alone(tmp_path: Path, family: Architecture, packed: bool) -> None:
    """Another token in one document changes no logit of another; each scores as if it had the row to itself."""
    store = store_of(tmp_path, [5, 4, 6, 9])
    rows = PackedRows(store, 24, "first_fit", mask_documents=True) if packed else Rows(store, 23, mask_documents=True)
    batch = rows.batch(np.array([0]))
    config = ModelConfig(
        architecture=family,
        vocab_size=40,
        d_model=32,
        num_layers=2,
        num_heads=2,
        num_kv_heads=FAMILIES[family],
        max_seq_len=24,
    )
    model = build_model(config, seed=1).eval()
    # At the small scale of fresh weights attention is nearly even: make the other documents matter.
    for parameter in model.parameters():
        parameter.data *= 4
    with torch.no_grad():
        logits = model(batch.tokens, positions=batch.positions, segments=batch.segments)[0]
        seen = model(batch.tokens)[0]
        other = batch.tokens.clone()
        other[0, 6] = 33  # in the second document
        changed = model(other, positions=batch.positions, segments=batch.segments)[0]
        alone = model(batch.tokens[:, 9:15])[0]
    second = slice(5, 9)
    outside = [place for place in range(logits.shape[0]) if place not in range(*second.indices(24))]
    assert torch.equal(logits[outside], changed[outside])
    assert not torch.equal(logits[second], changed[second])
    assert torch.allclose(logits[9:15], alone, atol=1e-4)
    assert not torch.allclose(seen[9:15], alone, atol=1e-2)


def test_documents_without_marks_are_told_apart_too(tmp_path: Path) -> None:
    """A corpus of characters has no EOS tokens: where its documents end is in the store."""
    store = store_of(tmp_path, [3, 4, 2, 8], has_eos=False)
    batch = Rows(store, 6, mask_documents=True).batch(np.array([1, 0]))
    assert batch.segments is not None and batch.positions is not None
    assert batch.segments.tolist() == [[0, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1]]
    assert batch.positions.tolist() == [[0, 0, 1, 0, 1, 2], [0, 1, 2, 0, 1, 2]]
    with pytest.raises(ConfigError, match="only one document"):
        Rows(store_of(tmp_path / "one", [9], has_eos=False), 6, mask_documents=True)


def test_a_damaged_list_of_documents_is_noticed(tmp_path: Path) -> None:
    """One that is missing, cut or of another store is refused by name."""
    store = store_of(tmp_path, [3, 4, 2])
    assert store.document_lengths().tolist() == [3, 4, 2]
    path = tmp_path / DOCUMENTS
    whole = path.read_bytes()
    for content in (whole[:-2], whole[:40], b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=DOCUMENTS):
            store.document_lengths()
    np.save(path, np.array([3, 4, 20], dtype=np.uint32))
    with pytest.raises(DataError, match="are not those of the shards"):
        store.document_lengths()
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        store.document_lengths()

"""Rows and batches against the plain definition: target i is token i + 1, every one counted once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.data import Rows, TextDataset, TokenStore, TrainLoader, eval_batches
from textmill.data.batches import loader
from textmill.data.batches.loader import IGNORED, Batch, Prefetch, pinned_ahead
from textmill.data.store.token_shards import ShardWriter
from textmill.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory):
    """A store of so many ids, ids 1, 2, 3 ... so that a token tells its place."""
    base = tmp_path_factory.mktemp("stores")

    def make(count: int, eos_id: int | None = None, ids: np.ndarray | None = None) -> TokenStore:
        folder = base / f"{count}-{eos_id}-{ids is None}"
        if ids is not None or not folder.exists():
            writer = ShardWriter(folder, 65_536, eos_id, shard_bytes=50)
            writer.write(np.arange(1, count + 1) if ids is None else ids, count)
            writer.close()
        return TokenStore.open(folder)

    return make


def counted_targets(batches: list[Batch]) -> list[int]:
    """The targets that count, after checking that each follows its token and that the host's number is right."""
    found: list[int] = []
    for batch in batches:
        counts = batch.targets != IGNORED
        assert (batch.targets[counts] == batch.tokens[counts] + 1).all()
        assert (batch.tokens[~counts] >= 0).all()
        assert batch.num_targets == int(counts.sum()) and isinstance(batch.num_targets, int)
        assert batch.tokens.dtype == batch.targets.dtype == torch.int64
        found += batch.targets[counts].tolist()
    return found


@settings(deadline=None)
@given(count=st.integers(2, 120), seq_len=st.integers(1, 40), batch_size=st.integers(1, 9), world=st.integers(1, 4))
def test_evaluation_counts_every_target_once(stores, count: int, seq_len: int, batch_size: int, world: int) -> None:
    """Over all ranks each token but the first is a target once, in batches of one shape, as many on every rank."""
    rows = Rows(stores(count), seq_len)
    assert len(rows) == -(-(count - 1) // seq_len)
    per_rank = [eval_batches(rows, batch_size, world_size=world, rank=rank) for rank in range(world)]
    assert len({len(list(batches)) for batches in per_rank}) == 1
    assert len({batch.tokens.shape for batches in per_rank for batch in batches}) == 1
    every = [batch for batches in per_rank for batch in batches]
    assert sorted(counted_targets(every)) == list(range(2, count + 1))
    assert per_rank[0].num_targets == count - 1 and per_rank[0].share == 1


@settings(deadline=None)
@given(
    count=st.integers(2, 200),
    seq_len=st.integers(1, 30),
    accumulation=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    step=st.integers(0, 40),
)
def test_ranks_share_the_rows_of_a_step(
    stores, count: int, seq_len: int, accumulation: int, seed: int, step: int
) -> None:
    """However the global batch of 12 is dealt out, the rows of a step are the same, in the same order."""
    rows = Rows(stores(count), seq_len)

    def of_step(world: int, batch_size: int, parts: int) -> list[int]:
        found: list[int] = []
        for rank in range(world):
            own = TrainLoader(rows, batch_size=batch_size, accumulation=parts, world_size=world, rank=rank, seed=seed)
            assert own.rows_per_step == 12
            batches = own.batches(step)
            assert len(batches) == parts and all(batch.tokens.shape == (batch_size, seq_len) for batch in batches)
            found += counted_targets(batches)
        return found

    assert of_step(1, 12, 1) == of_step(2, 3, 2) == of_step(3, 2, 2) == of_step(12, 1, 1) == of_step(1, 4, 3)


@settings(deadline=None)
@given(count=st.integers(2, 150), seq_len=st.integers(1, 20), batch_size=st.integers(1, 7), epochs=st.integers(1, 3))
def test_each_epoch_trains_every_target_once(stores, count: int, seq_len: int, batch_size: int, epochs: int) -> None:
    """Batches run on over the ends of epochs, and no token is skipped or seen twice within one."""
    rows = Rows(stores(count), seq_len)
    own = TrainLoader(rows, batch_size=batch_size, seed=3)
    steps = -(-len(rows) * epochs // batch_size)
    order = np.concatenate([own.row_indices(step).ravel() for step in range(steps)])
    for epoch in range(epochs):
        mine = order[epoch * len(rows) : (epoch + 1) * len(rows)]
        assert sorted(mine.tolist()) == list(range(len(rows)))
        assert sorted(counted_targets([rows.batch(mine)])) == list(range(2, count + 1))


def test_the_state_is_the_step(stores) -> None:
    """A loader asked for step 7 first gives what one gives that went through all the steps before."""
    rows = Rows(stores(500), 16)
    walked, jumped = (TrainLoader(rows, batch_size=4, seed=9) for _ in range(2))
    for step in range(7):
        walked.batches(step)
    assert torch.equal(walked.batches(7)[0].tokens, jumped.batches(7)[0].tokens)
    assert not torch.equal(walked.batches(8)[0].tokens, jumped.batches(7)[0].tokens)


@pytest.mark.parametrize("ahead", [1, 3])
def test_batches_that_are_read_ahead_are_those_of_their_step(stores, ahead: int) -> None:
    """In order, after a jump forward and after one back, as a resumed run or a rollback makes it."""
    rows = Rows(stores(100), 7)
    plain, early = (
        TrainLoader(rows, batch_size=4, seed=9),
        Prefetch(TrainLoader(rows, batch_size=4, seed=9), ahead=ahead),
    )
    for step in (0, 1, 2, 3, 9, 10, 2, 3):
        (expected,), (found,) = plain.batches(step), early.batches(step)
        assert torch.equal(found.tokens, expected.tokens)
        assert torch.equal(found.targets, expected.targets)


def test_large_stores_are_shuffled_in_windows(stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the threshold every row is still seen once an epoch, by any number of ranks."""
    monkeypatch.setattr(loader, "BLOCK_ORDER_ABOVE", 100)
    monkeypatch.setattr(loader, "BLOCK_BYTES", 64)
    rows = Rows(stores(3000), 8)
    plain = [TrainLoader(rows, batch_size=125, seed=1).row_indices(step) for step in range(3)]
    assert sorted(np.concatenate(plain, axis=None).tolist()) == list(range(375))
    halves = [TrainLoader(rows, batch_size=125, world_size=3, rank=r, seed=1).row_indices(0) for r in range(3)]
    assert np.array_equal(np.concatenate(halves), np.concatenate(plain))


def test_a_limited_evaluation_is_spread_evenly(stores) -> None:
    """Some of the batches, from all over the text, with their share of the targets told."""
    rows = Rows(stores(1001), 10)
    some = eval_batches(rows, 5, limit=4)
    targets = counted_targets(list(some))
    assert len(targets) == some.num_targets == 200 and some.share == 0.2
    assert [targets[at] for at in range(0, 200, 50)] == [2, 252, 502, 752]
    assert torch.equal(next(iter(some)).tokens, next(iter(some)).tokens)
    assert eval_batches(rows, 5, limit=1000).share == 1


def test_a_pinned_evaluation_reads_one_batch_ahead(stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches are those of any evaluation, each pinned; one more than was asked for has been read, and no more."""
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    rows = Rows(stores(101), 10)
    plain, ahead = list(eval_batches(rows, 3)), eval_batches(rows, 3, pin=True)
    for _ in range(2):  # it can be asked again
        assert [batch.tokens.tolist() for batch in ahead] == [batch.tokens.tolist() for batch in plain]
    assert len(pinned) == 2 * 2 * 4
    read: list[int] = []

    def watched() -> Iterator[Batch]:
        for number, batch in enumerate(plain):
            read.append(number)
            yield batch
        raise DataError("the disk is gone")

    found = pinned_ahead(watched())
    for number in range(4):
        assert torch.equal(next(found).targets, plain[number].targets) and read[-1] <= number + 1
    with pytest.raises(DataError, match="the disk is gone"):
        next(found)


def test_documents_are_told_apart(stores) -> None:
    """Segments count the documents of a row, the mark belongs to the one it ends, positions start at 0 in each."""
    ids = np.array([5, 6, 9, 7, 9, 9, 8, 3, 4])
    batch = Rows(stores(9, eos_id=9, ids=ids), 8, mask_documents=True).batch(np.array([0]))
    assert batch.segments is not None and batch.positions is not None
    assert batch.tokens.tolist() == [[5, 6, 9, 7, 9, 9, 8, 3]]
    assert batch.segments.tolist() == [[0, 0, 0, 1, 1, 2, 3, 3]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 0, 0, 1]]
    with pytest.raises(ConfigError, match="mask_documents has no effect"):
        Rows(stores(20), 8, mask_documents=True)


def test_what_cannot_be_batched_is_refused(stores) -> None:
    """One token makes no row; ranks and sizes must make sense."""
    with pytest.raises(DataError, match="two tokens that a row needs"):
        Rows(stores(1), 8)
    rows = Rows(stores(20), 8)
    mistakes: list[dict[str, Any]] = [
        {"batch_size": 0},
        {"batch_size": 1, "world_size": 2, "rank": 2},
        {"batch_size": 1, "accumulation": 0},
    ]
    for wrong in mistakes:
        with pytest.raises(ConfigError):
            TrainLoader(rows, seed=0, **wrong)


def test_a_text_as_a_torch_dataset(tmp_path: Path) -> None:
    """Without a tokenizer the items are bytes; a DataLoader with worker processes reads the same."""
    text = "Grüße, world! " * 10
    (tmp_path / "a.txt").write_text(text)
    dataset = TextDataset(tmp_path / "a.txt", 16, cache_dir=tmp_path)
    assert dataset.tokenizer is not None and dataset.vocab_size == 257 and dataset.block_size == 16
    tokens, targets = dataset[0]
    assert bytes(tokens.tolist()) == text.encode()[:16] and bytes(targets.tolist()) == text.encode()[1:17]
    read = torch.cat([t[t != IGNORED] for _, t in dataset])  # pyright: ignore[reportGeneralTypeIssues]
    assert bytes(read.tolist()) == text.encode()[1:]
    assert torch.equal(dataset[-1][1], dataset[len(dataset) - 1][1])
    workers = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=1)
    assert sum(int((targets != IGNORED).sum()) for _, targets in workers) == len(text.encode()) - 1
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_moving_a_batch_moves_all_of_it(stores) -> None:
    """Every tensor goes along, absent ones stay absent."""
    ids = np.array([1, 9, 2, 3])
    moved = Rows(stores(4, eos_id=9, ids=ids), 3, mask_documents=True).batch(np.array([0])).to("meta")
    assert moved.positions is not None and moved.segments is not None
    assert {t.device.type for t in (moved.tokens, moved.targets, moved.positions, moved.segments)} == {"meta"}
    assert Rows(stores(4), 3).batch(np.array([0])).to("meta").segments is None

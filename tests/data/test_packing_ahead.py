"""Reading ahead changes when batches are read and nothing else."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from textmill.data import Rows, TokenStore, TrainLoader
from textmill.data.batches.loader import Batch, Prefetch
from textmill.data.store.token_shards import ShardWriter
from textmill.errors import DataError


@pytest.fixture
def loader(tmp_path: Path) -> TrainLoader:
    writer = ShardWriter(tmp_path, 65_536)
    writer.write(np.arange(1, 5001), 5000)
    writer.close()
    return TrainLoader(Rows(TokenStore.open(tmp_path), 16), batch_size=3, accumulation=2, seed=4)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.tokens, b.tokens) and torch.equal(a.targets, b.targets) and a.num_targets == b.num_targets
        for a, b in zip(one, other)
    )


@pytest.mark.parametrize("ahead", [1, 3])
def test_what_is_read_ahead_is_what_would_be_read(loader: TrainLoader, ahead: int) -> None:
    """In order, after a jump forward, backward and for the same step twice."""
    reader = Prefetch(loader, ahead=ahead)
    for step in (0, 1, 2, 3, 40, 41, 7, 7, 8, 300):
        assert same(reader.batches(step), loader.batches(step))


class Broken(TrainLoader):
    """A loader that cannot read step 3."""

    def batches(self, step: int) -> list[Batch]:
        if step == 3:
            raise DataError("shard 3 is gone")
        return super().batches(step)


def test_an_error_belongs_to_its_step(loader: TrainLoader) -> None:
    """What goes wrong while step 3 is read ahead is raised when step 3 is asked for."""
    reader = Prefetch(Broken(loader.rows, batch_size=3, seed=4), ahead=2)
    for step in range(3):
        reader.batches(step)
    with pytest.raises(DataError, match="shard 3"):
        reader.batches(3)


def test_reading_ends_with_the_reader(loader: TrainLoader) -> None:
    """No thread is left behind."""
    reader = Prefetch(loader, ahead=2)
    reader.batches(0)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    assert threads
    del reader
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()

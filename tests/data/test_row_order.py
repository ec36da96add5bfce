"""The order of rows: a bijection for every key, the same numbers for ever."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.data.batches import row_order as order_module
from textmill.data.batches.row_order import derive, permute, row_order


@settings(deadline=None)
@given(n=st.integers(1, 3000), key=st.integers(0, 2**70))
def test_permute_is_a_bijection(n: int, key: int) -> None:
    """Every index of range(n) is hit exactly once."""
    assert np.sort(permute(np.arange(n), n, key)).tolist() == list(range(n))


@settings(deadline=None)
@given(n=st.integers(1, 2**50), key=st.integers(0, 2**64 - 1), data=st.data())
def test_permute_stays_inside_huge_ranges(n: int, key: int, data: st.DataObject) -> None:
    """Inside the range, without collisions, and each index alone gives what it gives among others."""
    indices = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20, unique=True))
    found = permute(np.array(indices), n, key)
    assert ((found >= 0) & (found < n)).all() and len(set(found.tolist())) == len(indices)
    assert permute(indices[0], n, key).item() == found[0]


def test_numbers_are_frozen() -> None:
    """A run that was saved by another version, on another machine, goes on with the same rows."""
    assert permute(np.arange(10), 10, 0).tolist() == [1, 4, 6, 2, 9, 5, 0, 7, 3, 8]
    assert permute(np.arange(3) + 10**12, 10**13, 2**64 - 1).tolist() == [8849816572741, 5281027179702, 6470731592475]
    assert row_order(np.arange(98, 104), 100, 42).tolist() == [81, 26, 67, 69, 14, 81]
    assert row_order(np.arange(4998, 5004), 5000, 42, block_rows=7).tolist() == [3101, 4528, 1603, 535, 3404, 4272]
    assert derive(7, 9).tolist() == [2757423589137273125]


def test_small_orders_are_all_equally_likely() -> None:
    """Over many keys, every order of four rows appears about as often as it should (chi-square, 23 degrees)."""
    keys = derive(np.arange(20_000, dtype=np.uint64), 1)
    orders = np.stack([permute(np.full(keys.size, index), 4, keys) for index in range(4)], axis=1)
    counts = Counter(map(tuple, orders.tolist()))
    expected = keys.size / math.factorial(4)
    assert len(counts) == 24 and sum((c - expected) ** 2 / expected for c in counts.values()) < 60


def test_neighbours_are_scattered() -> None:
    """Neighbouring positions are unrelated, and few rows stay where they are."""
    found = permute(np.arange(50_000), 50_000, 5)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.02
    assert (found == np.arange(50_000)).sum() < 10


@settings(deadline=None)
@given(
    num_rows=st.integers(1, 400),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 5),
    block_rows=st.one_of(st.none(), st.integers(1, 40)),
    window=st.integers(1, 5),
)
def test_every_epoch_visits_every_row_once(
    num_rows: int, seed: int, epoch: int, block_rows: int | None, window: int
) -> None:
    """Row by row or in blocks, whatever the remainders."""
    before, order_module.WINDOW_BLOCKS = order_module.WINDOW_BLOCKS, window
    try:
        positions = np.arange(num_rows) + epoch * num_rows
        assert np.sort(row_order(positions, num_rows, seed, block_rows)).tolist() == list(range(num_rows))
    finally:
        order_module.WINDOW_BLOCKS = before


def test_epochs_and_seeds_differ() -> None:
    """Each epoch and each seed has an order of its own."""
    first, second, other = (row_order(np.arange(100) + o, 100, s).tolist() for o, s in ((0, 1), (100, 1), (0, 2)))
    assert first != second and first != other


def test_blocks_keep_reading_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks, a window of the order touches no more blocks than a window holds."""
    monkeypatch.setattr(order_module, "WINDOW_BLOCKS", 8)
    found = row_order(np.arange(10_000), 10_000, 3, block_rows=50)
    for start in range(0, 10_000, 400):
        assert len(set((found[start : start + 400] // 50).tolist())) == 8
    assert len(set((found[:400] // 50).tolist()) & set(range(8))) < 4
    assert np.abs(np.diff(found[:400])).mean() > 50  # and mixed inside


def test_an_index_outside_is_refused() -> None:
    """No silent wrap."""
    for bad in (-1, 10):
        with pytest.raises(ValueError, match="outside"):
            permute(bad, 10, 0)

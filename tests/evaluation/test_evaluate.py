"""The numbers of an evaluation against values computed by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support.small_corpora import end_document
from support.small_models import small_model
from textmill.data.batches.loader import IGNORED, Batch, Rows, eval_batches
from textmill.data.store.token_shards import ShardWriter, TokenStore
from textmill.errors import ConfigError, DataError, Interrupted
from textmill.evaluation.evaluate_batches import Unknown, evaluate


class Guess(nn.Module):
    """Scores token 0 with `score` and every other of `vocab` tokens with 0, wherever it is."""

    def __init__(self, vocab: int, score: float = 0.0) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor([score] + [0.0] * (vocab - 1)))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.scores.expand(*tokens.shape, -1)


def batch(targets: list[list[int]]) -> Batch:
    tensor = torch.tensor(targets)
    return Batch(torch.zeros_like(tensor), tensor, int((tensor != IGNORED).sum()))


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    """1,003 random ids below 61: rows of 24 leave a remainder, and so do batches of them."""
    writer = ShardWriter(tmp_path / "store", 61)
    writer.write(np.random.default_rng(0).integers(0, 61, 1003), 2000)
    writer.close()
    return TokenStore.open(tmp_path / "store")


def test_a_model_that_knows_nothing_has_perplexity_v() -> None:
    """Uniform scores over V tokens: ln(V) nats, perplexity V, and bits per byte from the number of bytes."""
    report = evaluate(Guess(50), [batch([[1, 2], [3, 4]]), batch([[5]])], num_bytes=10)
    assert report["loss"] == pytest.approx(math.log(50))
    assert report["perplexity"] == pytest.approx(50)
    assert report["bits_per_byte"] == pytest.approx(5 * math.log2(50) / 10)
    assert report["tokens"] == 5


def test_text_that_is_hidden_behind_the_unknown_token_costs_what_spelling_it_costs() -> None:
    """Five targets, two of them unknown: 32 bits more for each. Where it is not known what they hide: no number."""
    batches = [batch([[1, 2], [2, 4]]), batch([[5]])]
    report = evaluate(Guess(50), batches, num_bytes=10, unknown=Unknown(2, 32.0))
    assert report["bits_per_byte"] == pytest.approx((5 * math.log2(50) + 2 * 32) / 10)
    assert report.keys() == evaluate(Guess(50), batches, num_bytes=10).keys()
    assert "bits_per_byte" not in evaluate(Guess(50), batches, num_bytes=10, unknown=Unknown(2, math.inf))
    assert "bits_per_byte" in evaluate(Guess(50), batches, num_bytes=10, unknown=Unknown(7, math.inf))


def test_every_target_weighs_the_same() -> None:
    """Batches of 1, 3 and 0 counted targets: means over 4 targets, not over batches; what is ignored counts nowhere."""
    model = Guess(4, score=math.log(3))  # p(0) = 3/6, p(other) = 1/6
    batches = [batch([[0, IGNORED], [IGNORED, IGNORED]]), batch([[1, 0, 2]]), batch([[IGNORED]])]
    report = evaluate(model, batches)
    assert report["loss"] == pytest.approx((2 * math.log(2) + 2 * math.log(6)) / 4, rel=1e-6)
    assert report["accuracy"] == 0.5
    assert report["tokens"] == 4


NUMBERS = {
    "numbers": (True, 10**3),
    "numbers of numpy": (np.float32(1), np.int64(1000)),
    "tensors": (torch.tensor(1), torch.tensor(1000.0)),
    "tensors of several elements": (torch.tensor([[0.25], [0.75]]), torch.full((4,), 250)),
}


@pytest.mark.parametrize("pair", NUMBERS.values(), ids=NUMBERS)
def test_what_a_metric_may_return(pair: tuple[Any, Any]) -> None:
    """Any real numbers, and tensors, whose elements are summed: 2 batches of 1 over 1,000 each are 0.001."""
    report = evaluate(Guess(5), [batch([[1]]), batch([[2]])], {"m": lambda logits, batch: pair})
    assert report["m"] == pytest.approx(0.001)


@pytest.mark.parametrize("value", [None, "1", [1], np.ones(2), 1j, torch.tensor(1j), 10**400], ids=str)
def test_what_a_metric_may_not_return(value: Any) -> None:
    """Each is an error of the caller (2), wherever in the pair it is."""
    for pair, part in (((value, 1), "sum"), ((1, value), "count")):
        with pytest.raises(ConfigError, match=rf"the metric m returned .+ as its {part}: \(sum, count\) are numbers"):
            evaluate(Guess(5), [batch([[1]])], {"m": lambda logits, batch, pair=pair: pair})


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_the_batch_size_does_not_matter(store: TokenStore, batch_size: int) -> None:
    """Perplexity over a whole split is the same number in batches of any size, and that of one pass over all rows."""
    model, rows = small_model(), Rows(store, 24)
    report = evaluate(model, eval_batches(rows, batch_size), num_bytes=store.num_bytes)
    tokens, targets = (torch.from_numpy(array) for array in rows.read(np.arange(len(rows))))
    with torch.no_grad():
        nats = nn.functional.cross_entropy(model(tokens).double().flatten(0, 1), targets.flatten(), reduction="sum")
    assert report["loss"] == pytest.approx(nats.item() / 1002, rel=1e-6)
    assert report["perplexity"] == pytest.approx(math.exp(nats.item() / 1002), rel=1e-6)
    assert report["bits_per_byte"] == pytest.approx(nats.item() / math.log(2) / 2000, rel=1e-6)
    assert report["tokens"] == 1002


def test_shares_of_several_processes_add_up(store: TokenStore) -> None:
    """Sums reduced over two ranks give the report of one process."""
    model, rows = small_model(), Rows(store, 24)
    alone = evaluate(model, eval_batches(rows, 4), num_bytes=2000)
    sent: list[list[float]] = [[], []]
    for rank in (0, 1):

        def send(value: float, rank: int = rank) -> float:
            sent[rank].append(value)
            return value

        evaluate(model, eval_batches(rows, 4, world_size=2, rank=rank), num_bytes=2000, reduce=send)
    totals: Iterator[float] = iter([sum(pair) for pair in zip(*sent, strict=True)])
    shared = evaluate(model, eval_batches(rows, 4, world_size=2), num_bytes=2000, reduce=lambda _: next(totals))
    assert shared == pytest.approx(alone, rel=1e-9)


def test_own_metrics_are_sums_over_counts() -> None:
    """A metric may return tensors or numbers; its mean is over its own count, and NaN where that is zero."""

    def share_of_ones(logits: Tensor, given: Batch) -> tuple[Tensor, Tensor]:
        return (given.targets == 1).sum(), (given.targets >= 0).sum()

    def rows(logits: Tensor, given: Batch) -> tuple[float, float]:
        return float(logits.shape[0]), 1.0

    batches = [batch([[1, 1], [0, 0]]), batch([[1, IGNORED]])]
    report = evaluate(Guess(3), batches, {"ones": share_of_ones, "rows": rows, "never": lambda *_: (0.0, 0)})
    assert report["ones"] == pytest.approx(3 / 5)
    assert report["rows"] == 1.5
    assert math.isnan(report["never"])
    with pytest.raises(ConfigError, match="the metric name loss is built in"):
        evaluate(Guess(3), batches, {"loss": rows})


def test_a_hopeless_loss_has_infinite_perplexity() -> None:
    """e^5000 is no float; the report says infinity instead of failing."""
    report = evaluate(Guess(3, score=5000.0), [batch([[1, 2]])])
    assert report["loss"] == pytest.approx(5000) and report["perplexity"] == math.inf


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_as_it_was(store: TokenStore, mode: bool) -> None:
    """Dropout is off while measuring, the mode is back afterwards, even after an error, and there are no gradients."""
    model = small_model(dropout=0.5).train(mode)
    batches = eval_batches(Rows(store, 24), 8)
    assert evaluate(model, batches) == evaluate(model, batches)
    assert model.training == mode
    with pytest.raises(ConfigError, match="the metric broken failed: ZeroDivisionError"):
        evaluate(model, batches, {"broken": lambda *_: (1 / 0, 1)})
    assert model.training == mode and all(parameter.grad is None for parameter in model.parameters())


def test_an_interrupt_stops_it_between_batches(store: TokenStore) -> None:
    """No report of half the data: true raises, and what `interrupted` raises itself passes through."""
    seen: list[int] = []
    with pytest.raises(Interrupted):
        evaluate(
            small_model(), eval_batches(Rows(store, 24), 8), interrupted=lambda: len(seen) == 2, progress=seen.append
        )
    assert seen == [8 * 24, 16 * 24]


def test_nothing_to_count_is_an_error() -> None:
    """Zero targets have no mean."""
    for batches in ([], [batch([[IGNORED]])]):
        with pytest.raises(DataError, match="nothing to evaluate"):
            evaluate(Guess(3), batches)


def test_documents_are_measured_apart(tmp_path: Path) -> None:
    """With masked documents the loss of two documents in one row is that of each alone."""
    writer = ShardWriter(tmp_path / "store", 61, eos_id=60)
    documents = [np.array([5, 7, 9, 11]), np.array([2, 4, 6, 8, 10])]
    for ids in documents:
        writer.write(ids, ids.size)
        end_document(writer)
    writer.close()
    model, marked = small_model(architecture="gpt2"), TokenStore.open(tmp_path / "store")
    report = evaluate(model, eval_batches(Rows(marked, 24, mask_documents=True), 1))
    first, second = ([*ids.tolist(), 60] for ids in documents)
    nats = 0.0
    for tokens, targets in ((first, [*first[1:], second[0]]), (second[:-1], second[1:])):
        with torch.no_grad():
            logits = model(torch.tensor([tokens]))[0].double()
        nats += nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="sum").item()
    assert report["loss"] == pytest.approx(nats / 10, rel=1e-6)

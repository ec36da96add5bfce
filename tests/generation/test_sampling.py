"""Choosing a token: each filter against its definition, and against transformers' own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.errors import ConfigError, NonFiniteError
from textmill.generation.sampling import (
    NOT_FINITE,
    Sampling,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    most_likely,
    penalise_repetition,
    sample,
    sample_unread,
)

HIDDEN = float("-inf")


def scores(seed: int, rows: int = 5, vocab: int = 40) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 3


def kept(logits: torch.Tensor) -> list[int]:
    return (logits[0] != HIDDEN).nonzero().flatten().tolist()


def test_top_p_keeps_the_token_that_crosses() -> None:
    """Of .5, .3, .15, .05 the nucleus of .7 is the first two, of .5 the first alone, and of .9 three."""
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    assert kept(keep_top_p(logits, 0.9)) == [0, 1, 3]
    assert kept(keep_top_p(logits, 0.7)) == [1, 3]
    assert kept(keep_top_p(logits, 0.45)) == [1]
    assert kept(keep_top_p(logits, 1e-9)) == [1]


def test_the_other_filters_by_hand() -> None:
    """Top-k keeps k tokens, or all there are; min-p those within its factor of the likeliest."""
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    assert kept(keep_top_k(logits, 2)) == [1, 3]
    assert kept(keep_top_k(logits, 9)) == [0, 1, 2, 3]
    assert kept(keep_min_p(logits, 0.25)) == [0, 1, 3]
    assert kept(keep_min_p(logits, 1.0)) == [1]
    assert kept(keep_min_p(logits, 0.0)) == [0, 1, 2, 3]


def test_a_repeated_token_is_less_likely_whatever_its_sign() -> None:
    """Positive scores are divided, negative ones multiplied; a token that occurred twice is penalised once."""
    logits = torch.tensor([[2.0, -2.0, 1.0, 0.0]])
    penalised = penalise_repetition(logits, torch.tensor([[0, 1, 0, 0]]), 2.0)
    assert penalised.tolist() == [[1.0, -4.0, 1.0, 0.0]]
    assert logits.tolist() == [[2.0, -2.0, 1.0, 0.0]]


@given(seed=st.integers(0, 10**6), p=st.floats(0.01, 0.99), k=st.integers(1, 60))
@settings(deadline=None, max_examples=40)
def test_filters_are_those_of_transformers(seed: int, p: float, k: int) -> None:
    """For random scores every filter hides the same tokens as transformers' processor of that name."""
    process: Any = pytest.importorskip("transformers.generation.logits_process")
    logits = scores(seed)
    seen = torch.randint(40, (5, 12), generator=torch.Generator().manual_seed(seed))
    pairs = [
        (keep_top_k(logits, k), process.TopKLogitsWarper(k)),
        (keep_top_p(logits, p), process.TopPLogitsWarper(p)),
        (keep_min_p(logits, p), process.MinPLogitsWarper(p)),
        (penalise_repetition(logits, seen, 1 + p), process.RepetitionPenaltyLogitsProcessor(1 + p)),
    ]
    for ours, processor in pairs:
        torch.testing.assert_close(ours, processor(seen, logits.clone()))


def test_draws_follow_the_probabilities() -> None:
    """Over evenly spread draws every token comes up as often as the softmax says; temperature sharpens it."""
    logits = scores(3, rows=1, vocab=6)
    draws = torch.arange(0.5, 20000) / 20000
    for temperature in (0.5, 1.0, 2.0):
        tokens = sample(logits.expand(20000, -1), Sampling(temperature=temperature), draws)
        share = torch.bincount(tokens, minlength=6) / 20000
        torch.testing.assert_close(share, (logits[0] / temperature).softmax(-1), atol=2e-4, rtol=0)


@given(seed=st.integers(0, 10**6), uniform=st.floats(0, 1, exclude_max=True), p=st.floats(0.05, 1))
@settings(deadline=None, max_examples=60)
def test_a_hidden_token_is_never_drawn(seed: int, uniform: float, p: float) -> None:
    """Whatever the draw, the token has a finite score."""
    logits = keep_top_p(scores(seed, rows=1), p)
    token = int(draw(logits, torch.tensor([uniform], dtype=torch.float64)))
    assert logits[0, token] > HIDDEN


@pytest.mark.parametrize("vocab", [1024, 1025, 1088, 8192])
def test_large_vocabularies_are_drawn_from_alike(vocab: int) -> None:
    """Draws by blocks, or token by token, select what NumPy's running sum of exact probabilities does."""
    logits = scores(5, rows=1, vocab=vocab)
    logits[0, ::3] = HIDDEN
    probabilities = np.exp(logits[0].double().numpy())
    summed = probabilities.cumsum() / probabilities.sum()
    uniforms = torch.rand(3000, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    expected = summed.searchsorted(uniforms.numpy(), side="right")
    near = np.abs(summed[:, None] - uniforms.numpy()).min(0) < 1e-6  # a boundary, where rounding decides
    tokens = draw(logits.expand(3000, -1), uniforms).numpy()
    assert near.mean() < 0.05 and (tokens == expected)[~near].all()
    assert np.isfinite(logits[0].numpy()[tokens]).all()


@pytest.mark.parametrize("vocab", [8, 2000])
@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_range_draw_no_hidden_token(vocab: int, uniform: float) -> None:
    """The smallest draw takes the first token that is not hidden, the largest the last one."""
    logits = torch.full((1, vocab), HIDDEN)
    logits[0, 3], logits[0, vocab - 3] = 0.0, 1.0
    token = int(draw(logits, torch.tensor([uniform], dtype=torch.float64)))
    assert token == (3 if uniform == 0 else vocab - 3)


def test_of_equal_scores_the_first_is_taken() -> None:
    """Greedy choice has one answer, whatever the size of the vocabulary."""
    logits = torch.zeros(3, 10_000)
    logits[0, [7, 9000]] = logits[1, [4097, 4098]] = 5.0
    logits[2] = -1.0
    assert most_likely(logits).tolist() == [7, 4097, 0]


def test_temperature_zero_takes_the_likeliest() -> None:
    """Zero temperature ignores the draw and the filters, and still heeds the penalty."""
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    assert sample(logits, Sampling(temperature=0, top_k=1), torch.tensor([0.99])).tolist() == [1]
    penalised = Sampling(temperature=0, repetition_penalty=2.0)
    assert sample(logits, penalised, torch.zeros(1), torch.tensor([[1]])).tolist() == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "1"},
        {"temperature": True},
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.nan},
        {"repetition_penalty": None},
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    """One line that names the setting and what it must be."""
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} must be "):
        Sampling(**wrong)


@pytest.mark.parametrize("broken", [math.nan, math.inf, HIDDEN])
def test_scores_that_are_not_finite_are_an_error(broken: float) -> None:
    """A model that diverged says so instead of writing noise."""
    with pytest.raises(NonFiniteError):
        sample(torch.full((1, 4), broken), Sampling(), torch.zeros(1))


@given(seed=st.integers(0, 10**6), broken=st.sampled_from([math.nan, math.inf, HIDDEN]))
@settings(deadline=None, max_examples=30)
def test_what_is_read_later_says_which_scores_were_not_finite(seed: int, broken: float) -> None:
    """The ids are those of `sample`; a row without finite scores has any id to continue with, and -1 to read."""
    logits = scores(seed, vocab=2000)
    uniforms = torch.rand(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sampling = Sampling(0.9, 50, 0.9, 0.01)
    expected = sample(logits, sampling, uniforms)
    for found in sample_unread(logits, sampling, uniforms):
        assert torch.equal(found, expected)
    logits[2] = broken
    for chosen in (sampling, Sampling(temperature=0), Sampling()):
        ids, unread = sample_unread(logits, chosen, uniforms)
        assert 0 <= int(ids[2]) < 2000 and unread[2] == NOT_FINITE
        others = [0, 1, 3, 4]
        assert torch.equal(ids[others], sample(logits[others], chosen, uniforms[others]))
        assert torch.equal(unread[others], ids[others])

"""From scores to a token: pure functions of logits.

Letters: N sequences, V tokens in the vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from textmill.errors import ConfigError, NonFiniteError

NOT_FINITE = -1
"""In place of an id: the scores of the sequence were not finite."""

_HIDDEN = float("-inf")
_BLOCK = 64
_SUMMED_AT_ONCE = 1024
"""Vocabularies up to this size are summed token by token."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The filters apply in the order of this list, as in transformers.

    repetition_penalty: tokens that occurred become less likely by this factor (1: no penalty).
    temperature: divides the logits; 0 takes the most likely token.
    top_k: only the k most likely tokens. top_p: only the most likely tokens that together reach probability p.
    min_p: only tokens at least min_p times as likely as the most likely one.

    Raises ConfigError for values outside their range, naming the setting.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, lambda t: t >= 0, "0 (always the most likely token) or more")
        _check("repetition_penalty", self.repetition_penalty, lambda f: f > 0, "above 0 (1: no penalty)")
        if self.top_k is not None:
            _check("top_k", self.top_k, lambda k: k >= 1 and int(k) == k, "a whole number of at least 1")
        if self.top_p is not None:
            _check("top_p", self.top_p, lambda p: 0 < p <= 1, "above 0 and at most 1")
        if self.min_p is not None:
            _check("min_p", self.min_p, lambda p: 0 <= p <= 1, "between 0 and 1")


def _check(name: str, value: object, fits: Callable[[float], bool], meaning: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not fits(value):  # type: ignore[arg-type]
        raise ConfigError(f"{name} must be {meaning}, not {value!r}")


def sample(logits: Tensor, sampling: Sampling, uniforms: Tensor, seen: Tensor | None = None) -> Tensor:
    """Return one token id per sequence, (N,).

    Args:
        logits: (N, V).
        sampling: how to choose.
        uniforms: (N,) draws from [0, 1), one per sequence; the same draw gives the same token. Unused at temperature 0.
        seen: ids (N, T) that occurred so far, for the repetition penalty.

    Raises:
        NonFiniteError: a score is NaN, or no token has a finite score.
    """
    logits = logits.float()
    if not all(map(math.isfinite, logits.amax(-1).tolist())):
        raise not_finite()
    return _chosen(logits, sampling, uniforms, seen)


def sample_unread(
    logits: Tensor, sampling: Sampling, uniforms: Tensor, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the ids of `sample` twice without waiting for the device, (N,): to continue with, and to read later.

    A sequence whose scores are not finite has NOT_FINITE among those to read, and any id to continue with.
    """
    logits = logits.float()
    finite = logits.amax(-1).isfinite()  # (N,)
    # Nothing can be drawn from NaN: the id could lie outside the vocabulary, which is the end of a CUDA context.
    ids = _chosen(logits.masked_fill(~finite[:, None], 0.0), sampling, uniforms, seen)
    return ids, ids.masked_fill(~finite.to(ids.device), NOT_FINITE)


def not_finite() -> NonFiniteError:
    """Return the error for scores that nothing can be chosen from."""
    return NonFiniteError("the model's logits are not finite: its weights are damaged, or training diverged")


def _chosen(logits: Tensor, sampling: Sampling, uniforms: Tensor, seen: Tensor | None) -> Tensor:
    if sampling.repetition_penalty != 1.0 and seen is not None:
        logits = penalise_repetition(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return most_likely(logits)
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None and sampling.top_p < 1:
        logits = keep_top_p(logits, sampling.top_p)
    if sampling.min_p:
        logits = keep_min_p(logits, sampling.min_p)
    return draw(logits, uniforms)


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Return logits in which scores of the tokens in `seen` (N, T) are divided by `penalty`, negative ones multiplied.

    Both make the token less likely; dividing a negative score would make it more likely (Keskar et al. 2019,
    arXiv:1909.05858, section 4.1, with the sign taken into account).
    """
    scores = logits.gather(-1, seen)  # (N, T)
    scores = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits.scatter(-1, seen, scores)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Return logits in which all but the k largest of each row are -inf; ties with the k-th stay."""
    k = min(int(k), logits.shape[-1])
    smallest = logits.topk(k, -1).values[..., -1:]
    return logits.masked_fill(logits < smallest, _HIDDEN)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Return logits that keep only the most likely tokens whose probabilities together reach `p`.

    The token that crosses `p` stays, so at least one is always kept (Holtzman et al. 2020, arXiv:1904.09751, eq. 2).
    """
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    before = ordered.softmax(-1).cumsum(-1).roll(1, -1)  # probability of all more likely tokens
    before[..., 0] = 0.0
    hidden = torch.empty_like(logits, dtype=torch.bool).scatter_(-1, order, before >= p)
    return logits.masked_fill(hidden, _HIDDEN)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Return logits with -inf for tokens less likely than `p` times the best one (arXiv:2407.01082, section 3)."""
    if p <= 0:
        return logits
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(p), _HIDDEN)


def most_likely(logits: Tensor) -> Tensor:
    """Return the token with the highest score, (N,)."""
    if logits.device.type == "cpu":  # NumPy compares many scores at once, which PyTorch's argmax does not
        return torch.from_numpy(logits.detach().numpy().argmax(-1))
    return logits.argmax(-1)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Return the token at which the summed probabilities pass the sequence's draw, (N,)."""
    device = torch.device("cpu") if logits.device.type == "mps" else logits.device  # no float64 there
    logits = logits.to(device)
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()  # (N, V)
    uniforms = uniforms.to(device).double()[:, None]
    if logits.shape[-1] <= _SUMMED_AT_ONCE:
        summed = weights.cumsum(-1, dtype=torch.float64)
        return _passes(summed, uniforms * summed[:, -1:]).squeeze(-1)
    # First the block of tokens in which the draw lies, then the token in it: sums of blocks are much faster than a
    # running sum, and the result is the same.
    weights = F.pad(weights, (0, -weights.shape[-1] % _BLOCK)).unflatten(-1, (-1, _BLOCK))  # (N, V/64, 64)
    blocks = weights.sum(-1, dtype=torch.float64)
    summed = blocks.cumsum(-1)
    target = uniforms * summed[:, -1:]
    block = _passes(summed, target)  # (N, 1)
    target = target - (summed - blocks).gather(-1, block)
    inside = weights.gather(1, block[..., None].expand(-1, -1, _BLOCK)).squeeze(1).cumsum(-1, dtype=torch.float64)
    return (block * _BLOCK + _passes(inside, target)).squeeze(-1)


def _passes(summed: Tensor, target: Tensor) -> Tensor:
    """Return the first index at which sums (N, M) are above target (N, 1), and never one that adds nothing, (N, 1)."""
    below_total = torch.nextafter(summed[:, -1:], summed.new_zeros(()))
    return torch.searchsorted(summed, torch.minimum(target, below_total), right=True)

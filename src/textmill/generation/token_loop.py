"""Generate token by token: compute the next-token logits, choose a token, repeat.

A model sees at most `max_seq_len` tokens. Which part of a longer sequence it sees is decided by `window_start`, a
function of the length alone, so that the result does not depend on the cache.

Letters: N sequences of one length, T tokens so far, V tokens in the vocabulary.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from textmill.errors import ConfigError
from textmill.generation.sampling import Sampling, sample
from textmill.model.cross_entropy import logits_of
from textmill.model.one_position import OnePosition, can_step

_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: distributes the seeds of neighbouring sequences over the whole range."""


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop_ids: Collection[int] = (),
    banned_ids: Collection[int] = (),
    seed: int | None = None,
    use_cache: bool = True,
    interrupted: Callable[[], bool | None] | None = None,
) -> Iterator[list[int | None]]:
    """Yield one list per step: the next id of every prompt, or None if the sequence has ended.

    A sequence ends at `max_new_tokens` or at an id of `stop_ids`, which is not yielded; the iteration ends with the
    last sequence, or when `interrupted()`, called before every step, returns true. The arguments are checked at once,
    before the first step. The sequence at index i has its own random generator, seeded by (seed, i), so it does not
    depend on the number of sequences.

    Args:
        model: a Decoder, or any module from ids (N, T) to logits (N, T, V) or an object with `.logits`. It is switched
            to evaluation mode for the steps and back.
        prompts: ids; at least one each, of any lengths.
        max_new_tokens: most new ids per sequence.
        temperature, top_k, top_p, min_p, repetition_penalty: see `Sampling`.
        stop_ids: ids that end a sequence.
        banned_ids: ids that are never chosen.
        seed: None gives different results every time.
        use_cache: keep keys and values of earlier positions; off only for comparison.
        interrupted: see above.

    Raises:
        ConfigError: an argument is out of range, a prompt is empty, or an id is not in the model's vocabulary.
        NonFiniteError: the logits are not finite.
    """
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    stops, banned = frozenset(stop_ids), tuple(banned_ids)
    return decode(model, prompts, Decoding(sampling, max_new_tokens, stops, banned, seed, use_cache, interrupted))


@dataclass(frozen=True)
class Decoding:
    """How prompts are continued; the fields are the arguments of `generate`. Raises ConfigError when out of range."""

    sampling: Sampling
    max_new_tokens: int
    stop_ids: frozenset[int] = frozenset()
    banned_ids: tuple[int, ...] = ()
    seed: int | None = None
    use_cache: bool = True
    interrupted: Callable[[], bool | None] | None = None

    def __post_init__(self) -> None:
        limit, seed = self.max_new_tokens, self.seed
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise ConfigError(f"max_new_tokens must be a whole number of at least 0, not {limit!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ConfigError(f"seed must be a whole number, not {seed!r}")

    def generators(self, count: int) -> list[torch.Generator]:
        """Return the random generator of each sequence, seeded by (seed, index)."""
        first = secrets.randbits(63) if self.seed is None else self.seed
        return [torch.Generator().manual_seed((first + index * _GOLDEN) % 2**63) for index in range(count)]


def decode(model: nn.Module, prompts: Sequence[Sequence[int]], decoding: Decoding) -> Iterator[list[int | None]]:
    """Check the prompts, and return what `generate` returns."""
    _check_prompts(prompts, getattr(getattr(model, "config", None), "vocab_size", None))
    # Sequences of one length advance together, so nothing has to be padded.
    by_length: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(index)
    if not prompts:
        return iter(())
    groups = [_Group(model, indices, [prompts[i] for i in indices], decoding) for indices in by_length.values()]
    return _steps(groups, len(prompts), decoding)


def _steps(groups: list[_Group], count: int, decoding: Decoding) -> Iterator[list[int | None]]:
    alive = [True] * count
    draws = _draws(decoding.generators(count))
    for _ in range(decoding.max_new_tokens):
        if decoding.interrupted is not None and decoding.interrupted():
            return
        step: list[int | None] = [None] * count
        uniforms = next(draws)
        for group in groups:
            if not any(alive[index] for index in group.indices):
                continue
            own = uniforms if len(groups) == 1 else uniforms[group.indices]
            tokens = sample(group.logits(), decoding.sampling, own, group.tokens)
            group.append(tokens)
            for index, token in zip(group.indices, tokens.tolist()):
                alive[index] = alive[index] and token not in decoding.stop_ids
                step[index] = token if alive[index] else None
        if not any(alive):
            return
        yield step


def _draws(generators: list[torch.Generator]) -> Iterator[Tensor]:
    """Yield one number from [0, 1) per generator, (N,), again and again; they are drawn 64 at a time."""
    while generators:
        rows = [torch.rand(64, generator=generator, dtype=torch.float64) for generator in generators]
        yield from torch.stack(rows, 1).unbind()


class _Group:
    """Sequences of one length with their key-value cache."""

    def __init__(self, model: nn.Module, indices: list[int], prompts: list[Sequence[int]], decoding: Decoding) -> None:
        self.model = model
        # Every step has another shape, and a model that was compiled in place would be compiled again for each.
        compiled = getattr(model, "_compiled_call_impl", None) is not None
        self.compute = model.forward if compiled else model
        self.indices = indices
        self.context = getattr(getattr(model, "config", None), "max_seq_len", None)
        self.banned_ids = list(decoding.banned_ids)
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        self.length = len(prompts[0])
        total = self.length + decoding.max_new_tokens
        self._tokens = torch.empty(len(prompts), total, dtype=torch.int64, device=self.device)
        self._tokens[:, : self.length] = torch.tensor([list(map(int, prompt)) for prompt in prompts])
        self.start = 0
        new_cache = getattr(model, "new_cache", None) if decoding.use_cache else None
        self.cache = new_cache(len(prompts), min(total, self.context or total)) if new_cache else None
        self.decoder = model if can_step(model) else None
        self.step: OnePosition | None = None

    @property
    def tokens(self) -> Tensor:
        """All ids so far, (N, T)."""
        return self._tokens[:, : self.length]

    def append(self, tokens: Tensor) -> None:
        """Append one id to each sequence."""
        self._tokens[:, self.length] = tokens
        self.length += 1

    def logits(self) -> Tensor:
        """Return the scores of the next token, (N, V)."""
        start = window_start(self.length, self.context)
        if self.cache is not None and start != self.start:
            self.cache.clear()  # the cached positions attended to tokens that are outside the window now
        self.start = start
        step = self._one_position()
        logits = self._from_model() if step is None else step(self._tokens[:, self.length - 1])
        if self.banned_ids:
            with torch.inference_mode(logits.is_inference()):
                logits[:, self.banned_ids] = float("-inf")
        return logits

    def _one_position(self) -> OnePosition | None:
        """Return the short way to the next scores, where all but the newest token are in the cache."""
        decoder, cache = self.decoder, self.cache
        if decoder is None or cache is None or cache.length == 0 or self.start + cache.length != self.length - 1:
            return None
        if torch.is_autocast_enabled(self.device.type):
            return None
        if self.step is None:
            self.step = OnePosition(decoder, cache)
        return self.step

    def _from_model(self) -> Tensor:
        training = self.model.training
        if training:
            self.model.eval()
        try:
            with torch.no_grad():
                if self.cache is not None:
                    logits = self._append_to(self.cache, self.tokens[:, self.start + self.cache.length :])
                else:
                    logits = self.compute(self.tokens[:, self.start :])
        finally:
            if training:
                self.model.train()
        return logits_of(logits)[:, -1]  # (N, V)

    def _append_to(self, cache: Any, unread: Tensor) -> Any:
        """Return the model's output for `unread` (N, T); samples of one prompt are read once."""
        decoder = self.decoder
        if decoder is None or cache.length > 0 or not bool((unread == unread[:1]).all()):
            return self.compute(unread, cache=cache, last_only=True)
        one = decoder.new_cache(1, unread.shape[1])
        logits = self.compute(unread[:1], cache=one, last_only=True)
        cache.repeat(one)
        return logits.repeat(len(unread), 1, 1)


def window_start(length: int, context: int | None) -> int:
    """Return the index of the first token that the model sees of `length` tokens.

    A full context drops its older half and fills up again: most steps then add one position to the cache, and one
    in context/2 computes the whole window. The last context/2 tokens are always seen.
    """
    if context is None or length <= context:
        return 0
    stride = max(1, context // 2)
    return -(-(length - context) // stride) * stride


def _check_prompts(prompts: Sequence[Sequence[int]], vocab_size: int | None) -> None:
    """Raise ConfigError if a prompt is empty or has an id outside the model's vocabulary."""
    for index, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ConfigError(f"prompt {index} is empty: it needs at least one token")
        outside = [token for token in prompt if token < 0 or (vocab_size is not None and token >= vocab_size)]
        if outside:
            raise ConfigError(
                f"prompt {index} contains the id {outside[0]}, and the model accepts 0 to {(vocab_size or 0) - 1}"
            )

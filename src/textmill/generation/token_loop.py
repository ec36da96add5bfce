"""Generate token by token: compute the next-token logits, choose a token, repeat.

A model sees at most `max_seq_len` tokens. Which part of a longer sequence it sees is decided by `window_start`, a
function of the length alone, so that the result does not depend on the cache.

Letters: N sequences of one length, T tokens so far, V tokens in the vocabulary.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from textmill.errors import ConfigError
from textmill.generation.ids_to_host import ids_to_host
from textmill.generation.sampling import NOT_FINITE, Sampling, not_finite, sample, sample_unread
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
    depend on the number of sequences. An NVIDIA GPU computes the next step already while one is read.

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
    generators = decoding.generators(len(prompts))
    groups = [
        _Group(model, indices, [prompts[i] for i in indices], [generators[i] for i in indices], decoding)
        for indices in by_length.values()
    ]
    return _steps(groups, len(prompts), decoding)


def runs_ahead(device: torch.device) -> bool:
    """Whether `device` computes a step while the ids of the step before it are read.

    Then it never waits for the host, and has computed one step for nothing where all sequences have ended. On an Apple
    GPU the host has a part in every choice: float64 is not available there.
    """
    return device.type == "cuda"


def _steps(groups: list[_Group], count: int, decoding: Decoding) -> Iterator[list[int | None]]:
    ahead = int(runs_ahead(groups[0].device))
    unread: deque[list[tuple[_Group, Callable[[], list[int]]]]] = deque()
    failed: Exception | None = None
    for number in range(decoding.max_new_tokens):
        if decoding.interrupted is not None and decoding.interrupted():
            return
        while failed is None and len(unread) <= ahead and number + len(unread) < decoding.max_new_tokens:
            try:
                unread.append([(group, group.next_ids()) for group in groups if any(group.alive)])
            except Exception as error:  # of a step that may not be needed: the ones before it come first
                failed = error
        if failed is not None and not unread:
            try:
                raise failed
            finally:
                del failed  # its traceback has this frame and what is on the device: no cycle of the two
        step: list[int | None] = [None] * count
        for group, read in unread.popleft():
            if any(group.alive):  # not ended after the device was given the step
                group.end(read(), decoding.stop_ids, step)
        if not any(any(group.alive) for group in groups):
            return
        yield step


def _draws(generators: list[torch.Generator], device: torch.device) -> Iterator[Tensor]:
    """Yield one number from [0, 1) per generator, (N,), again and again; they are drawn 64 at a time."""
    while True:
        rows = torch.stack([torch.rand(64, generator=one, dtype=torch.float64) for one in generators], 1)
        if device.type == "cuda":  # an Apple GPU has no float64
            rows = rows.pin_memory().to(device, non_blocking=True)
        yield from rows.unbind()


class _Group:
    """Sequences of one length with their key-value cache."""

    def __init__(
        self,
        model: nn.Module,
        indices: list[int],
        prompts: list[Sequence[int]],
        generators: list[torch.Generator],
        decoding: Decoding,
    ) -> None:
        self.model = model
        # Every step has another shape, and a model that was compiled in place would be compiled again for each.
        compiled = getattr(model, "_compiled_call_impl", None) is not None
        self.compute = model.forward if compiled else model
        self.indices = indices
        self.alive = [True] * len(indices)
        self.context = getattr(getattr(model, "config", None), "max_seq_len", None)
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        self.on_cpu = self.device.type == "cpu"
        banned = decoding.banned_ids
        self.banned_ids = torch.tensor(banned).to(self.device) if banned else None
        self.sampling = decoding.sampling
        self.draws = _draws(generators, self.device)
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

    def next_ids(self) -> Callable[[], list[int]]:
        """Append one id to each sequence; return what waits for them and gives them to the host.

        On a CPU, where they are computed at once, NonFiniteError is raised here.
        """
        logits, uniforms = self.logits(), next(self.draws)
        if self.on_cpu:
            ids = unread = sample(logits, self.sampling, uniforms, self.tokens)
        else:
            ids, unread = sample_unread(logits, self.sampling, uniforms, self.tokens)
        self._tokens[:, self.length] = ids
        self.length += 1
        return ids_to_host(unread)

    def end(self, ids: list[int], stop_ids: Collection[int], step: list[int | None]) -> None:
        """Write the ids of the sequences that are alive into `step`; those at an id of `stop_ids` end before it.

        Raises NonFiniteError if the scores of a sequence were not finite.
        """
        if NOT_FINITE in ids:
            raise not_finite()
        for at, token in enumerate(ids):
            if self.alive[at] and token in stop_ids:
                self.alive[at] = False
            if self.alive[at]:
                step[self.indices[at]] = token

    def logits(self) -> Tensor:
        """Return the scores of the next token, (N, V)."""
        start = window_start(self.length, self.context)
        if self.cache is not None and start != self.start:
            self.cache.clear()  # the cached positions attended to tokens that are outside the window now
        self.start = start
        step = self._one_position()
        logits = self._from_model() if step is None else step(self._tokens[:, self.length - 1])
        if self.banned_ids is not None:
            with torch.inference_mode(logits.is_inference()):
                logits.index_fill_(1, self.banned_ids.to(logits.device), float("-inf"))
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

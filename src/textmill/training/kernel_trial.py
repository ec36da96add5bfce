"""Which kernels a CPU is fastest with for this run's shapes, tried in half a second before the first step.

A layer of the model is trained on a micro-batch, or on as much of one as the time allows, in each of the ways that this
processor may be fast with. What is found is noted and used again by later runs of the same shape.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from textmill.config import Config, ModelConfig
from textmill.console.number_format import count
from textmill.machine.cpu_contention import contention_warning
from textmill.machine.kernel_choices import onednn_is_exact, set_onednn
from textmill.machine.kernel_notes import Finding, Kernels, note_finding, read_finding
from textmill.machine.precision import Precision, cpu_multiplies_bf16
from textmill.model.cross_entropy import cross_entropy_sum
from textmill.model.decoder import Decoder
from textmill.model.from_config import empty_model
from textmill.optim.orthogonalise import orthogonalise
from textmill.planning.parameter_count import count_parameters

BUDGET = 0.5
"""Seconds that the trials of a run should take at most."""

WORTH = 0.02
"""Share of a run's estimated time that its trials may take. A shorter run is not worth them."""

BETTER = 0.9
"""Share of the time so far that another way has to stay below: what is closer is noise."""

_AT_MOST = BUDGET / 10
"""Seconds that one trial should take on one thread: many threads may be slow just because the work is small."""

_LEAST_ROUNDS = 4
"""Times that each way is tried at least."""

_MOST_ENTRIES = 1024
"""Vocabulary of the trial's head at most: a larger one would be all that is timed."""


_MOST_WEIGHTS = 30_000_000
"""Weights of a layer, embedding and head above which nothing is tried: one pass takes longer than all trials may."""


@dataclass(frozen=True)
class Choice:
    """What a trial may choose between. precision, threads: not, if they were given. muon: whether Muon is used."""

    precision: bool
    threads: bool
    muon: bool


def try_kernels(config: Config, now: Kernels, choice: Choice, *, steps: float) -> tuple[Finding, float] | None:
    """Return the fastest kernels, and the seconds that finding them took: 0.0 if they were noted.

    config: with the model's shape settled. now: the kernels in force. steps: of the run, infinite if not known.
    The kernels in force afterwards are those from before. None: the run is too short, a layer is too large, or the
    machine is busy.
    """
    settings, model = config.training, config.model.resolved()
    shape = _shape(model, settings.batch_size)
    question = {"shape": shape, "now": vars(now), "choice": vars(choice)}
    noted = read_finding(question)
    if noted is not None:
        return noted, 0.0
    if contention_warning(now.threads) is not None:  # what is fastest beside other programs is chance
        return None
    layer = _one_layer(model)
    if count_parameters(layer).total > _MOST_WEIGHTS:
        return None
    started = time.perf_counter()
    try:
        step = Step(layer, settings.batch_size)
        step.grow(replace(now, threads=1))
        first = min(step(now), step(now))
        parts = model.num_layers * settings.gradient_accumulation_steps / step.share
        whole = min(first * parts * steps, settings.max_time or math.inf)
        if whole * WORTH < BUDGET:
            return None
        ways = ways_to_compute(now, choice)
        best, seconds = fastest(ways, step, started + 0.6 * BUDGET)
        saved = 1 - seconds[best] / seconds[now]
        if choice.threads and step.share == 1:
            more = [best, *fewer_threads(best)]
            best, seconds = fastest(more, step, started + 0.9 * BUDGET)
            ways += more[1:]
            saved = 1 - (1 - saved) * seconds[best] / seconds[more[0]]
        if choice.muon and cpu_multiplies_bf16():
            both = [replace(best, muon=name) for name in (now.muon, *({"fp32", "bf16"} - {now.muon}))]
            best, _ = fastest(both, Iteration(model), time.perf_counter() + 0.1 * BUDGET)
        finding = Finding(best, shape, len(ways), round(saved, 3))
    finally:
        _apply(now)
    note_finding(question, finding)
    return finding, time.perf_counter() - started


def _shape(model: ModelConfig, rows: int) -> str:
    heads = f"{model.num_heads}/{model.num_kv_heads} heads of {model.head_dim}"
    entries = count(model.vocab_size or 0)
    return (
        f"{model.architecture} {model.d_model}/{model.d_ff}, {heads}, {entries} entries, {rows} x {model.max_seq_len}"
    )


def _one_layer(model: ModelConfig) -> ModelConfig:
    """Return the shape with one layer, a head of few entries, and nothing that is drawn or computed twice."""
    small = model.clone()
    small.vocab_size, small.num_layers = min(model.vocab_size or 1, _MOST_ENTRIES), 1
    small.dropout = small.attention_dropout = 0.0
    small.gradient_checkpointing = False
    return small


def ways_to_compute(now: Kernels, choice: Choice) -> list[Kernels]:
    """Return the libraries and number formats that are as exact as they promise; those in force first."""
    ways = [now]
    if onednn_is_exact():
        ways.append(replace(now, onednn=not now.onednn))
    if choice.precision and cpu_multiplies_bf16():
        ways.append(replace(now, precision="fp32" if now.precision == "bf16" else "bf16"))
    return ways


def fewer_threads(now: Kernels) -> list[Kernels]:
    """Return the same with half of the threads, a quarter and so on: small products do not gain by many."""
    return [replace(now, threads=now.threads >> halvings) for halvings in range(1, now.threads.bit_length())]


def fastest(
    ways: list[Kernels], run: Callable[[Kernels], float], deadline: float
) -> tuple[Kernels, dict[Kernels, float]]:
    """Return the fastest of `ways`, and the best time of each; the first one unless another is clearly faster.

    They take turns until the deadline, so that what else the machine does falls on all of them.
    """
    for kernels in ways:
        run(kernels)  # the first call chooses kernels and fills caches
    seconds, rounds = dict.fromkeys(ways, math.inf), 0
    while rounds < _LEAST_ROUNDS or time.perf_counter() < deadline:
        for kernels in ways:
            seconds[kernels] = min(seconds[kernels], run(kernels))
        rounds += 1
    best = min(ways, key=seconds.__getitem__)
    return (best if seconds[best] < BETTER * seconds[ways[0]] else ways[0]), seconds


def _apply(kernels: Kernels) -> None:
    if torch.get_num_threads() != kernels.threads:
        torch.set_num_threads(kernels.threads)
    set_onednn(kernels.onednn)


class Step:
    """Forward and backward pass of one layer, the embedding and the head. share: of a micro-batch that is computed."""

    def __init__(self, shape: ModelConfig, rows: int) -> None:
        self.model = constant_model(shape)
        self._full = rows, shape.max_seq_len
        self._rows, self._length = 1, min(64, shape.max_seq_len)

    @property
    def share(self) -> float:
        rows, length = self._full
        return self._rows * self._length / (rows * length)

    def grow(self, kernels: Kernels) -> None:
        """Take as much of a micro-batch as fits into the time of a trial."""
        self(kernels)
        rows, length = self._full
        while self.share < 1 and self(kernels) < _AT_MOST / 2:
            if self._length < length:
                self._length = min(length, 2 * self._length)
            else:
                self._rows = min(rows, 2 * self._rows)

    def __call__(self, kernels: Kernels) -> float:
        _apply(kernels)
        entries = self.model.config.vocab_size or 1
        ids = torch.arange(self._rows * (self._length + 1)).remainder_(entries).view(self._rows, -1)  # (B, T + 1)
        started = time.perf_counter()
        with Precision(kernels.precision, "cpu").autocast():
            loss = cross_entropy_sum(self.model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        elapsed = time.perf_counter() - started
        self.model.zero_grad(set_to_none=True)
        return elapsed


class Iteration:
    """Muon's orthogonalisation of one matrix of the feed-forward block, or of a part of it if it is large."""

    def __init__(self, shape: ModelConfig) -> None:
        rows, columns = min(512, shape.d_model), min(1024, shape.d_ff or shape.d_model)
        self._matrix: Tensor = torch.linspace(-1, 1, rows * columns).view(1, rows, columns)

    def __call__(self, kernels: Kernels) -> float:
        _apply(kernels)
        started = time.perf_counter()
        orthogonalise(self._matrix, dtype=torch.bfloat16 if kernels.muon == "bf16" else torch.float32)
        return time.perf_counter() - started


def constant_model(shape: ModelConfig) -> Decoder:
    """Return a model whose weights are all the same: they do not change the time, and drawing them takes longer."""
    model = empty_model(shape)
    with torch.no_grad():
        parameters: Iterable[Tensor] = model.parameters()
        for parameter in parameters:
            parameter.fill_(0.01)
    return model.train()

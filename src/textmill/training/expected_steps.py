"""How many steps a run that is limited by time alone will take, measured before its first one.

Dropout and the learning rate of embeddings follow the epochs of a run, and are settled before anything is written.
"""

import time

import torch

from textmill.config import Config
from textmill.data.batches.loader import Batch
from textmill.engine.world import World
from textmill.machine.precision import Precision
from textmill.model.cross_entropy import loss_sums
from textmill.optim.optimizer_choice import MuonSettings, build_optimizer
from textmill.planning.run_length import Length
from textmill.training.kernel_trial import constant_model

_SHARE = 0.01
"""Share of the time limit that measuring should take at most, the first step not counted."""

_STEPS = 8
"""Steps that are measured at most: an even number, as Muon's steps are of two kinds."""


def expected_length(config: Config, length: Length, world: World, precision: Precision, muon: str) -> Length:
    """Return `length` with about the number of steps that the time limit has room for; all processes the same.

    A model of the run's shape is trained on zeros: forward, backward and optimizer, without reading and evaluation.
    muon: number format of Muon's iterations, fp32 or bf16. An optimizer of somebody else's is taken for AdamW.
    """
    limit = length.max_seconds
    assert limit is not None
    seconds = world.from_first(lambda: _seconds_per_step(config, world.device, precision, muon, _SHARE * limit))
    return length.planned(int(limit / seconds))


def _seconds_per_step(config: Config, device: torch.device, precision: Precision, muon: str, budget: float) -> float:
    settings = config.training
    name = "adamw" if ":" in settings.optimizer else settings.optimizer
    matrices = MuonSettings(2, dtype=torch.bfloat16 if muon == "bf16" else torch.float32)
    model = constant_model(config.model.resolved()).to(device)
    optimizer = build_optimizer(model, name, learning_rate=0.0, momentum=settings.momentum, muon=matrices)
    ids = torch.zeros(settings.batch_size, config.model.max_seq_len, dtype=torch.int64, device=device)  # (B, T)
    batch = Batch(ids, ids, ids.numel())

    def seconds() -> float:
        started = time.perf_counter()
        for _ in range(settings.gradient_accumulation_steps):
            with precision.autocast():
                loss, _ = loss_sums(model, batch)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device
        return time.perf_counter() - started

    first = seconds()
    if first > budget:
        return first
    deadline, taken = time.perf_counter() + budget, [seconds(), seconds()]
    while len(taken) < _STEPS and time.perf_counter() < deadline:
        taken += [seconds(), seconds()]
    return sum(taken) / len(taken)

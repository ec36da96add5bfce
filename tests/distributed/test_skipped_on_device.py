"""Weights that are divided among processes: a step that the flag of the loss scaler skips changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from multiprocessing.queues import Queue

import pytest
import torch
from torch import Tensor

from support.rank_processes import free_port, skip_without_fsdp
from support.small_models import random_tokens, small_model
from textmill.engine.fsdp import FSDPEngine
from textmill.engine.world import join_world, leave_world
from textmill.machine.precision import Precision
from textmill.optim.optimizer_choice import build_optimizer
from textmill.optim.skip_on_device import SGD, local


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_the_flag_skips_the_step_of_a_divided_model(name: str) -> None:
    """NaN gradients with the flag leave weights and state as they are; with the flag unset, steps are as usual."""
    skip_without_fsdp()
    context = multiprocessing.get_context("fork")
    answers: Queue[str] = context.Queue()
    port = free_port()
    processes = [context.Process(target=_rank, args=(rank, port, name, answers)) for rank in range(2)]
    for process in processes:
        process.start()
    said = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert said == ["", ""]


def _rank(rank: int, port: int, name: str, answers: Queue[str]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    try:
        _compare(name)
        answers.put("")
    except BaseException:
        answers.put(traceback.format_exc())


def _compare(name: str) -> None:
    world = join_world("cpu")
    engines = []
    for flagged in (False, True):
        model = small_model(architecture="llama").train()
        groups_of = torch.optim.SGD if not flagged else SGD

        def made(module: torch.nn.Module, kind: type = groups_of) -> torch.optim.Optimizer:
            if name == "sgd":
                return kind(module.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
            return build_optimizer(module, name, learning_rate=0.01, weight_decay=0.1)

        engines.append(FSDPEngine(model, made, Precision("fp32", "cpu"), world, compile=None))
    plain, flagged = engines
    tokens = random_tokens(4, 12)
    for step in range(4):
        for engine in engines:
            engine.backward(torch.nn.functional.cross_entropy(engine.model(tokens).flatten(0, 1), tokens.flatten()))
        if step == 1:  # one that is skipped
            before = _all(flagged)
            for parameter in flagged.module.parameters():
                local([parameter.grad])[0].fill_(torch.nan)  # type: ignore[list-item]
            flagged.optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
            flagged.optimizer.step()
            assert all(torch.equal(one, other) for one, other in zip(before, _all(flagged)))
            flagged.optimizer.zero_grad()
            flagged.backward(torch.nn.functional.cross_entropy(flagged.model(tokens).flatten(0, 1), tokens.flatten()))
        flagged.optimizer.found_inf = torch.zeros(())  # type: ignore[attr-defined]
        for engine in engines:
            engine.optimizer.step()
            engine.optimizer.zero_grad()
    for one, other in zip(_all(plain), _all(flagged)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    leave_world(world)


def _all(engine: FSDPEngine) -> list[Tensor]:
    """Return copies of this process's weights and of the state of the optimizer."""
    state = [value for parameter in engine.optimizer.state.values() for value in parameter.values()]
    return [tensor.detach().clone() for tensor in local([*engine.module.parameters(), *state])]

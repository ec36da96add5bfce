"""Gradients between steps, and what --layer-statistics makes of weights, gradients and outputs of each layer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import textmill as tm
from textmill.errors import ConfigError
from textmill.model import cross_entropy_sum
from textmill.report.html_page import render
from textmill.report.run_record import Record
from textmill.training.run import Run

SMALL: dict[str, Any] = {
    "tokenizer": "byte",
    "d_model": 16,
    "num_layers": 2,
    "num_heads": 2,
    "max_seq_len": 16,
    "dropout": 0.0,
    "batch_size": 4,
    "gradient_accumulation_steps": 2,
    "max_steps": 4,
    "logging_steps": 2,
    "sample_steps": 0,
    "val_split": 0,
    "optimizer": "adamw",
    "learning_rate": 1e-2,
    "precision": "fp32",
}


def _run(folder: Path, **settings: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "book.txt").write_text("The miller grinds corn, and the mill grinds on. " * 60)
    config = tm.load_config(
        SMALL,
        data=str(folder / "book.txt"),
        cache_dir=str(folder / "cache"),
        output_dir=str(folder / "run"),
        **settings,
    )
    return tm.assemble(config, quiet=True)


def gradients(model: torch.nn.Module, run: Run, step: int) -> dict[str, Tensor]:
    """By torch.autograd, of the mean over the whole batch of a step, counted from 0."""
    batches = run.loader.batches(step)
    loss = torch.stack([cross_entropy_sum(model(batch.tokens), batch.targets) for batch in batches]).sum()
    names, weights = zip(*model.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss / sum(batch.num_targets for batch in batches), weights)))


@pytest.mark.parametrize("max_norm", [0.0, 0.1])
def test_gradients_are_those_of_autograd(tmp_path: Path, max_norm: float) -> None:
    """After every step, on its batch, with the weights before it; clipped if that is asked for; then they are gone."""
    with _run(tmp_path, max_grad_norm=max_norm) as run:
        before = copy.deepcopy(run.model)
        for step in tm.steps(run, gradients=True):
            want = gradients(before, run, step.number - 1)
            norm = torch.cat([each.flatten() for each in want.values()]).norm()
            scale = min(1.0, max_norm / norm.item()) if max_norm else 1.0
            for name, weight in run.model.named_parameters():
                assert weight.grad is not None
                torch.testing.assert_close(weight.grad, scale * want[name], rtol=1e-4, atol=1e-7)
            before = copy.deepcopy(run.model)
        assert step.number == 4 and all(weight.grad is None for weight in run.model.parameters())


def test_they_are_cleared_unless_asked_for(tmp_path: Path) -> None:
    """And the weights at the end are the same bits either way, with and without statistics."""
    ends = []
    for number, (asked, statistics) in enumerate([(False, False), (True, False), (False, True)]):
        with _run(tmp_path / str(number), layer_statistics=statistics) as run:
            for _ in tm.steps(run, gradients=asked):
                assert (next(run.model.parameters()).grad is not None) == asked
            ends.append([weight.detach().clone() for weight in run.model.parameters()])
    assert all(torch.equal(one, other) for end in ends[1:] for one, other in zip(ends[0], end))


def test_statistics_are_root_mean_squares(tmp_path: Path) -> None:
    """Of weights after the step, gradients by autograd, outputs by a hook of the test; in steps with a report alone."""
    with _run(tmp_path, layer_statistics=True, max_grad_norm=0) as run:
        before, rows = copy.deepcopy(run.model), []
        for step in tm.steps(run):
            assert not any(module._forward_hooks for module in run.model.modules())
            if step.number == 2:
                row = step.measured()
                want = gradients(before, run, 1)
                seen = outputs(before, before.blocks[1], [batch.tokens for batch in run.loader.batches(1)])
                layer = {name: weight for name, weight in run.model.named_parameters() if ".layers.1." in name}
                assert row["weights/model.layers.1"] == pytest.approx(rms(list(layer.values())), rel=1e-5)
                assert row["gradients/model.layers.1"] == pytest.approx(rms([want[name] for name in layer]), rel=1e-4)
                assert row["outputs/model.layers.1"] == pytest.approx(rms(seen), rel=1e-5)
            elif step.number == 3:
                assert step.layers is None
            before, _ = copy.deepcopy(run.model), rows.append(step.layers)
    assert [each is not None for each in rows] == [False, True, False, True]


def outputs(model: torch.nn.Module, layer: torch.nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    seen: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        seen.append(output)

    with layer.register_forward_hook(keep):
        for tokens in inputs:
            model(tokens)
    return seen


def rms(tensors: list[Tensor]) -> float:
    return torch.cat([each.detach().flatten() for each in tensors]).square().mean().sqrt().item()


def test_they_are_in_the_log_and_on_the_page(tmp_path: Path) -> None:
    """Rows of steps.jsonl have eight of them for two layers, and the report draws three charts."""
    with _run(tmp_path, layer_statistics=True) as run:
        for step in tm.steps(run):
            tm.periodic_actions(run, step)
    rows = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert [len([name for name in row if "/" in name]) for row in rows] == [8, 8]
    assert set(rows[0]) >= {"weights/rest", "gradients/rest", "outputs/model.layers.0", "gradients/model.layers.1"}
    assert render(Record(tmp_path / "run")).count("root mean square") >= 3


def test_deepspeed_is_refused(tmp_path: Path) -> None:
    """Its gradients cannot be looked at."""
    with pytest.raises(ConfigError, match="layer_statistics needs gradients"):
        _run(tmp_path, layer_statistics=True, engine="deepspeed").__enter__()

"""An optimizer that was saved by parameter name and restored goes on as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from textmill.checkpoint.optimizer_state import flatten_optimizer, restore_optimizer
from textmill.checkpoint.safetensors_files import load_tensors, save_tensors
from textmill.errors import ResumeError
from textmill.optim.optimizer_choice import build_optimizer

Build = Callable[[nn.Module], Any]


class Model(nn.Module):
    """Two matrices, vectors, a tied head and one parameter that never gets a gradient."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, width)
        self.up = nn.Linear(width, 8)
        self.down = nn.Linear(8, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 9, bias=False)
        self.head.weight = self.embed.weight
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.down(torch.tanh(self.up(self.embed(ids))))))


def matrices(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.ndim == 2]


def vectors(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.ndim != 2]


OPTIMIZERS: dict[str, Build] = {
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=0.01),
    "adamw in groups": lambda m: torch.optim.AdamW(
        [{"params": matrices(m), "weight_decay": 0.1}, {"params": vectors(m), "weight_decay": 0.0, "lr": 0.02}]
    ),
    "adamw fused": lambda m: torch.optim.AdamW(m.parameters(), lr=0.01, fused=True),
    "adamw with names": lambda m: torch.optim.AdamW(m.named_parameters(), lr=0.01, amsgrad=True),
    "adam with a tensor rate": lambda m: torch.optim.Adam(m.parameters(), lr=torch.tensor(0.01), foreach=False),
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.01),
    "sgd with momentum": lambda m: torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9, nesterov=True),
    "muon": lambda m: torch.optim.Muon(matrices(m), lr=0.01),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda m: torch.optim.Adagrad(m.parameters(), lr=0.01),
    "adafactor": lambda m: torch.optim.Adafactor(m.parameters(), lr=0.01),
    "nadam": lambda m: torch.optim.NAdam(m.parameters(), lr=0.01),
}
if not hasattr(torch.optim, "Muon"):  # before PyTorch 2.9
    del OPTIMIZERS["muon"]


def train(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        ids = torch.randint(0, 9, (4, 5), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.roll(1, 1).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def same_bits(left: nn.Module, right: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.state_dict().values(), right.state_dict().values()))


def carry(folder: Path, optimizer: Any, model: nn.Module) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Return the optimizer's state after a journey through files."""
    tensors, groups = flatten_optimizer(optimizer, model)
    save_tensors(folder / "optimizer.safetensors", tensors)
    return load_tensors(folder / "optimizer.safetensors"), json.loads(json.dumps(groups, allow_nan=False))


def fresh(build: Build, weights: nn.Module | None = None, seed: int = 5) -> tuple[Model, Any]:
    torch.manual_seed(seed)
    model = Model()
    if weights is not None:
        model.load_state_dict(weights.state_dict())
    return model, build(model)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    """Six steps, and three plus three through files, give the same weights and the same state."""
    golden, golden_optimizer = fresh(OPTIMIZERS[name])
    train(golden, golden_optimizer, range(6))

    first, first_optimizer = fresh(OPTIMIZERS[name])
    train(first, first_optimizer, range(3))
    tensors, groups = carry(tmp_path, first_optimizer, first)
    resumed, resumed_optimizer = fresh(OPTIMIZERS[name], weights=first, seed=99)
    restore_optimizer(resumed_optimizer, resumed, tensors, groups)
    train(resumed, resumed_optimizer, range(3, 6))

    assert same_bits(resumed, golden)
    mine, theirs = flatten_optimizer(resumed_optimizer, resumed), flatten_optimizer(golden_optimizer, golden)
    assert mine[0].keys() == theirs[0].keys()
    assert all(torch.equal(mine[0][key], theirs[0][key]) for key in mine[0])
    assert mine[1] == theirs[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_restored_state_equals_what_torch_itself_restores(tmp_path: Path, name: str) -> None:
    """`load_state_dict` of torch is the independent witness: same tensors, dtypes and hyperparameters."""
    first, first_optimizer = fresh(OPTIMIZERS[name])
    train(first, first_optimizer, range(3))
    mine, mine_optimizer = fresh(OPTIMIZERS[name])
    restore_optimizer(mine_optimizer, mine, *carry(tmp_path, first_optimizer, first))
    _, witness_optimizer = fresh(OPTIMIZERS[name])
    witness_optimizer.load_state_dict(first_optimizer.state_dict())
    left, right = mine_optimizer.state_dict(), witness_optimizer.state_dict()
    assert left["param_groups"] == right["param_groups"]
    assert left["state"].keys() == right["state"].keys()
    for number, state in right["state"].items():
        assert left["state"][number].keys() == state.keys()
        for key, value in state.items():
            restored = left["state"][number][key]
            if isinstance(value, torch.Tensor):
                assert (restored.dtype, restored.device) == (value.dtype, value.device)
                assert torch.equal(restored, value)
            else:
                assert restored == value


def test_tensors_are_named_after_what_they_are(tmp_path: Path) -> None:
    """Key and parameter; a tied weight once; a parameter without state not at all."""
    model, optimizer = fresh(OPTIMIZERS["adamw"])
    train(model, optimizer, range(1))
    tensors, groups = flatten_optimizer(optimizer, model)
    assert {"exp_avg/embed.weight", "exp_avg_sq/up.bias", "step/norm.weight"} <= tensors.keys()
    assert not [name for name in tensors if "head" in name or "unused" in name]
    assert groups[0]["optimizer"] == "AdamW"
    assert groups[0]["settings"]["betas"] == [0.9, 0.999]
    assert len(tensors) == 3 * 6
    assert tensors["exp_avg/up.weight"].data_ptr() == optimizer.state[model.up.weight]["exp_avg"].data_ptr()


def test_the_order_of_parameters_may_change(tmp_path: Path) -> None:
    """torch's own format would mix them up; names do not."""
    golden, golden_optimizer = fresh(OPTIMIZERS["adamw"])
    train(golden, golden_optimizer, range(3))
    resumed, optimizer = fresh(lambda m: torch.optim.AdamW(list(m.parameters())[::-1], lr=0.5), weights=golden)
    restore_optimizer(optimizer, resumed, *carry(tmp_path, golden_optimizer, golden))
    train(golden, golden_optimizer, range(3, 5))
    train(resumed, optimizer, range(3, 5))
    assert same_bits(resumed, golden)


def test_the_restored_state_is_not_the_loaded_memory(tmp_path: Path) -> None:
    """Loaded tensors are backed by a file; training must not write into it."""
    model, optimizer = fresh(OPTIMIZERS["adamw"])
    train(model, optimizer, range(2))
    tensors, groups = carry(tmp_path, optimizer, model)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    restore_optimizer(optimizer, model, tensors, groups)
    train(model, optimizer, range(2, 4))
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_state_in_another_precision_than_the_weights_keeps_its_own(tmp_path: Path) -> None:
    """torch's load_state_dict would round an fp32 average to a bf16 weight's precision."""
    model, optimizer = fresh(OPTIMIZERS["adamw"])
    train(model, optimizer, range(2))
    tensors, groups = carry(tmp_path, optimizer, model)
    half = Model().to(torch.bfloat16)
    half_optimizer = torch.optim.AdamW(half.parameters(), lr=0.01)
    restore_optimizer(half_optimizer, half, tensors, groups)
    assert torch.equal(half_optimizer.state[half.up.weight]["exp_avg"], tensors["exp_avg/up.weight"])


def saved(tmp_path: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    model, optimizer = fresh(OPTIMIZERS["adamw"])
    train(model, optimizer, range(2))
    return carry(tmp_path, optimizer, model)


def refused(model: nn.Module, optimizer: Any, tensors: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> str:
    """Return the one line of the refusal, which must leave the optimizer as it was."""
    before = str(optimizer.state_dict())
    with pytest.raises(ResumeError) as caught:
        restore_optimizer(optimizer, model, tensors, groups)
    assert caught.value.exit_code == 78
    assert str(optimizer.state_dict()) == before
    return str(caught.value)


def test_state_that_does_not_fit_is_refused_and_named(tmp_path: Path) -> None:
    """Another class, other groups, other parameters, other shapes, missing and surplus tensors."""
    tensors, groups = saved(tmp_path)
    model, optimizer = fresh(OPTIMIZERS["adamw"])
    assert "lacks the optimizer's tensor exp_avg/up.bias" in refused(
        model, optimizer, {name: t for name, t in tensors.items() if name != "exp_avg/up.bias"}, groups
    )
    assert "tensor exp_avg/other belongs to no parameter" in refused(
        model, optimizer, {**tensors, "exp_avg/other": torch.ones(1)}, groups
    )
    model, optimizer = fresh(OPTIMIZERS["sgd"])
    assert refused(model, optimizer, tensors, groups) == "the checkpoint was made with AdamW, not with SGD"
    model, optimizer = fresh(OPTIMIZERS["adamw in groups"])
    assert "has 1 parameter groups, this one has 2" in refused(model, optimizer, tensors, groups)
    model, optimizer = fresh(lambda m: torch.optim.AdamW(list(m.parameters())[1:]))
    assert "parameter unused is in the checkpoint's optimizer group 0" in refused(model, optimizer, tensors, groups)
    wide = Model(width=8)
    message = refused(wide, torch.optim.AdamW(wide.parameters()), tensors, groups)
    assert "shape [9, 6] in the checkpoint and [9, 8] here" in message
    assert "embed.weight" in message


def test_a_parameter_foreign_to_the_model_is_a_defect(tmp_path: Path) -> None:
    """Saving half a state silently would be worse."""
    model, _ = fresh(OPTIMIZERS["adamw"])
    with pytest.raises(ValueError, match="that the model lacks"):
        flatten_optimizer(torch.optim.SGD([nn.Parameter(torch.ones(3))], lr=1.0), model)


def devices(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, tuple[str, torch.dtype]]:
    """Return device and number format of every state tensor by its name in a checkpoint."""
    tensors, _ = flatten_optimizer(optimizer, model)
    return {name: (tensor.device.type, tensor.dtype) for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "name", ["adamw", "adam", "sgd", "muon", "torch.optim:NAdam", "torch.optim:AdamW", "torch.optim:RMSprop"]
)
def test_a_checkpoint_of_a_cpu_goes_where_another_device_would_have_made_it(tmp_path: Path, name: str) -> None:
    """Restored on the device `meta`, every tensor lies where a step of a fresh optimizer on that device puts it."""
    on_cpu = Model()
    optimizer = build_optimizer(on_cpu, name, learning_rate=0.01)
    train(on_cpu, optimizer, range(2))
    tensors, groups = carry(tmp_path, optimizer, on_cpu)
    with torch.device("meta"):
        model = Model()
        fresh_one, resumed = (build_optimizer(model, name, learning_rate=0.01) for _ in range(2))
        for parameter_name, parameter in model.named_parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter_name != "unused" else None
    fresh_one.step()
    restore_optimizer(resumed, model, tensors, groups)
    assert devices(resumed, model) == devices(fresh_one, model)
    resumed.step()
    assert devices(resumed, model) == devices(fresh_one, model)


def test_the_counter_of_a_fused_kernel_lies_beside_the_parameter(tmp_path: Path) -> None:
    """Muon updates vectors by one kernel for all, which reads the counters of steps on the device."""
    with torch.device("meta"):
        model = Model()
    optimizer = build_optimizer(model, "muon", learning_rate=0.01)
    on_cpu = Model()
    trained = build_optimizer(on_cpu, "muon", learning_rate=0.01)
    train(on_cpu, trained, range(1))
    restore_optimizer(optimizer, model, *carry(tmp_path, trained, on_cpu))
    assert optimizer.state[model.norm.weight]["step"].device.type == "meta"


def test_torch_itself_restores_muon() -> None:
    """`load_state_dict` puts every tensor of Muon's state where Muon made it, `step` beside the parameter."""
    with torch.device("meta"):
        model = Model()
    optimizer = build_optimizer(model, "muon", learning_rate=0.01)
    on_cpu = Model()
    trained = build_optimizer(on_cpu, "muon", learning_rate=0.01)
    train(on_cpu, trained, range(1))
    optimizer.load_state_dict(trained.state_dict())
    assert {device for device, _ in devices(optimizer, model).values()} == {"meta"}


class Impatient(torch.optim.SGD):
    """An optimizer that steps only when its owner says so."""

    def step(self, closure: Any = None) -> Any:
        raise RuntimeError("not now")


def test_an_optimizer_that_cannot_step_alone_gets_its_counters_where_torch_puts_them() -> None:
    """Without a fused kernel `step` stays on the CPU, and everything else lies beside the parameter."""
    with torch.device("meta"):
        model = nn.Linear(2, 2, bias=False)
    tensors = {"step/weight": torch.tensor(3.0), "average/weight": torch.ones(2, 2), "norm/weight": torch.ones(())}
    entry = {"name": "weight", "shape": [2, 2], "tensors": ["step", "average", "norm"], "values": {}}
    for fused, step_device in ((False, "cpu"), (True, "meta")):
        optimizer = Impatient(model.parameters(), lr=0.1)
        optimizer.param_groups[0]["fused"] = fused
        groups = [{"optimizer": "Impatient", "settings": {"lr": 0.1}, "parameters": [entry]}]
        restore_optimizer(optimizer, model, tensors, groups)
        kinds = {key: value.device.type for key, value in optimizer.state[model.weight].items()}
        assert kinds == {"step": step_device, "average": "meta", "norm": "meta"}


def test_how_a_machine_computes_the_update_is_not_restored(tmp_path: Path) -> None:
    """fused, foreach and capturable stay those of the new optimizer, even of checkpoints that have them."""
    model, optimizer = fresh(OPTIMIZERS["adamw fused"])
    train(model, optimizer, range(1))
    tensors, groups = carry(tmp_path, optimizer, model)
    assert not {"fused", "foreach", "capturable"} & groups[0]["settings"].keys()
    groups[0]["settings"] |= {"fused": True, "foreach": False, "capturable": True, "lr": 0.5}
    other = torch.optim.AdamW(model.parameters(), lr=0.01, foreach=True)
    restore_optimizer(other, model, tensors, groups)
    settings = other.param_groups[0]
    assert (settings["fused"], settings["foreach"], settings["capturable"], settings["lr"]) == (None, True, False, 0.5)

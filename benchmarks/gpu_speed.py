"""Tokens per second of training steps on a GPU, beside its peak, and their memory beside the plan's estimate."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from gpu_checks import compiler, make_engine, take_step
from torch import nn

from textmill.config import ModelConfig
from textmill.data.batches.loader import Batch
from textmill.engine.single_and_ddp import SingleEngine
from textmill.machine.devices import peak_flops
from textmill.machine.kernel_choices import apply_kernels
from textmill.machine.measure_machine import examine
from textmill.machine.memory import is_out_of_memory
from textmill.machine.precision import choose_precision
from textmill.model.from_config import empty_model, initialise
from textmill.planning.memory import StepSettings, estimate_memory
from textmill.planning.parameter_count import count_parameters, flops_per_token
from textmill.training.start_run import causal_loss

FREE_SHARE = 0.9
"""Share of the free memory that a plan may fill."""

BLOCKS = 3


@dataclass(frozen=True)
class Size:
    """A model of the default family. rows: of a micro-batch, at most. tokens: of a step, by accumulation."""

    shape: dict[str, Any]
    rows: int
    tokens: int = 131_072


SIZES = {
    "124M": Size(
        {"vocab_size": 50304, "d_model": 768, "num_layers": 12, "num_heads": 12, "max_seq_len": 1024}, rows=64
    ),
    "350M": Size(
        {"vocab_size": 50304, "d_model": 1024, "num_layers": 24, "num_heads": 16, "max_seq_len": 2048}, rows=16
    ),
    "1.3B": Size(
        {
            "vocab_size": 50304,
            "d_model": 2048,
            "num_layers": 24,
            "num_heads": 16,
            "max_seq_len": 2048,
            "tie_embeddings": True,
        },
        rows=16,
        tokens=65_536,
    ),
    "tiny": Size({"vocab_size": 97, "d_model": 32, "num_layers": 2, "num_heads": 2, "max_seq_len": 32}, 2, 128),
}
"""`tiny` is for trying the benchmark itself."""


@lru_cache(maxsize=1)
def machine(device: str) -> dict[str, Any]:
    """Return what the device is and how fast it multiplies, see `examine`."""
    found = examine(device)
    name = found["device"]
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "capability": torch.cuda.get_device_capability(device) if found["kind"] == "cuda" else None,
        "memory": found.get("memory"),
        "precision": found["precision"],
        "matmul_flops": found["flops"],
        "peak_flops": peak_flops(name) if found["kind"] == "cuda" else None,
    }


@lru_cache(maxsize=1)
def _model(size: str, device: torch.device) -> nn.Module:
    """Return the model of a size, which its measurements share, so that it is compiled once."""
    if device.type == "cuda":
        torch.compiler.reset()  # what was compiled for other models: beyond a limit, steps would be eager again
    with torch.device(device):
        model = empty_model(ModelConfig(**SIZES[size].shape))
    torch.manual_seed(0)
    initialise(model)
    return model


def measure(size: str, optimizer: str, compile: bool, device: str, seconds: float) -> dict[str, Any]:
    """Measure training steps of one size for about `seconds` after warming up; return JSON-ready values.

    When memory runs out, it is tried again with half the rows.
    """
    chosen = torch.device(device)
    known = machine(device)
    apply_kernels(chosen)
    precision = choose_precision("auto", chosen).name
    _release(size, chosen)
    settings = StepSettings(1, optimizer=optimizer, precision=precision, device=chosen.type, validation_rows=1)
    rows = _fitting_rows(SIZES[size], settings, chosen)
    while True:
        try:
            made = _measured(size, replace(settings, batch_size=rows), compile, chosen, seconds)
            return {**made, **_rates(SIZES[size], made, known)}
        except RuntimeError as error:
            if not is_out_of_memory(error) or rows == 1:
                raise
        rows //= 2
        _release(size, chosen)


def _release(size: str, device: torch.device) -> None:
    """Free what the measurement before this one used."""
    for parameter in _model(size, device).parameters():
        parameter.grad = None
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _fitting_rows(size: Size, settings: StepSettings, device: torch.device) -> int:
    """Return the most rows, `size.rows` halved, whose plan fits into the memory of the device with either optimizer."""
    rows = size.rows
    if device.type != "cuda":
        return rows
    weights = 4 * count_parameters(ModelConfig(**size.shape)).total  # which are allocated already
    room = FREE_SHARE * (torch.cuda.mem_get_info(device)[0] + weights)
    both = [replace(settings, optimizer=name) for name in ("adamw", "muon")]
    while rows > 1:
        plans = [estimate_memory(ModelConfig(**size.shape), replace(kind, batch_size=rows)) for kind in both]
        if max(plan.total for plan in plans) <= room:
            break
        rows //= 2
    return rows


def _measured(size: str, settings: StepSettings, compile: bool, device: torch.device, seconds: float) -> dict[str, Any]:
    model, rows = _model(size, device), settings.batch_size
    shape = ModelConfig(**SIZES[size].shape)
    accumulation = max(1, SIZES[size].tokens // (rows * shape.max_seq_len))
    batches = _batches(shape, rows, accumulation, device)
    engine = make_engine(model, settings.optimizer, settings.precision, device, compile=compile, rate=1e-4)
    loss = causal_loss(compile=compiler(compile))

    def run(steps: int) -> float:
        """Take the steps and return the seconds that each took; the device is idle before and after."""
        _synchronize(device)
        started = time.perf_counter()
        for _ in range(steps):
            last = take_step(engine, loss, batches)
        _synchronize(device)
        taken = time.perf_counter() - started
        if not torch.isfinite(last):
            raise ArithmeticError("the loss is not finite")
        return taken / steps

    first, second, step = run(1), run(1), run(1)  # compile, choose kernels and fill the allocator; then measure
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    steps = max(1, round(seconds / BLOCKS / step))
    times = [run(steps) for _ in range(BLOCKS)]
    plan = estimate_memory(shape, replace(settings, accumulation=accumulation))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "size": size,
        "parameters": count_parameters(shape).total,
        "optimizer": settings.optimizer,
        "compiled": compile,
        "precision": settings.precision,
        "rows": rows,
        "accumulation": accumulation,
        "first_steps_seconds": [round(first, 2), round(second, 2)],
        "steps": BLOCKS * steps,
        "update_seconds": _update_seconds(engine, loss, batches),
        "peak_bytes": peak,
        "planned_bytes": plan.total - plan.runtime,
        "step_seconds": round(statistics.median(times), 4),
        "spread": round((max(times) - min(times)) / statistics.median(times), 4),
    }


def _batches(shape: ModelConfig, rows: int, accumulation: int, device: torch.device) -> list[Batch]:
    """Return the micro-batches of a step: random ids, in pinned memory for a GPU, as the loader gives them."""
    assert shape.vocab_size is not None
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(accumulation):
        ids = torch.randint(shape.vocab_size, (rows, shape.max_seq_len + 1), generator=generator)
        batch = Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), rows * shape.max_seq_len)
        made.append(batch.pinned() if device.type == "cuda" else batch)
    return made


def _update_seconds(engine: SingleEngine, loss: Any, batches: list[Batch]) -> float:
    """Return the seconds of clipping, optimizer and clearing gradients, in one step that is waited for."""
    device = engine.world.device
    with engine.precision.autocast():
        nats = loss(engine.model, batches[0].to(device))
    engine.backward(nats / batches[0].num_targets)
    _synchronize(device)
    started = time.perf_counter()
    engine.step(1.0)
    _synchronize(device)
    return round(time.perf_counter() - started, 5)


def _rates(size: Size, made: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return tokens per second, and their share of the peak and of the matrix rate that this device reached."""
    shape = ModelConfig(**size.shape)
    tokens = made["rows"] * made["accumulation"] * shape.max_seq_len
    speed = tokens / made["step_seconds"]
    flops = speed * flops_per_token(shape)
    return {
        "tokens_per_step": tokens,
        "tokens_per_second": round(speed),
        "mfu": round(flops / known["peak_flops"], 4) if known["peak_flops"] else None,
        "share_of_matmul_rate": round(flops / max(known["matmul_flops"].values()), 4),
    }


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""What must be true on a GPU: numbers that are compared with something independent, each with a limit.

`pytest -m gpu` and `gpu.py` run these functions. Each returns measures: what was measured, the value, and the most that
it may be. They run on a CPU too, small and not compiled, so that their own mistakes show where there is no GPU.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import textmill
from textmill.checkpoint.optimizer_state import flatten_optimizer, restore_optimizer
from textmill.checkpoint.safetensors_files import load_tensors
from textmill.config import ModelConfig
from textmill.data.batches.loader import IGNORED, Batch
from textmill.engine.compiling import Compiler
from textmill.engine.single_and_ddp import SingleEngine
from textmill.engine.world import World
from textmill.generation import token_loop
from textmill.machine.precision import choose_precision
from textmill.model.attention import Mask, attend, make_mask
from textmill.model.from_config import build_model
from textmill.optim.optimizer_choice import MuonSettings, build_optimizer
from textmill.planning.memory import StepSettings, estimate_memory
from textmill.training.start_run import causal_loss

OPTIMIZERS = ("adamw", "muon")

SMALL: dict[str, Any] = {"vocab_size": 97, "d_model": 32, "num_layers": 2, "num_heads": 2, "max_seq_len": 32}
LARGE: dict[str, Any] = {"vocab_size": 8192, "d_model": 512, "num_layers": 8, "num_heads": 8, "max_seq_len": 512}


@dataclass(frozen=True)
class Measure:
    """A number that must be at most `limit`; NaN never is. None was not measured, because there is no GPU."""

    what: str
    value: float | None
    limit: float

    @property
    def passed(self) -> bool:
        return self.value is None or self.value <= self.limit


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute float32 products in float32, not in the tensor cores' shorter formats."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def relative(found: Tensor, expected: Tensor) -> float:
    """Return |found - expected| / |expected|, in float64."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return ((found - expected).norm() / expected.norm()).item()


def make_engine(
    model: nn.Module, optimizer: str, precision: str, device: torch.device, *, compile: bool = False, rate: float = 1e-3
) -> SingleEngine:
    """Return an engine as a run makes it."""

    def make_optimizer(module: nn.Module) -> torch.optim.Optimizer:
        half = torch.bfloat16 if precision == "bf16" else torch.float32
        return build_optimizer(
            module, optimizer, learning_rate=rate, weight_decay=0.1, muon=MuonSettings(every=2, dtype=half)
        )

    world = World(0, 1, device)
    return SingleEngine(model, make_optimizer, choose_precision(precision, device), world, compile=compiler(compile))


def compiler(on: bool) -> Compiler | None:
    """Return what compiles, unless it is off. What cannot be compiled fails, so that nothing else is measured."""

    def fail(sentence: str) -> None:
        raise RuntimeError(sentence)

    return Compiler(fail) if on else None


def take_step(engine: SingleEngine, loss: Callable[[nn.Module, Batch], Any], batches: list[Batch]) -> Tensor:
    """Take one step as the training loop does; return the mean loss, which stays on the device."""
    device, targets = engine.world.device, sum(batch.num_targets for batch in batches)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for index, batch in enumerate(batches):
        with engine.micro_batch(last=index == len(batches) - 1):
            with engine.precision.autocast():
                nats = loss(engine.model, batch.to(device))
            engine.backward(nats / targets)
        total += nats.detach()
    engine.step(1.0)
    return total / targets


def counting_batch(rows: int, length: int, vocab_size: int, seed: int) -> Batch:
    """Return rows in which each id is three times the one before plus one, from a random start: soon learned."""
    ids = torch.randint(vocab_size, (rows, 1), generator=torch.Generator().manual_seed(seed))
    columns = [ids]
    for _ in range(length):
        columns.append((3 * columns[-1] + 1) % vocab_size)
    stream = torch.cat(columns, 1)
    return Batch(stream[:, :-1].contiguous(), stream[:, 1:].contiguous(), rows * length)


def losses(device: torch.device, *, small: bool) -> list[Measure]:
    """Compare the losses of bf16 and of compiled steps with those of eager float32, from the same weights."""
    shape, rows, steps = (SMALL, 2, 4) if small else (LARGE, 8, 20)
    shape = {**shape, "num_layers": 2 if small else 4}

    def run(precision: str, compile: bool) -> Tensor:
        if compile:
            torch.compiler.reset()  # what was compiled for the models before this one
        engine = make_engine(build_model(ModelConfig(**shape), seed=1), "adamw", precision, device, compile=compile)
        loss = causal_loss(compile=compiler(compile))
        found = []
        for step in range(steps):
            batch = counting_batch(rows, shape["max_seq_len"], shape["vocab_size"], step)
            found.append(take_step(engine, loss, [batch]))
        return torch.stack(found).cpu()

    with exact_float32(device):
        expected = run("fp32", False)
        made = {"bf16": run("bf16", False)}
        if not small:
            made |= {"compiled": run("fp32", True), "compiled bf16": run("bf16", True)}
    limits = {"bf16": 0.01, "compiled": 1e-4, "compiled bf16": 0.01}
    differences = {name: ((found - expected) / expected).abs().max().item() for name, found in made.items()}
    return [
        *(Measure(f"loss, {name} against float32", differences[name], limits[name]) for name in made),
        Measure("loss at the end over loss at the start", (expected[-1] / expected[0]).item(), 0.999),
    ]


def attention(device: torch.device, *, small: bool) -> list[Measure]:
    """Compare attention on the device, forward and backward, with its written-out form in float64."""
    batch, length, heads, size = (2, 16, 4, 8) if small else (2, 512, 8, 64)
    generator = torch.Generator().manual_seed(2)
    segments = torch.randint(2, (batch, length), generator=generator).cumsum(1).to(device)
    limits = {torch.float32: 1e-4, torch.bfloat16: 0.02}
    found = []
    with exact_float32(device):
        for dtype, limit in limits.items():
            for kv_heads in (heads, heads // 2):
                for hidden in (False, True):
                    shapes = [(batch, length, count, size) for count in (heads, kv_heads, kv_heads)]
                    inputs = [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]
                    gradient = torch.randn(shapes[0], generator=generator).to(device, dtype)
                    error = _attention_error(inputs, gradient, segments if hidden else None)
                    name = f"attention, {str(dtype)[6:]}, {kv_heads} of {heads} key heads{', segments' * hidden}"
                    found.append(Measure(name, error, limit))
    return found


def _attention_error(inputs: list[Tensor], gradient: Tensor, segments: Tensor | None) -> float:
    """Return the largest relative error of the output and of the three gradients."""

    def run(tensors: list[Tensor], mask: Mask) -> list[Tensor]:
        made = [tensor.detach().requires_grad_() for tensor in tensors]
        out = attend(made[0], made[1], made[2], mask)
        out.backward(gradient.to(out.dtype))
        return [out, *(tensor.grad for tensor in made if tensor.grad is not None)]

    (_, length, heads, _), kv_heads = inputs[0].shape, inputs[1].shape[2]
    allowed = torch.ones(length, length, dtype=torch.bool, device=gradient.device).tril()
    if segments is not None:
        allowed = allowed & (segments[:, None, :, None] == segments[:, None, None, :])
    fused = Mask(written_out=False, causal=True) if segments is None else Mask(written_out=False, allowed=allowed)
    if gradient.device.type == "cuda":  # the mask of a run
        fused = make_mask(inputs[0], None, heads=heads, kv_heads=kv_heads, segments=segments, dtype=inputs[0].dtype)
    stream = torch.empty(inputs[0].shape[:3])  # on the CPU, where scores are written out
    written = make_mask(
        stream,
        0,
        heads=heads,
        kv_heads=kv_heads,
        segments=None if segments is None else segments.cpu(),
        dtype=torch.float64,
    )
    assert written.written_out and written.bias is not None
    exact = run([tensor.double() for tensor in inputs], Mask(True, bias=written.bias.to(gradient.device)))
    return max(relative(ours, theirs) for ours, theirs in zip(run(inputs, fused), exact))


class _Logits(nn.Module):
    """A model whose only parameter is what it returns."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits


def loss_kernels(device: torch.device, *, small: bool) -> list[Measure]:
    """Compare the loss over bfloat16 logits and its gradient, eager and compiled, with float64."""
    rows, length, vocab_size = (2, 16, 97) if small else (4, 512, 50304)
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(rows, length, vocab_size, generator=generator).bfloat16()
    targets = torch.randint(vocab_size, (rows, length), generator=generator)
    targets[0, : length // 4] = IGNORED
    exact = logits.double().requires_grad_()
    expected = nn.functional.cross_entropy(exact.flatten(0, 1), targets.flatten(), reduction="sum")
    expected.backward()
    assert exact.grad is not None
    batch = Batch(targets.clamp(min=0), targets, int((targets != IGNORED).sum())).to(device)
    found = []
    for name, compile in (("eager", False),) if small else (("eager", False), ("compiled", True)):
        model = _Logits(logits.to(device))
        nats = causal_loss(compile=compiler(compile))(model, batch)
        assert isinstance(nats, Tensor)
        nats.backward()
        assert model.logits.grad is not None
        found.append(Measure(f"nats, {name}, against float64", relative(nats, expected), 1e-5))
        found.append(Measure(f"gradient of the logits, {name}", relative(model.logits.grad, exact.grad), 0.01))
    return found


def optimizers(device: torch.device, *, small: bool) -> list[Measure]:
    """Compare steps of Muon and AdamW with those on the CPU, and go on after a checkpoint, to the bit."""
    shape = {**(SMALL if small else LARGE), "num_layers": 2}
    found = []
    with exact_float32(device):
        for name in OPTIMIZERS:
            start = build_model(ModelConfig(**shape), seed=4)
            here = build_model(ModelConfig(**shape), seed=4).to(device)
            there = build_model(ModelConfig(**shape), seed=4)
            ours, theirs = (build_optimizer(model, name, learning_rate=1e-3) for model in (here, there))
            for step in range(4):
                for model, optimizer in ((here, ours), (there, theirs)):
                    _set_gradients(model, step)
                    optimizer.step()
            moved = _flat(there) - _flat(start)
            found.append(Measure(f"{name}, 4 updates against a CPU", relative(_flat(here) - _flat(start), moved), 0.01))
            found += _resumed(here, ours, name)
    return found


def _resumed(model: nn.Module, optimizer: torch.optim.Optimizer, name: str) -> list[Measure]:
    """Save an optimizer, restore it, and let both take two more steps."""
    config = getattr(model, "config")  # noqa: B009
    other = build_model(config, seed=5).to(next(model.parameters()).device)
    other.load_state_dict(model.state_dict())
    again = build_optimizer(other, name, learning_rate=1e-3)
    tensors, groups = flatten_optimizer(optimizer, model)
    restore_optimizer(again, other, {key: value.cpu().clone() for key, value in tensors.items()}, groups)
    restored, _ = flatten_optimizer(again, other)
    elsewhere = sum(restored[key].device != value.device for key, value in tensors.items())
    for step in range(4, 6):
        for part, stepped in ((model, optimizer), (other, again)):
            _set_gradients(part, step)
            stepped.step()
    differ = int((_flat(model) != _flat(other)).sum())
    return [
        Measure(f"{name}, restored tensors on another device", elsewhere, 0),
        Measure(f"{name}, weights that differ after a checkpoint", differ, 0),
    ]


def _set_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.device)


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().cpu() for parameter in model.parameters()])


def memory(device: torch.device, *, small: bool) -> list[Measure]:
    """Compare the most memory that eager steps take with the plan's estimate."""
    shape, rows = (SMALL, 2) if small else (LARGE, 16)
    found = []
    for optimizer in OPTIMIZERS:
        gc.collect()
        on_gpu = device.type == "cuda"
        before = torch.cuda.memory_allocated(device) if on_gpu else 0
        engine = make_engine(build_model(ModelConfig(**shape), seed=6), optimizer, "bf16", device)
        for step in range(3):
            if on_gpu and step == 1:  # the first step allocates the libraries' buffers, and the optimizer's state
                torch.cuda.reset_peak_memory_stats(device)
            take_step(engine, causal_loss(), [counting_batch(rows, shape["max_seq_len"], shape["vocab_size"], step)])
        settings = StepSettings(rows, optimizer=optimizer, precision="bf16", device=device.type, validation_rows=1)
        plan = estimate_memory(ModelConfig(**shape), settings)
        ratio = None
        if on_gpu:
            ratio = (torch.cuda.max_memory_allocated(device) - before) / (plan.total - plan.runtime)
        error = None if ratio is None else abs(ratio - 1)
        found.append(Measure(f"peak memory, {optimizer}, from the plan's", error, 0.1))
        del engine
    return found


def resume(device: torch.device, *, small: bool) -> list[Measure]:
    """Train with `deterministic`, and continue from a checkpoint on the way: the weights are the same bits."""
    shape: dict[str, Any] = {"d_model": 32, "num_layers": 1, "num_heads": 2, "max_seq_len": 16, "batch_size": 4}
    if not small:
        shape = {"d_model": 256, "num_layers": 4, "num_heads": 4, "max_seq_len": 256, "batch_size": 16}
    steps = 4 if small else 20
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = counting_batch(steps * shape["batch_size"], shape["max_seq_len"], 97, 7).tokens
        (folder / "text.txt").write_text(" ".join(map(str, ids.flatten().tolist())))
        for optimizer in OPTIMIZERS[1:] if small else OPTIMIZERS:
            values: dict[str, Any] = {
                **shape, "data": [str(folder / "text.txt")], "tokenizer": "byte", "cache_dir": str(folder / "cache"),
                "optimizer": optimizer, "learning_rate": 1e-3, "dropout": 0.1, "max_steps": steps,
                "save_steps": steps // 2, "eval_steps": steps, "sample_steps": steps, "sample_tokens": 8,
                "deterministic": True, "device": device.type,
            }  # fmt: skip
            whole, resumed = folder / f"{optimizer}-whole", folder / f"{optimizer}-resumed"
            textmill.train(values, output_dir=whole, quiet=True)
            checkpoint = next((whole / "checkpoints").glob(f"step-*{steps // 2}"))
            textmill.train(values, output_dir=resumed, resume_from=checkpoint, quiet=True)
            weights = [load_tensors(run / "final" / "model.safetensors") for run in (whole, resumed)]
            differ = sum(int((weights[0][key] != weights[1][key]).sum()) for key in weights[0])
            found.append(Measure(f"{optimizer}, weights that differ after resuming", differ, 0))
    return found


def generation(device: torch.device, *, small: bool) -> list[Measure]:
    """Compare generated ids with those of the CPU, and with those of the device when each is read before the next."""
    model = build_model(ModelConfig(**SMALL), seed=9)
    prompts = [[index + 1] * (1 + index % 2) for index in range(16)]
    options: dict[str, Any] = {"max_new_tokens": 16 if small else 200, "seed": 10, "stop_ids": [5], "banned_ids": [7]}

    def run(**filters: Any) -> list[tuple[int | None, ...]]:
        return list(zip(*textmill.generate(model, prompts, **options, **filters)))

    found = []
    with exact_float32(device):
        for name, filters in {"plain": {}, "filtered": {"top_k": 20, "top_p": 0.9, "repetition_penalty": 1.2}}.items():
            model.to("cpu")
            expected = run(**filters)
            model.to(device)
            ahead = run(**filters)
            with mock.patch.object(token_loop, "runs_ahead", lambda device: False):
                in_turn = run(**filters)
            differ = sum(one != other for one, other in zip(ahead, in_turn, strict=True))
            found.append(Measure(f"{name}, texts that reading behind changes", differ, 0))
            # a draw may lie so near to the boundary of two ids that rounding decides
            differ = sum(one != other for one, other in zip(ahead, expected)) / len(expected)
            found.append(Measure(f"{name}, texts that differ from the CPU's", differ, 0.25))
    return found


CHECKS: dict[str, Callable[..., list[Measure]]] = {
    "resume": resume,
    "generation": generation,
    "optimizers": optimizers,
    "attention": attention,
    "memory": memory,
    "loss": loss_kernels,
    "precision": losses,
}
"""By name, in the order in which they run: the one that settles how its process computes first, compiling last."""


def check(name: str, device: str, small: bool) -> list[dict[str, Any]]:
    """Run a check and return its measures as JSON-ready values, each with whether it passed."""
    return [
        {**asdict(measure), "passed": measure.passed} for measure in CHECKS[name](torch.device(device), small=small)
    ]

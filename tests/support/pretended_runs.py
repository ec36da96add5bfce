"""What textmill does on a pretended GPU, as JSON on standard output: `python pretended_runs.py FOLDER`.

The environment variable TEXTMILL_PRETENDED_GPU names the device. FOLDER is empty, for the files of the runs.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

from support.pretended_gpu import DEVICE, KIND, pretended_gpu  # isort: split  # before anything imports torch

import torch
from support.small_models import FAMILIES, random_tokens, small_model
from torch import Tensor

from textmill.checkpoint.optimizer_state import flatten_optimizer, restore_optimizer
from textmill.config import load_config
from textmill.data.batches.loader import Batch
from textmill.engine.single_and_ddp import SingleEngine
from textmill.engine.world import World
from textmill.evaluation.evaluate_batches import evaluate
from textmill.generation.token_loop import generate
from textmill.machine.precision import PRECISIONS, choose_precision
from textmill.optim.optimizer_choice import build_optimizer
from textmill.training.assemble import assemble
from textmill.training.loop import steps

OPTIMIZERS = ("adamw", "adam", "sgd", "muon")
FORMATS = PRECISIONS if KIND == "cuda" else ("fp32",)

Log = Counter[tuple[str, str]]


class _Enough(Exception):
    pass


def told(log: Log) -> dict[str, int]:
    """Return the counts by `what, where`."""
    return {", ".join(part for part in key if part): count for key, count in sorted(log.items())}


def engine_of(optimizer: str, precision: str, **shape: Any) -> SingleEngine:
    def made(module: torch.nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(module, optimizer, learning_rate=1e-3, weight_decay=0.1)

    model = small_model(**shape).train()
    world = World(0, 1, DEVICE)
    return SingleEngine(model, made, choose_precision(precision, DEVICE), world, compile=False)


def take_step(engine: SingleEngine) -> None:
    device = next(engine.module.parameters()).device
    ids = torch.zeros(4, 24, dtype=torch.int64, device=device)
    with engine.precision.autocast():
        logits = engine.model(ids)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids.flatten(), reduction="sum")
    engine.backward(loss / ids.numel())
    engine.step(1.0)


def training_steps() -> dict[str, Any]:
    """Waits and copies of two steps, for each optimizer, family and precision."""
    found = {}
    for precision in FORMATS:
        for name, (optimizer, shape) in {
            **{optimizer: (optimizer, FAMILIES["llama"]) for optimizer in OPTIMIZERS},
            **{family: ("adamw", shape) for family, shape in FAMILIES.items()},
        }.items():
            with pretended_gpu(number=0.0) as log:
                engine = engine_of(optimizer, precision, **shape)
                log.clear()
                take_step(engine)
                take_step(engine)
                found[f"{name} {precision}"] = told(log)
    return found


def whole_runs(folder: Path) -> dict[str, list[dict[str, int]]]:
    """Waits and copies of each step of a run of the real loop, whose losses are logged after every fifth step."""
    text = folder / "text.txt"
    text.write_text("All work and no play makes Jack a dull boy.\n" * 400)
    shape = {"d_model": 32, "num_layers": 2, "num_heads": 4, "max_seq_len": 32, "dropout": 0.1}
    rows = {"batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 12}
    seldom = {"logging_steps": 5, "eval_steps": 1000, "sample_steps": 0, "save_steps": 1000}
    places = {"data": str(text), "cache_dir": str(folder / "cache"), "tokenizer": "char", "device": KIND}
    found: dict[str, list[dict[str, int]]] = {}
    for optimizer in ("adamw", "muon", "sgd"):
        own = {"optimizer": optimizer, "output_dir": str(folder / optimizer)}
        config = load_config({**shape, **rows, **seldom, **places, **own})
        found[optimizer] = []
        try:
            with pretended_gpu(number=0.0) as log, assemble(config, quiet=True) as run:
                for step in steps(run):
                    found[optimizer].append(told(log))
                    log.clear()
                    if step.number == 11:
                        raise _Enough  # a run that fails saves nothing: there are no values
        except _Enough:
            pass
    return found


def resumed() -> dict[str, Any]:
    """Devices of the state of each optimizer: after its first step, and restored from a checkpoint, which is read to
    the CPU. The settings of older checkpoints contain which kernel was chosen where the run was begun."""
    found = {}
    for optimizer in OPTIMIZERS:
        with pretended_gpu() as log:
            fresh = engine_of(optimizer, "fp32", architecture="llama")
            take_step(fresh)
            tensors, groups = flatten_optimizer(fresh.optimizer, fresh.module)
            read = {name: torch.zeros_like(tensor, device="cpu") for name, tensor in tensors.items()}
            for fused, foreach in ((None, None), (True, False), (False, True), (None, True)):
                older = [{**group, "settings": {**group["settings"], "fused": fused, "foreach": foreach}} for group in groups]
                engine = engine_of(optimizer, "fp32", architecture="llama")
                restore_optimizer(engine.optimizer, engine.module, read, groups if foreach is None else older)
                restored = devices_of(engine)
                log.clear()
                take_step(engine)
                found[f"{optimizer}, fused {fused}, foreach {foreach}"] = {
                    "fresh": devices_of(fresh),
                    "restored": restored,
                    "copies": [key for key in told(log) if " to " in key],
                }
    return found


def devices_of(engine: SingleEngine) -> dict[str, str]:
    tensors, _ = flatten_optimizer(engine.optimizer, engine.module)
    return {name: tensor.device.type for name, tensor in tensors.items()}


def evaluation_and_generation() -> dict[str, Any]:
    """Waits and copies of an evaluation of two batches, and of four new tokens of two prompts, by family and precision."""
    found = {}
    for family, shape in FAMILIES.items():
        for precision in FORMATS:
            chosen = choose_precision_here(precision)
            with pretended_gpu() as log:
                model = small_model(**shape).to(DEVICE)
                tokens = random_tokens(3, 24)
                log.clear()
                result = evaluate(model, [Batch(tokens, tokens, 72)] * 2, autocast=chosen.autocast, num_bytes=100)
                evaluated = told(log)
                log.clear()
                with chosen.autocast():
                    new = list(generate(model, [[1, 2, 3], [4, 5]], max_new_tokens=4, top_k=5, top_p=0.9, seed=1))
                found[f"{family} {precision}"] = {
                    "evaluated": evaluated,
                    "loss": result["loss"],
                    "new": len(new),
                    "generated": told(log),
                }
    return found


def choose_precision_here(name: str) -> Any:
    with pretended_gpu():
        return choose_precision(name, DEVICE)


def recomputed_dropout() -> list[int]:
    """The seeds that the device is given by a step whose blocks, of which there are 3, are computed twice."""
    seeds: list[int] = []
    with pretended_gpu():
        engine = engine_of("adamw", "fp32", gradient_checkpointing=True, dropout=0.2, num_layers=3)
        with mock.patch.object(getattr(torch, KIND), "manual_seed", seeds.append):
            take_step(engine)
    return seeds


def layouts(version: str) -> dict[str, Any]:
    """Whether queries, keys and values are contiguous for the kernel of PyTorch `version`; how half precision is masked."""
    seen: list[bool] = []
    masks: set[str] = set()
    with pretended_gpu(), mock.patch.object(torch, "__version__", version):
        kernel = torch.nn.functional.scaled_dot_product_attention

        def watched(*tensors: Tensor, **options: Any) -> Tensor:
            seen.extend(tensor.is_contiguous() for tensor in tensors)
            masks.add("causal" if options["is_causal"] else "written")
            return kernel(*tensors, **options)

        with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", watched):
            model = small_model(architecture="llama").to(DEVICE)
            model(torch.zeros(2, 24, dtype=torch.int64, device=DEVICE))
            single = sorted(masks)
            masks.clear()
            with torch.autocast(KIND, dtype=torch.bfloat16):
                model(torch.zeros(2, 24, dtype=torch.int64, device=DEVICE))
    return {"contiguous": all(seen), "fp32": single, "bf16": sorted(masks)}


def main(folder: Path) -> None:
    os.environ.pop("RANK", None)
    found = {
        "training_steps": training_steps(),
        "whole_runs": whole_runs(folder),
        "resumed": resumed(),
        "evaluation_and_generation": evaluation_and_generation(),
        "recomputed_dropout": recomputed_dropout(),
        "layouts": {version: layouts(version) for version in ("2.11.0", "2.13.0+cpu")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What textmill does on a pretended GPU: `main(folder)` prints it as JSON; `folder` is for the files of the runs.

Import `support.pretended_gpu` first, in a process of its own.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import textmill
from support.pretended_gpu import DEVICE, KIND, pretended_gpu
from support.small_models import FAMILIES, random_tokens, small_model
from textmill.checkpoint.model_folder import load_model
from textmill.checkpoint.optimizer_state import flatten_optimizer, restore_optimizer
from textmill.config import load_config
from textmill.data.batches.loader import Batch
from textmill.engine.single_and_ddp import SingleEngine
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.evaluation.evaluate_batches import evaluate
from textmill.evaluation.evaluate_saved_model import evaluate_model
from textmill.generation.token_loop import generate
from textmill.machine.precision import PRECISIONS, choose_precision
from textmill.model.cross_entropy import loss_sums
from textmill.optim.optimizer_choice import build_optimizer
from textmill.planning import logits as planned
from textmill.training.assemble import assemble
from textmill.training.evaluate_and_sample import evaluate as evaluate_run
from textmill.training.evaluate_and_sample import sample as sample_run
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

    model = small_model(**{"num_layers": 1, **shape}).train()
    world = World(0, 1, DEVICE)
    return SingleEngine(model, made, choose_precision(precision, DEVICE), world, compile=None)


def take_step(engine: SingleEngine) -> None:
    device = next(engine.module.parameters()).device
    ids = torch.zeros(4, 24, dtype=torch.int64, device=device)
    with engine.precision.autocast():
        logits = engine.model(ids)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids.flatten(), reduction="sum")
    engine.backward(loss / ids.numel())
    engine.step(1.0)


def training_steps() -> dict[str, Any]:
    """Waits and copies of a step of each optimizer in fp32 and fp16, and of each family and precision.

    A loss scaler makes a tensor on the device in its first step: then the second one counts.
    """
    found = {}
    chosen = [(optimizer, "llama", "fp32") for optimizer in OPTIMIZERS]
    chosen += [(optimizer, "llama", "fp16") for optimizer in OPTIMIZERS if "fp16" in FORMATS]
    chosen += [("adamw", family, precision) for family in FAMILIES for precision in FORMATS]
    for optimizer, family, precision in dict.fromkeys(chosen):
        with pretended_gpu(number=0.0) as log:
            engine = engine_of(optimizer, precision, **FAMILIES[family])
            if precision == "fp16":
                take_step(engine)
            log.clear()
            take_step(engine)
            found[f"{optimizer} {family} {precision}"] = told(log)
    return found


def losses_in_parts() -> dict[str, dict[str, int]]:
    """Waits and copies of a step of two micro-batches whose loss is computed in parts of 64 tokens, by precision."""
    found = {}
    for precision in FORMATS:
        with mock.patch.object(planned, "LOGITS_AT_ONCE", 1), pretended_gpu(number=0.0) as log:
            engine = engine_of("adamw", precision, architecture="llama")
            ids = torch.zeros(4, 24, dtype=torch.int64, device=DEVICE)
            for _ in range(2):  # with a loss scaler the first step makes a tensor on the device
                log.clear()
                for _ in range(2):
                    with engine.precision.autocast():
                        minimised, _ = loss_sums(engine.model, Batch(ids, ids, 96), label_smoothing=0.1)
                    engine.backward(minimised / 192)
                engine.step(1.0)
            found[precision] = told(log)
    return found


def evaluation_of_a_folder(folder: Path) -> dict[str, int]:
    """Waits and copies of an evaluation of the validation set of a run, in batches of three rows."""
    loaded = load_model(folder / "saved")
    with pretended_gpu(number=1.0) as log:
        loaded.model.to(DEVICE)
        log.clear()
        evaluate_model(loaded, device=KIND, precision="fp32", batch_size=3)
        return told(log)


def whole_runs(folder: Path) -> dict[str, list[dict[str, int]]]:
    """Waits and copies of each step of a run of the real loop, whose losses are logged after every third step."""
    text = folder / "text.txt"
    text.write_text("All work and no play makes Jack a dull boy.\n" * 400)
    shape = {"d_model": 32, "num_layers": 1, "num_heads": 4, "max_seq_len": 32, "dropout": 0.1}
    rows = {"batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 6}
    seldom = {"logging_steps": 3, "eval_steps": 1000, "sample_steps": 0, "save_steps": 1000}
    places = {"data": str(text), "cache_dir": str(folder / "cache"), "tokenizer": "char", "device": KIND}
    found: dict[str, list[dict[str, int]]] = {}
    for optimizer in ("adamw", "muon", "sgd") if KIND == "cuda" else ("adamw",):
        measures = optimizer == "sgd"  # which costs the other steps nothing
        own = {"optimizer": optimizer, "output_dir": str(folder / optimizer), "layer_statistics": measures}
        config = load_config({**shape, **rows, **seldom, **places, **own})
        found[optimizer] = []
        try:
            with pretended_gpu(number=0.0) as log, assemble(config, quiet=True) as run:
                for step in steps(run):
                    found[optimizer].append(told(log))
                    log.clear()
                    if step.number == 5:
                        raise _Enough  # a run that fails saves nothing: there are no values
        except _Enough:
            pass
    return found


def evaluation_and_sample_in_a_run(folder: Path) -> dict[str, dict[str, int]]:
    """Waits and copies of an evaluation and of a sample of 20 characters, between the steps of a run."""
    shape = {"d_model": 32, "num_layers": 1, "num_heads": 4, "max_seq_len": 32, "max_steps": 6, "sample_tokens": 20}
    places = {"data": str(folder / "text.txt"), "cache_dir": str(folder / "cache"), "tokenizer": "char", "device": KIND}
    config = load_config({**shape, **places, "output_dir": str(folder / "evaluates")})
    found = {}
    try:
        with pretended_gpu(number=1.0) as log, assemble(config, quiet=True) as run:
            for action in (evaluate_run, sample_run):
                log.clear()
                action(run)
                found[action.__name__] = told(log)
            raise _Enough
    except _Enough:
        return found


def float32_products(folder: Path) -> dict[str, dict[str, Any]]:
    """How float32 is multiplied, by precision: in training, in an evaluation and afterwards; and what the run says."""
    shape = {"d_model": 32, "num_layers": 1, "num_heads": 4, "max_seq_len": 32, "max_steps": 1}
    places = {"data": str(folder / "text.txt"), "cache_dir": str(folder / "cache"), "tokenizer": "char"}
    textmill.train({**shape, **places, "output_dir": str(folder / "saved"), "device": "cpu"}, quiet=True)
    found = {}
    for precision in FORMATS:
        seen: set[str] = set()

        def metric(logits: Tensor, batch: Batch, seen: set[str] = seen) -> tuple[float, float]:
            seen.add(torch.get_float32_matmul_precision())
            return 1.0, 1.0

        own = {"device": KIND, "precision": precision, "output_dir": str(folder / f"run-{precision}")}
        config = load_config({**shape, **places, **own})
        said, trains = io.StringIO(), ""
        try:
            with redirect_stdout(said), redirect_stderr(said), pretended_gpu(number=0.0), assemble(config):
                trains = torch.get_float32_matmul_precision()
                raise _Enough
        except _Enough:
            pass
        loaded = load_model(folder / "saved")
        with pretended_gpu(number=1.0):
            loaded.model.to(DEVICE)
            evaluate_model(loaded, device=KIND, precision=precision, metrics={"seen": metric}, batch_size=1000)
        found[precision] = {
            "training": trains,
            "evaluation": sorted(seen),
            "afterwards": torch.get_float32_matmul_precision(),
            "said": "without TF32" in said.getvalue(),
        }
    return found


def refused(folder: Path) -> str:
    """What is said of a run whose dropout could not be repeated inside of compiled code."""
    shape = {"d_model": 32, "num_layers": 1, "num_heads": 4, "max_seq_len": 32, "dropout": 0.1}
    own = {"compile": True, "gradient_checkpointing": True, "device": KIND, "output_dir": str(folder / "refused")}
    places = {"data": str(folder / "text.txt"), "cache_dir": str(folder / "cache"), "tokenizer": "char"}
    try:
        with pretended_gpu(), assemble(load_config({**shape, **own, **places, "max_steps": 1}), quiet=True):
            raise _Enough
    except ConfigError as error:
        return str(error)
    except _Enough:
        return ""


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
            for fused, foreach in ((None, None), (True, False), (False, True)):
                kernels = {} if foreach is None else {"fused": fused, "foreach": foreach}
                older = [{**group, "settings": {**group["settings"], **kernels}} for group in groups]
                engine = engine_of(optimizer, "fp32", architecture="llama")
                restore_optimizer(engine.optimizer, engine.module, read, older)
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
    """Waits and copies of two batches evaluated and 26 tokens generated, the first time 70, by family and precision."""
    found = {}
    for family, shape in FAMILIES.items():
        for precision in FORMATS:
            chosen = choose_precision_here(precision)
            with pretended_gpu() as log:
                model = small_model(**shape, num_layers=1).to(DEVICE)
                tokens = random_tokens(3, 24)
                log.clear()
                result = evaluate(model, [Batch(tokens, tokens, 72)] * 2, autocast=chosen.autocast, num_bytes=100)
                evaluated = told(log)
                log.clear()
                filters: Any = {"top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1, "banned_ids": [7, 9]}
                with chosen.autocast():
                    # the context of 24 is full after some of them
                    length = 26 if found else 70  # random numbers are made for 64
                    new = list(generate(model, [[1, 2, 3], [4, 5], [6, 7]], max_new_tokens=length, seed=1, **filters))
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
    numbers = itertools.count()
    with pretended_gpu(), mock.patch.object(torch, "randint", lambda *_, **__: next(numbers)):
        engine = engine_of("adamw", "fp32", gradient_checkpointing=True, dropout=0.2, num_layers=3)
        with mock.patch.object(getattr(torch, KIND), "manual_seed", seeds.append):
            take_step(engine)
    return seeds


def layouts(version: str) -> dict[str, Any]:
    """Whether the attention of PyTorch `version` gets contiguous tensors, and how it is masked."""
    seen: list[bool] = []
    masks: set[str] = set()
    with pretended_gpu(), mock.patch.object(torch, "__version__", version):
        kernel = torch.nn.functional.scaled_dot_product_attention

        def watched(*tensors: Tensor, **options: Any) -> Tensor:
            seen.extend(tensor.is_contiguous() for tensor in tensors)
            masks.add("causal" if options["is_causal"] else "written")
            return kernel(*tensors, **options)  # pyright: ignore[reportArgumentType]

        with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", watched):
            model = small_model(architecture="llama", num_layers=1).to(DEVICE)
            model(torch.zeros(2, 24, dtype=torch.int64, device=DEVICE))
            single = sorted(masks)
            masks.clear()
            with torch.autocast(KIND, dtype=torch.bfloat16):
                model(torch.zeros(2, 24, dtype=torch.int64, device=DEVICE))
    return {"contiguous": all(seen), "fp32": single, "bf16": sorted(masks)}


def main(name: str) -> None:
    folder = Path(name)
    os.environ.pop("RANK", None)
    found = {
        "training_steps": training_steps(),
        "whole_runs": whole_runs(folder),
        "float32_products": float32_products(folder) if KIND == "cuda" else {},
        "refused": refused(folder) if KIND == "mps" else "",
        "losses_in_parts": losses_in_parts(),
        "in_a_run": evaluation_and_sample_in_a_run(folder) if KIND == "cuda" else {},
        "evaluation_of_a_folder": evaluation_of_a_folder(folder) if KIND == "cuda" else {},
        "resumed": resumed(),
        "evaluation_and_generation": evaluation_and_generation(),
        "recomputed_dropout": recomputed_dropout(),
        "layouts": {version: layouts(version) for version in ("2.11.0", "2.13.0+cpu")},
    }
    print(json.dumps(found))

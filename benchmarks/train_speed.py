"""Tokens per second of textmill's training steps beside a plain loop and other programs, all in one run.

    python benchmarks/train_speed.py --configs S M --threads 2
    python benchmarks/train_speed.py --configs S M --nanogpt FOLDER --peers transformers litgpt

Each side lives in a process of its own, because the allocator and the matrix library are settings of a process. They
take turns, block by block, so that all meet the same noise; the medians over the blocks are compared.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import platform
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from products import Products

CONFIGS: dict[str, dict[str, int]] = {
    "S": {"vocab": 65, "width": 128, "layers": 4, "heads": 4, "context": 64, "batch": 12},
    "M": {"vocab": 65, "width": 384, "layers": 6, "heads": 6, "context": 256, "batch": 16},
    "L": {"vocab": 8192, "width": 384, "layers": 6, "heads": 6, "context": 256, "batch": 16},
}
STEPS_PER_BLOCK = {"S": 40, "M": 3, "L": 2}
OURS = ("gpt2", "qwen3", "no flags")
"""gpt2 has the mathematics of the plain loop, qwen3 is the default family, both with AdamW; "no flags" has shape and
number of steps, as whoever starts a run of that shape has, and so the default optimizer too."""


def settings_of(config: dict[str, int], side: str, ids: str, folder: Path) -> dict[str, Any]:
    """Return the settings of one of our sides."""
    values: dict[str, Any] = {
        "data": [ids],
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / f"run-{side.replace(' ', '-')}"),
        "overwrite": True,
        "vocab_size": config["vocab"],
        "d_model": config["width"],
        "num_layers": config["layers"],
        "num_heads": config["heads"],
        "max_seq_len": config["context"],
        "batch_size": config["batch"],
    }
    if side == "no flags":
        return values | {"max_steps": 1000, "eval_steps": 1000, "save_steps": 1000}
    far = {"max_steps": 1_000_000, "eval_steps": 1_000_000, "save_steps": 1_000_000}
    activation = {"activation": "gelu"} if side == "gpt2" else {}  # the exact one, as on the plain side
    recipe = {"architecture": side, "dropout": 0.0, "learning_rate": 1e-3, "lr_schedule": "constant"}
    return values | far | activation | recipe


def serve(
    side: str, config: dict[str, int], ids: str, folder: Path, threads: int, nanogpt: Path, pipe: Connection
) -> None:
    """Say that it is ready, then train as many steps as the pipe asks for, again and again; answer with the seconds.

    Asked for 0 steps, answer with the seconds and the operations of a step's matrix products alone, and their format.
    """
    import torch

    torch.set_num_threads(threads)
    with trainer(side, config, ids, folder, threads, nanogpt) as (run_steps, products):
        pipe.send("ready")
        while (steps := pipe.recv()) is not None:
            if steps:
                pipe.send(run_steps(steps))
            else:
                pipe.send((products.run(), products.operations, products.format) if products else (0.0, 0, ""))


@contextmanager
def trainer(
    side: str, config: dict[str, int], ids: str, folder: Path, threads: int, nanogpt: Path
) -> Iterator[tuple[Callable[[int], float], Products | None]]:
    """Yield what runs steps and returns the seconds, and for our sides the matrix products."""
    import peers
    import torch
    from plain import PlainTrainer
    from products import Products

    if side == "plain":
        yield PlainTrainer(ids, **config).run_timed, None
    elif side == "nanogpt":
        yield peers.nanogpt(ids, nanogpt, config), None
    elif side == "litgpt":
        yield peers.litgpt(ids, config), None
    elif side == "transformers":
        yield peers.transformers(ids, folder, config), None
    else:
        import textmill
        from textmill.console.screen import Screen

        values = {**settings_of(config, side, ids, folder), "threads": threads}
        with textmill.assemble(textmill.load_config(values), screen=Screen(quiet=True)) as run:
            steps = textmill.steps(run)

            def run_steps(count: int) -> float:
                started = time.perf_counter()
                for _ in range(count):
                    next(steps)
                return time.perf_counter() - started

            dtype = torch.bfloat16 if run.engine.precision.name == "bf16" else torch.float32
            yield run_steps, Products("gpt2" if side == "gpt2" else "qwen3", dtype, **config)


def compare(
    name: str, ids: str, folder: Path, threads: int, blocks: int, others: list[str], nanogpt: Path
) -> dict[str, Any]:
    """Return for every side the median tokens per second, and the ratios to the first side that is not ours."""
    config = CONFIGS[name]
    sides = (*others, *OURS)
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for side in sides:
        pipes[side], child = context.Pipe()
        arguments = (side, config, ids, folder, threads, nanogpt, child)
        process = context.Process(target=serve, args=arguments, daemon=True)
        process.start()
        processes.append(process)
        pipes[side].recv()  # one after the other: what is fastest here is tried where nothing else runs
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    products: dict[str, list[float]] = {side: [] for side in OURS}
    operations, formats = dict.fromkeys(OURS, 0), dict.fromkeys(OURS, "")
    steps = STEPS_PER_BLOCK[name]
    for block in range(blocks + 1):
        for side in sides:
            pipes[side].send(steps)
            taken = pipes[side].recv() / steps
            if block:  # the first block warms up
                seconds[side].append(taken)
            if block and side in OURS:
                pipes[side].send(0)
                alone, operations[side], formats[side] = pipes[side].recv()
                products[side].append(alone)
    for pipe in pipes.values():
        pipe.send(None)
    for process in processes:
        process.join(60)
    tokens = config["batch"] * config["context"]
    return {
        "config": name,
        "threads": threads,
        "tokens_per_second": {side: round(tokens / statistics.median(times)) for side, times in seconds.items()},
        "format": formats,
        **{f"times_{other}": _ratios(seconds, other) for other in others},
        "gflop_per_second": {side: round(operations[side] / statistics.median(seconds[side]) / 1e9) for side in OURS},
        "products_gflop_per_second": {
            side: round(operations[side] / statistics.median(products[side]) / 1e9) for side in OURS
        },
        "share_of_products": {side: _middle(products[side], seconds[side])[0] for side in OURS},
    }


def _ratios(seconds: dict[str, list[float]], other: str) -> dict[str, list[float]]:
    """Return for every side how many times faster it is than `other`: median, lowest and highest of the blocks."""
    return {side: _middle(seconds[other], times) for side, times in seconds.items() if side != other}


def _middle(above: list[float], below: list[float]) -> list[float]:
    ratios = [one / another for one, another in zip(above, below)]
    return [round(value, 3) for value in (statistics.median(ratios), min(ratios), max(ratios))]


def overhead(name: str, ids: str, folder: Path, threads: int, steps: int) -> dict[str, float]:
    """Return what else a run does, each as a share of its training: evaluations, checkpoints, logging, and all three.

    The cadence is that of nanoGPT's run on a CPU: every 250 steps an evaluation on 20 batches and a checkpoint, every
    10 steps a report. The acts are those of textmill's own loop.
    """
    import textmill
    from textmill.console.screen import Screen
    from textmill.training.evaluate_and_sample import evaluate

    config = CONFIGS[name]
    values = settings_of(config, "gpt2", ids, folder) | {"max_steps": steps, "threads": threads}
    values |= {"eval_steps": 250, "save_steps": 250, "eval_batches": 5, "eval_batch_size": 4 * config["batch"]}
    seconds: dict[str, float] = {"evaluations": 0.0, "checkpoints": 0.0, "logging": 0.0}

    @contextmanager
    def counted(act: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[act] += time.perf_counter() - started

    with textmill.assemble(textmill.load_config(values), screen=Screen(quiet=True)) as run:
        for step in textmill.steps(run):
            if step.every(run.log_every):
                with counted("logging"):
                    run.track(step.measured())
            if step.every(run.eval_every):
                with counted("evaluations"):
                    run.track_evaluation(step, evaluate(run))
            if step.every(run.save_every):
                with counted("checkpoints"):
                    textmill.save(run)
    seconds["all"] = sum(seconds.values())
    return {act: round(value / run.progress.training_seconds, 4) for act, value in seconds.items()}


def write_ids(folder: Path) -> str:
    """Return an array of ids below 65, made of real text: the bytes of Python's own library, folded."""
    source = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    text = b"".join(path.read_bytes() for path in source)[:1_100_000]
    np.save(folder / "ids.npy", (np.frombuffer(text, dtype=np.uint8) % 65).astype(np.uint16))
    return str(folder / "ids.npy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", choices=sorted(CONFIGS), default=["S", "M"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nanogpt", type=Path, default=Path(), help="the folder of nanoGPT's program, to compare with")
    parser.add_argument("--peers", nargs="+", choices=("transformers", "litgpt"), default=[], help="also compare with")
    parser.add_argument("--blocks", type=int, default=9, help="timed blocks of each side")
    parser.add_argument(
        "--overhead-steps", type=int, default=0, help="also run so many steps and measure what else a run does"
    )
    parser.add_argument("--output", type=Path, help="append the result to this JSON Lines file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = write_ids(folder)
        load = busy()
        for config in arguments.configs:
            others = ["plain", *(["nanogpt"] if arguments.nanogpt.name else []), *arguments.peers]
            result = compare(
                config, ids, folder, arguments.threads, arguments.blocks, others, arguments.nanogpt.resolve()
            )
            if arguments.overhead_steps:
                result["overhead"] = overhead(config, ids, folder, arguments.threads, arguments.overhead_steps)
            result |= {"date": datetime.date.today().isoformat(), "machine": machine(), "foreign_load": load}
            print(json.dumps(result, indent=1))
            if arguments.output:
                with arguments.output.open("a") as file:
                    file.write(json.dumps(result) + "\n")


def busy() -> float:
    """Return how many cores other programs keep busy, and say so on the error output if it is more than a tenth."""
    from textmill.machine.cpu_contention import foreign_load

    load = round(foreign_load(1.0), 2)
    if load > 0.1:
        print(f"other programs keep {load} cores busy: these ratios are less certain", file=sys.stderr)
    return load


def machine() -> str:
    import torch

    from textmill.machine.precision import cpu_multiplies_bf16

    capabilities = torch.backends.cpu.get_cpu_capability()
    bf16 = "with fast bf16" if cpu_multiplies_bf16() else "without fast bf16"
    return f"{platform.machine()}, {capabilities} {bf16}, torch {torch.__version__}"


if __name__ == "__main__":
    main()

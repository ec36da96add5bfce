"""Tokens per second of textmill's training steps beside a plain loop, both in one run.

    python benchmarks/train_speed.py --configs S M --threads 2

Each side lives in a process of its own, because the allocator and the matrix library are settings of a process. They
take turns, block by block, so that both meet the same noise; the medians over the blocks are compared.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import platform
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

CONFIGS: dict[str, dict[str, int]] = {
    "S": {"vocab": 65, "width": 128, "layers": 4, "heads": 4, "context": 64, "batch": 12},
    "M": {"vocab": 65, "width": 384, "layers": 6, "heads": 6, "context": 256, "batch": 16},
    "L": {"vocab": 8192, "width": 384, "layers": 6, "heads": 6, "context": 256, "batch": 16},
}
STEPS_PER_BLOCK = {"S": 40, "M": 3, "L": 2}
SIDES = ("plain", "gpt2", "qwen3")


def settings_of(config: dict[str, int], architecture: str, ids: str, folder: Path) -> dict[str, Any]:
    return {
        "data": [ids],
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / f"run-{architecture}"),
        "overwrite": True,
        "architecture": architecture,
        **({"activation": "gelu"} if architecture == "gpt2" else {}),  # the exact one, as on the plain side
        "vocab_size": config["vocab"],
        "d_model": config["width"],
        "num_layers": config["layers"],
        "num_heads": config["heads"],
        "max_seq_len": config["context"],
        "batch_size": config["batch"],
        "dropout": 0.0,
        "learning_rate": 1e-3,
        "lr_schedule": "constant",
        "max_steps": 1_000_000,
        "eval_steps": 1_000_000,
        "save_steps": 1_000_000,
    }


def serve(side: str, config: dict[str, int], ids: str, folder: Path, threads: int, pipe: Connection) -> None:
    """Train on one side as many steps as the pipe asks for, again and again, and answer with the seconds they took."""
    import torch

    torch.set_num_threads(threads)
    with trainer(side, config, ids, folder, threads) as run_steps:
        while steps := pipe.recv():
            started = time.perf_counter()
            run_steps(steps)
            pipe.send(time.perf_counter() - started)


@contextmanager
def trainer(side: str, config: dict[str, int], ids: str, folder: Path, threads: int) -> Iterator[Any]:
    if side == "plain":
        from plain import PlainTrainer

        yield PlainTrainer(ids, **config).run
        return
    import textmill
    from textmill.console.screen import Screen

    values = {**settings_of(config, side, ids, folder), "threads": threads}
    with textmill.assemble(textmill.load_config(values), screen=Screen(quiet=True)) as run:
        steps = textmill.steps(run)

        def run_steps(count: int) -> None:
            for _ in range(count):
                next(steps)

        yield run_steps


def compare(name: str, ids: str, folder: Path, threads: int, blocks: int) -> dict[str, Any]:
    """Return the median tokens per second of every side at one configuration, and the ratios to the plain loop."""
    config = CONFIGS[name]
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for side in SIDES:
        pipes[side], child = context.Pipe()
        process = context.Process(target=serve, args=(side, config, ids, folder, threads, child), daemon=True)
        process.start()
        processes.append(process)
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    steps = STEPS_PER_BLOCK[name]
    for block in range(blocks + 1):
        for side in SIDES:
            pipes[side].send(steps)
            taken = pipes[side].recv()
            if block:  # the first block warms up
                seconds[side].append(taken)
    for side in SIDES:
        pipes[side].send(0)
    for process in processes:
        process.join(60)
    tokens = steps * config["batch"] * config["context"]
    speed = {side: tokens / statistics.median(times) for side, times in seconds.items()}
    ratios = [[plain / ours for plain, ours in zip(seconds["plain"], seconds[side])] for side in SIDES]
    return {
        "config": name,
        "threads": threads,
        "tokens_per_second": {side: round(value) for side, value in speed.items()},
        "ratio": {side: round(statistics.median(ratio), 3) for side, ratio in zip(SIDES, ratios)},
    }


def overhead(name: str, ids: str, folder: Path, threads: int, steps: int) -> dict[str, float]:
    """Return what else a run does, each as a share of its training: evaluations, checkpoints, logging, and all three.

    The cadence is that of nanoGPT's run on a CPU: every 250 steps an evaluation on 20 batches and a checkpoint, every
    10 steps a report. The acts are those of textmill's own loop.
    """
    import textmill
    from textmill.console.screen import Screen
    from textmill.training.evaluate_held_out import evaluate

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
    parser.add_argument("--blocks", type=int, default=9, help="timed blocks of each side")
    parser.add_argument(
        "--overhead-steps", type=int, default=0, help="also run so many steps and measure what else a run does"
    )
    parser.add_argument("--output", type=Path, help="append the result to this JSON Lines file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = write_ids(folder)
        for config in arguments.configs:
            result = compare(config, ids, folder, arguments.threads, arguments.blocks)
            if arguments.overhead_steps:
                result["overhead"] = overhead(config, ids, folder, arguments.threads, arguments.overhead_steps)
            result |= {"date": datetime.date.today().isoformat(), "machine": machine()}
            print(json.dumps(result))
            if arguments.output:
                with arguments.output.open("a") as file:
                    file.write(json.dumps(result) + "\n")


def machine() -> str:
    import torch

    capabilities = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()}, {capabilities}, torch {torch.__version__}"


if __name__ == "__main__":
    main()

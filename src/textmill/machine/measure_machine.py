"""What this machine computes with, how fast it multiplies, and what could be improved."""

import shutil
import time
from dataclasses import asdict
from typing import Any

import torch

from textmill.machine.cpu_contention import contention_warning, foreign_load
from textmill.machine.device_choice import choose_device
from textmill.machine.device_memory import memory_for_run
from textmill.machine.devices import cores
from textmill.machine.kernel_choices import apply_kernels
from textmill.machine.kernel_notes import findings_here
from textmill.machine.precision import choose_precision, cpu_multiplies_bf16

SIDE = {"cpu": 768, "cuda": 4096, "mps": 2048}
"""Rows and columns of the matrices that are multiplied to measure."""

MEASURE_SECONDS = 0.25

SLOW_FLOPS = 20e9
"""Float32 operations per second of one thread below which something is wrong with the processor."""


def examine(device: str = "auto") -> dict[str, Any]:
    """Return device, threads, formats, kernel choices, CPU contention and measured rates [FLOP/s], JSON-ready.

    Takes about a second on a quiet machine. Raises ConfigError when there is no such device.
    """
    load = foreign_load(0.2)
    chosen = choose_device(device)
    kernels = apply_kernels(chosen)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type,
        "kind": chosen.type,
        "precision": choose_precision("auto", chosen).name,
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "foreign_load": round(load, 2),
        "kernels": kernels,
        "tried": [asdict(finding) for finding in findings_here()],
        "flops": {"fp32": matmul_rate(chosen, torch.float32)},
    }
    if chosen.type == "cpu":
        found["bf16_instructions"] = cpu_multiplies_bf16()
    if found["precision"] != "fp32":
        half = torch.bfloat16 if found["precision"] == "bf16" else torch.float16
        found["flops"][found["precision"]] = matmul_rate(chosen, half)
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info(chosen)
        found |= {"free_memory": free, "memory": total, "gpus": torch.cuda.device_count()}
    elif chosen.type == "mps":
        found["free_memory"] = memory_for_run("mps")
    return found


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a product of two square matrices, the best of some tries."""
    side = SIDE[device.type]
    left = torch.randn(side, side, device=device, dtype=dtype)
    right = torch.randn(side, side, device=device, dtype=dtype)
    synchronize = torch.get_device_module(device).synchronize
    best, deadline = float("inf"), time.perf_counter() + MEASURE_SECONDS
    for _ in range(3):  # the first ones choose kernels and fill caches
        torch.mm(left, right)
    while True:
        synchronize()
        started = time.perf_counter()
        torch.mm(left, right)
        synchronize()
        now = time.perf_counter()
        best = min(best, now - started)
        if now > deadline:
            return 2 * side**3 / best


def advice(found: dict[str, Any]) -> list[str]:
    """Return sentences of advice, from what `examine` found and the `cache` folder with its free bytes."""
    said = []
    threads, rate = found["threads"], found["flops"]["fp32"]
    if found["kind"] == "cpu":
        busy = contention_warning(threads, found["foreign_load"])
        if busy is not None:
            said.append(busy)
        elif rate / threads < SLOW_FLOPS:
            slow = f"a matrix product reaches {rate / 1e9:.0f} GFLOP/s on {threads} threads, which is little"
            said.append(f"{slow}: is the processor throttled, or shared with other machines?")
        if not found["bf16_instructions"]:
            said.append("bfloat16 products are not faster than float32 here: training runs in fp32")
        if threads < found["cores"]:
            said.append(f"{threads} of {found['cores']} cores are used: see OMP_NUM_THREADS, or --threads")
        if shutil.which("nvidia-smi") is not None:
            said.append("there is an NVIDIA driver, but this PyTorch sees no GPU: install its CUDA build")
    half = found["flops"].get("bf16")
    if half is not None and half < rate:
        said.append("bfloat16 products are slower than float32 here: try --precision fp32")
    if found["cache"]["free"] < 2e9:
        said.append(f"little disk space is left for prepared text in {found['cache']['folder']}: textmill cache clean")
    return said

"""What this machine computes with, and how fast it multiplies."""

import time
from typing import Any

import torch

from textmill.machine.cpu_contention import cores, foreign_load
from textmill.machine.device_choice import choose_device
from textmill.machine.kernel_choices import apply_kernels
from textmill.machine.precision import choose_precision, cpu_multiplies_bf16

SIDE = {"cpu": 768, "cuda": 4096, "mps": 2048}
"""Rows and columns of the matrices that are multiplied to measure."""

MEASURE_SECONDS = 0.25


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
    return found


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a product of two square matrices, the best of some tries."""
    side = SIDE[device.type]
    left = torch.randn(side, side, device=device, dtype=dtype)
    right = torch.randn(side, side, device=device, dtype=dtype)
    best, deadline = float("inf"), time.perf_counter() + MEASURE_SECONDS
    for _ in range(3):  # the first ones choose kernels and fill caches
        torch.mm(left, right)
    while True:
        _wait(device)
        started = time.perf_counter()
        torch.mm(left, right)
        _wait(device)
        now = time.perf_counter()
        best = min(best, now - started)
        if now > deadline:
            return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

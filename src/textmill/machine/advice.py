"""What could be improved about this machine."""

import shutil
from typing import Any

from textmill.machine.cpu_contention import contention_warning

SLOW_FLOPS = 20e9
"""Float32 operations per second of one thread below which something is wrong with the processor."""


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
            said.append("this processor has no bfloat16 instructions: training runs in fp32, at half the speed or less")
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

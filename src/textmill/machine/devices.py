"""Peak rates of GPUs, and what this machine has, found without PyTorch."""

import os
import platform
from pathlib import Path

from textmill.machine.container_limits import container_limits, whole_cores

# Dense bfloat16 tensor throughput in FLOP/s, from the vendors' data sheets (without sparsity).
PEAK_BF16_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "GH200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 150e12,
    "A30": 165e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 5090": 209e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def processors() -> int:
    """Return how many processors this process may run on."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def cores() -> int:
    """Return how many threads can compute at once: one per processor, or as many as a container gives time for."""
    limit = container_limits().cores
    return processors() if limit is None else min(processors(), whole_cores(limit))


def peak_flops(device_name: str) -> float | None:
    """Return the dense bf16 (fp16 before Ampere) FLOP/s of the GPU with this name, or None when it is not known.

    The longest known name contained in `device_name` wins, so that "H100 PCIe" is not taken for the SXM card.
    """
    known = [name for name in PEAK_BF16_FLOPS if name.lower() in device_name.lower()]
    return PEAK_BF16_FLOPS[max(known, key=len)] if known else None


def likely_device() -> str:
    """Return the device that `auto` will most likely mean on this machine, found without PyTorch: cuda, mps or cpu."""
    if any(Path("/proc/driver/nvidia/gpus").glob("*")):
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


def likely_precision(device: str) -> str:
    """Return the precision that `auto` will most likely mean on `device`, found without PyTorch."""
    if device == "cuda":
        return "bf16"
    return "bf16" if device == "cpu" and cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"} else "fp32"


def cpu_flags() -> set[str]:
    """Return the instruction sets that the operating system lists for this processor; empty where it lists none."""
    lines = [line for line in _cpu_lines() if line.startswith(("flags", "Features"))]
    return {flag for line in lines for flag in line.split(":", 1)[1].split()}


def processor() -> str:
    """Return the name of this processor, with what tells apart models of one name."""
    named = ("vendor_id", "cpu family", "model\t", "model name", "stepping", "CPU implementer", "CPU part")
    found: dict[str, str] = {}
    for line in _cpu_lines():
        if line.startswith(named):
            found.setdefault(*(part.strip() for part in line.split(":", 1)))
    return ", ".join(found.values()) or platform.processor() or platform.machine()


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []

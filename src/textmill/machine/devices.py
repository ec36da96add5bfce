"""Peak rates of GPUs, and what this machine has, found without PyTorch."""

import importlib.util
import os
import platform
import re
from pathlib import Path

from textmill.machine.container_limits import container_limits, whole_cores

# Dense bfloat16 tensor throughput in FLOP/s, from the vendors' data sheets (without sparsity).
PEAK_BF16_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H200 NVL": 835e12,
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
    "A10G": 70e12,
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


_SAYS_NOTHING = re.compile(r"nvidia|tesla|geforce|sxm\d*|hbm\d\w*|\d+gb?", re.IGNORECASE)
"""Words in the name of a GPU that leave its throughput as it is: makers, sockets, memory."""


def cores() -> int:
    """Return how many threads can compute at once: one per processor, or as many as a container gives time for."""
    limit = container_limits().cores
    return processors() if limit is None else min(processors(), whole_cores(limit))


def peak_flops(device_name: str) -> float | None:
    """Return the dense bf16 (fp16 before Ampere) FLOP/s of the GPU with this name, or None when it is not known.

    What is left of `device_name` without maker, socket and memory has to be a known name: an RTX A4000 is no A40, a
    laptop's RTX 4090 and a part of an A100 are slower than the whole card. With PCIe and without it, a card has one
    throughput unless it is listed twice.
    """
    words = [word for word in re.split(r"[\s-]+", device_name) if word and not _SAYS_NOTHING.fullmatch(word)]
    known = {name.lower(): flops for name, flops in PEAK_BF16_FLOPS.items()}
    named = " ".join(words).lower()
    without = " ".join(word for word in words if word.lower() != "pcie").lower()
    return known.get(named, known.get(without))


def likely_device(root: Path = Path("/"), torch: Path | None = None) -> str:
    """Return the device that `auto` will most likely mean on this machine, found without PyTorch: cuda, mps or cpu.

    root: where the machine's files are. torch: the folder of PyTorch, which is not imported (None: the installed one).
    """
    if _has_nvidia_gpu(root) and _is_for_cuda(torch):
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


def _has_nvidia_gpu(root: Path) -> bool:
    """Whether files tell of an NVIDIA GPU that this process may see."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    dev = root / "dev"
    if any((root / "proc/driver/nvidia/gpus").glob("*")) or any(dev.glob("nvidia[0-9]*")):
        return True
    if (dev / "nvhost-gpu").exists():  # Jetson
        return True
    if (dev / "dxg").exists():  # Linux inside of Windows: the driver is that of Windows
        return any((root / "usr/lib/wsl/lib").glob("libcuda.so*"))
    return (root / "Windows/System32/nvcuda.dll").exists()


def _is_for_cuda(torch: Path | None) -> bool:
    """Whether PyTorch was built for NVIDIA GPUs: without, it computes on the CPU whatever the machine has."""
    if torch is None:
        spec = importlib.util.find_spec("torch")
        torch = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    return torch is not None and any((torch / "lib").glob("*torch_cuda.*"))


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

"""The memory that a run can have on its device."""

from __future__ import annotations

import psutil

from textmill.machine.memory import free_memory

RUNTIME = {"cpu": 400 * 10**6, "cuda": 600 * 10**6, "mps": 300 * 10**6}
"""Allowance for PyTorch itself: resident code and buffers on a CPU, the context and library buffers on a GPU."""


def memory_for_run(kind: str, index: int | None = None, *, sharing: int = 1) -> int | None:
    """Return the bytes that one process of a run can take on a device, or None where that is not known.

    What PyTorch takes for itself (`RUNTIME`) is counted as free, whether it is taken already or not, so that the answer
    is the same before and after PyTorch has begun to use the device.

    kind: cpu, cuda or mps; for a GPU, PyTorch is imported. index: which GPU. sharing: processes that share a CPU's.
    """
    if kind == "cpu":
        free = free_memory()
        return None if free is None else free // sharing + min(psutil.Process().memory_info().rss, RUNTIME["cpu"])
    import torch

    try:
        if kind == "cuda":
            free = torch.cuda.mem_get_info(index)[0]
            unused = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
            return free + unused + RUNTIME["cuda"]
        # Memory is one for CPU and GPU: what Metal allows, but no more than there is.
        allowed = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        free = free_memory()
        return allowed if free is None else min(allowed, free)
    except (RuntimeError, AssertionError, AttributeError):  # no such device, or a driver that does not tell
        return None

"""Memory: how much is free, how much was used, and whether an error says that it ran out. PyTorch is not needed."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import psutil

from textmill.machine.container_limits import container_limits, sentence
from textmill.machine.devices import processors

if TYPE_CHECKING:
    import torch

_OUT_OF_MEMORY = ("defaultcpuallocator", "out of memory", "_status_alloc_failed", "invalid buffer size")
"""Words, one of which occurs in PyTorch's RuntimeErrors for memory that ran out: of the machine, of a GPU, of a library
of NVIDIA's (cuBLAS, cuDNN, cuSOLVER and others allocate by themselves), of Metal where one tensor is too large."""

NO_THREADS = (
    "the system starts no more threads: the limit of processes (ulimit -u, pids.max of a container) or of memory is "
    "reached. Raise it, end other programs, or use fewer with --threads and --num-workers"
)
"""What to say of an error for which `is_out_of_threads` is true."""


def free_memory() -> int | None:
    """Return the bytes of memory that this process can still have, or None where it is not known.

    What the machine has free counts, and what the process's container still allows.
    """
    allowed = container_limits().free
    try:
        free = psutil.virtual_memory().available
    except (OSError, RuntimeError):  # a container may hide what it is read from
        return allowed
    return free if allowed is None else min(free, allowed)


def container_sentence() -> str | None:
    """Return what the container of this process allows of the machine; None if that is all, or there is none."""
    try:
        memory = psutil.virtual_memory().total
    except (OSError, RuntimeError):
        memory = sys.maxsize
    return sentence(container_limits(), memory, processors())


def peak_memory_gib(device: torch.device) -> float:
    """Return the most memory used so far in GiB: by PyTorch on a GPU, by the process (resident) on a CPU.

    On an Apple GPU it is what PyTorch has taken from Metal, which it keeps: nothing counts the peak there.
    """
    if device.type == "cpu":
        return _peak_resident() / 2**30
    import torch

    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / 2**30
    return torch.cuda.max_memory_allocated(device) / 2**30


def _peak_resident() -> int:
    """Return the most bytes of memory that this process has had."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:  # Windows
        return getattr(psutil.Process().memory_info(), "peak_wset", 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if psutil.MACOS else 1024 * peak


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: of a GPU, of PyTorch on a CPU, or of Python."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def is_out_of_threads(error: BaseException) -> bool:
    """Whether `error` says that the system refused to start a thread: of Python, or of PyTorch."""
    words = ("can't start new thread", "resource temporarily unavailable")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)

"""Which of several ways this machine computes the same thing: threads, the matrix library, the memory allocator.

The choices change the last bits of a result, so a run records them and a resumed run restores them. What is timed here
is decided only by a clear difference, so that the same run started twice makes the same choices; what a longer run
gains by closer ones is tried at its own shapes (`training/kernel_trial.py`) and noted.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from textmill.machine.container_limits import container_limits, whole_cores
from textmill.machine.devices import processor
from textmill.machine.precision import CLEARLY, product_seconds
from textmill.machine.pytorch_since import CHOICE_OF_FLOAT32_LIBRARY

MEBIBYTE = 1 << 20


def apply_kernels(
    device: torch.device, *, threads: int | None = None, onednn: bool | None = None, deterministic: bool = False
) -> dict[str, Any]:
    """Make this process compute in the fastest way that is known to be right here; return the choices.

    threads: CPU threads of one operation (None: what PyTorch chose, see `limit_threads`).
    onednn: whether float32 matrix products go through oneDNN instead of the default library (None: choose).
    deterministic: see `refuse_random_order`.
    """
    if deterministic:
        refuse_random_order()
    if threads is not None:
        torch.set_num_threads(threads)
    else:
        limit_threads()
    keep_large_blocks()
    use_onednn = (device.type == "cpu" and prefers_onednn()) if onednn is None else onednn
    set_onednn(use_onednn)
    return {"threads": torch.get_num_threads(), "onednn": use_onednn, **this_machine()}


def limit_threads() -> None:
    """Compute with no more threads than a container gives time for; what OMP_NUM_THREADS says is left as it is.

    PyTorch counts the processors of the machine. More threads than the container's quota use up its time at once, and
    all of them stand still until the next period.
    """
    limit = container_limits().cores
    if limit is not None and "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > whole_cores(limit):
        torch.set_num_threads(whole_cores(limit))


def this_machine() -> dict[str, str]:
    """Return what the results of kernels depend on: the processor, and the instructions that PyTorch uses of it."""
    return {"processor": processor(), "capability": torch.backends.cpu.get_cpu_capability()}


def set_onednn(on: bool) -> None:
    """Send float32 matrix products on the CPU through oneDNN, or through the default library, where PyTorch can."""
    if CHOICE_OF_FLOAT32_LIBRARY.here():
        # The name of the setting says bf16; without AMX oneDNN still computes in float32, which the probe verifies.
        matmul = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
        matmul.fp32_precision = "bf16" if on else "none"


@cache
def prefers_onednn() -> bool:
    """Whether oneDNN is clearly the faster float32 library here, and exact: measured once, in milliseconds.

    The default library, MKL, is slower than oneDNN by a factor of about two on some processors, and faster on others.
    """
    if not onednn_is_exact():
        return False
    default = product_seconds(torch.float32)
    set_onednn(True)
    try:
        return product_seconds(torch.float32) < CLEARLY * default
    finally:
        set_onednn(False)


@cache
def onednn_is_exact() -> bool:
    """Whether float32 products can be sent through oneDNN, and are as exact there as float32 is.

    On processors with matrix tiles (AMX) the setting that sends products to oneDNN makes it round them to bfloat16.
    """
    if not CHOICE_OF_FLOAT32_LIBRARY.here() or not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 64, 256, generator=generator).unbind(0)
    exact = left.double() @ right.double().T
    set_onednn(True)
    try:
        error = ((left @ right.T).double() - exact).abs().max() / exact.abs().max()
    finally:
        set_onednn(False)
    return error.item() < 1e-5  # float32 gives about 3e-7 here, bfloat16 about 3e-3


def refuse_random_order() -> None:
    """Make PyTorch use only kernels that repeat their results to the bit, and refuse operations that have none.

    Has to be called before the first matrix product on a GPU, because cuBLAS reads its setting once.
    https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")  # compiled kernels are not chosen by a stopwatch
    torch.use_deterministic_algorithms(True)
    # Filling new memory helps to find reads of it, and costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def random_order_allowed() -> Iterator[None]:
    """Allow any kernel inside, for results that nothing is learned from; outside it is as before."""
    if not torch.are_deterministic_algorithms_enabled():  # setting what is set imports the compiler, for two seconds
        yield
        return
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warned)


def keep_large_blocks() -> None:
    """Make glibc's allocator keep freed blocks for the next step instead of returning them to the system.

    A training step frees and allocates the same large tensors each time; without this, each costs page faults.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, such as musl
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt(mmap_threshold, 1024 * MEBIBYTE)
    mallopt(trim_threshold, 2047 * MEBIBYTE)
    mallopt(top_pad, 64 * MEBIBYTE)

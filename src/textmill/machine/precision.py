"""The number format in which matrix products run. Weights and optimizer are always float32."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch

from textmill.errors import ConfigError

PRECISIONS = ("fp32", "bf16", "fp16")

CLEARLY = 0.8
"""Share of the time of one way to multiply that another has to stay below, to be clearly the faster one."""


@dataclass(frozen=True)
class Precision:
    """`name` is fp32, bf16 or fp16; the last two are torch.autocast over float32 weights."""

    name: str
    device_type: str

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which matrix products run in this format."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device_type, dtype=dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """Return a fresh loss scaler where the format needs one: fp16, whose small gradients would become zero."""
        return torch.amp.GradScaler(self.device_type) if self.name == "fp16" else None


@contextmanager
def float32_products(precision: Precision) -> Iterator[None]:
    """Inside, products of float32 matrices on an NVIDIA GPU are exact in fp32, and TF32 in bf16 and fp16.

    TF32 keeps 10 bits of the fraction of what is multiplied, as float16 does, and is up to eight times as fast. In half
    precision it computes only what autocast leaves in float32.
    """
    if precision.device_type != "cuda":  # elsewhere PyTorch refuses to tell it once oneDNN is chosen for products
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if precision.name == "fp32" else "high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the precision that `name` means on `device`.

    `auto` is bf16 where its products are faster than those of float32, else fp16 on a CUDA GPU, else fp32.

    Raises:
        ConfigError: the format is unknown or the device cannot run it.
    """
    if name == "auto":
        if device.type == "cuda":
            name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        else:
            name = "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"
    if name not in PRECISIONS:
        raise ConfigError(f"precision: {name!r} is unknown; choose auto, {', '.join(PRECISIONS)}")
    if name != "fp32" and device.type == "mps":
        raise ConfigError(f"precision: {name} is not supported on mps; use --precision fp32")
    return Precision(name, device.type)


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether bfloat16 products are clearly faster than float32 ones here: measured once, in some milliseconds.

    The processor's instructions do not tell: a matrix library that does not use them multiplies bfloat16 tens of times
    slower than float32, one that does at least twice as fast. A small product comes first, because slow is very slow;
    not too small a one, because choosing the kernel takes longer than multiplying 64 x 64 where there are matrix tiles.
    """
    if product_seconds(torch.bfloat16, side=128) > 4 * product_seconds(torch.float32, side=128):
        return False
    return product_seconds(torch.bfloat16) < CLEARLY * product_seconds(torch.float32)


def product_seconds(dtype: torch.dtype, *, side: int = 256) -> float:
    """Return the seconds that one thread takes for a product of two `side` x `side` matrices, the best of many.

    One thread, because several wait for each other where other programs use the cores, which makes the answer chance.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        left, right = torch.ones(2, side, side, dtype=dtype).unbind(0)
        torch.mm(left, right)  # the first one chooses a kernel
        seconds = []
        for _ in range(12):
            started = time.perf_counter()
            torch.mm(left, right)
            seconds.append(time.perf_counter() - started)
        return min(seconds)
    finally:
        torch.set_num_threads(threads)

"""Ids on their way from the device to the host, so that it can give the device more to compute before it reads them.

A copy waits for all that the device was given before it. So it is begun as soon as the ids are computed, into pinned
memory, with an event behind it. Waiting for the event is waiting for the ids, not for what was given to the device
later.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def ids_to_host(ids: Tensor) -> Callable[[], list[int]]:
    """Begin to copy ids (N,) to the host; return what waits for them. Only NVIDIA's GPUs copy in the background."""
    if not ids.is_cuda:
        return ids.tolist
    copy = ids.to("cpu", non_blocking=True)  # in pinned memory, which PyTorch chooses for such a copy
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(ids.device))

    def read() -> list[int]:
        copied.synchronize()
        return copy.tolist()

    return read

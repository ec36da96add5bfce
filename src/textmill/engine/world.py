"""Who else takes part in this run. The only reader of RANK, LOCAL_RANK and WORLD_SIZE."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from textmill.errors import ConfigError, PeerLostError


@dataclass(frozen=True)
class World:
    """This process's place among `size` processes that train together; rank 0 of 1 when it is alone.

    device: where this process computes. Collective calls on host values use a gloo group, so they never touch it.
    """

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def sum(self, value: int | float) -> int | float:
        """Return the sum of `value` over all processes, the same on each."""
        return self._reduce(value, dist.ReduceOp.SUM) if self.size > 1 else value

    def max(self, value: int | float) -> int | float:
        """Return the largest `value` of all processes, the same on each."""
        return self._reduce(value, dist.ReduceOp.MAX) if self.size > 1 else value

    def barrier(self) -> None:
        """Every process has arrived here."""
        if self.size > 1:
            self.sum(0)

    def _reduce(self, value: int | float, operation: dist.ReduceOp.RedOpType) -> int | float:
        tensor = torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
        try:
            dist.all_reduce(tensor, operation, group=self.control)
        except RuntimeError as error:
            raise PeerLostError(
                f"rank {self.rank} lost another process of the run ({str(error).splitlines()[0]}); "
                "start again with --resume"
            ) from error
        return tensor.item()


def join_world(device: str = "auto", backend: str = "auto", *, timeout_seconds: float = 600.0) -> World:
    """Return this process's world, joining its process group when a launcher such as torchrun set one up.

    device: `auto` (CUDA, else Apple's MPS, else CPU), or a torch device name; a rank of a CUDA run gets its own GPU.
    backend: `auto` is nccl on CUDA and gloo elsewhere.

    Raises:
        ConfigError: the device is not there.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")), size=size)
    if size == 1:
        return World(0, 1, chosen)
    if backend == "auto":
        backend = "nccl" if chosen.type == "cuda" else "gloo"
    timeout = datetime.timedelta(seconds=timeout_seconds)
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=timeout, device_id=chosen if backend == "nccl" else None)
    control = dist.new_group(backend="gloo", timeout=timeout)
    assert isinstance(control, dist.ProcessGroup)  # every process is a member
    return World(rank, size, chosen, control)


def leave_world(world: World) -> None:
    """The process group that `join_world` joined is gone."""
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def choose_device(name: str, *, local_rank: int = 0, size: int = 1) -> torch.device:
    """Return the device that `name` means on this machine. Raises ConfigError when it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        elif torch.backends.mps.is_available():
            name = "mps"
        else:
            name = "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: {name!r} is not a device; choose auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("device: 'cuda' was asked for, but PyTorch sees no GPU here; use --device auto or cpu")
        index = local_rank if size > 1 else (device.index or 0)
        if index >= torch.cuda.device_count():
            raise ConfigError(f"device: there is no GPU {index}; this machine has {torch.cuda.device_count()}")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: 'mps' was asked for, but it is not available here; use --device auto or cpu")
    return device

"""The processes of a run, and how they communicate."""

import datetime
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from textmill import errors
from textmill.engine.peer_watch import PeerWatch
from textmill.engine.rendezvous import Meeting
from textmill.errors import ConfigError, Interrupted, PeerLostError, TextmillError
from textmill.machine.device_choice import choose_device
from textmill.machine.launcher import launcher_variable

TIMEOUT_SECONDS = 600.0
"""Seconds that a process waits for the others in a step. A peer that dies is noticed at once, one that hangs then."""

PATIENCE_SECONDS = 6 * 3600.0
"""Seconds that the others wait while the first process reads text or writes a checkpoint."""

_BROKEN = re.compile(r"connection (closed|reset|refused)|broken pipe|timed out|gloo|nccl|socket", re.IGNORECASE)


@dataclass(frozen=True)
class World:
    """This process's rank among the `size` processes that train together; rank 0 of 1 when it is alone.

    device: what this process computes on. control, patient: gloo groups for values of the host, which never touch the
    device; calls of `patient` may take hours. peers: notices processes that end while this one waits for its device.
    """

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup | None = None
    patient: dist.ProcessGroup | None = None
    peers: PeerWatch | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes files."""
        return self.rank == 0

    def sum(self, value: int | float) -> int | float:
        """Return the sum of `value` over all processes, the same on each."""
        return self._reduce(value, dist.ReduceOp.SUM) if self.size > 1 else value

    def sum_each(self, values: list[float]) -> list[float]:
        """Return the sum of each of the values over all processes, the same on each; all give equally many."""
        if self.size == 1 or not values:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        with self.watched():
            dist.all_reduce(tensor, group=self.control)
        return tensor.tolist()

    def max(self, value: int | float) -> int | float:
        """Return the largest `value` of all processes, the same on each."""
        return self._reduce(value, dist.ReduceOp.MAX) if self.size > 1 else value

    def barrier(self) -> None:
        """Wait until every process has called this."""
        if self.size > 1:
            self._exchange("")

    @contextmanager
    def together(self) -> Iterator[None]:
        """End the block in all processes with the error that any of them raised, if one did.

        For work that each process does for itself, or one does for all: no process is left waiting for one that failed.
        Inside, no process may wait for another.
        """
        mine: BaseException | None = None
        try:
            yield
        except BaseException as error:
            if self.size == 1:
                raise
            mine = error
        if self.size == 1:
            return
        told = self._exchange(_describe(mine) if mine is not None else "")
        failed = [rank for rank, outcome in enumerate(told) if outcome]
        if not failed:
            return
        error = mine if mine is not None else _same_error(told[failed[0]], failed[0])
        if isinstance(error, TextmillError):
            error.told = self.rank != failed[0]
        raise error

    def from_first(self, make: Callable[[], Any]) -> Any:
        """Run `make` in the first process alone and return its JSON-ready value in every process.

        Raises what `make` raises, in every process.
        """
        if self.size == 1:
            return make()
        with self.together():
            value = make() if self.is_first else None
        return self.gather(value)[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the `value` of every process, by rank, the same list on each: JSON-ready values."""
        return [json.loads(text) for text in self._exchange(json.dumps(value))] if self.size > 1 else [value]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise PeerLostError for communication that fails inside."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_broken_connection(error):
                raise
            reason = str(error).strip().splitlines()[0]
            raise PeerLostError(
                f"rank {self.rank} of {self.size} lost another process of the run ({reason}); start again with --resume"
            ) from error

    def ending(self, last_words: Callable[[str], None]) -> AbstractContextManager[None]:
        """Return a context in which this process ends with 69, soon after another one has ended, even if it is stuck.

        last_words: called before, with the reason.
        """
        if self.peers is None:
            return nullcontext()
        return self.peers.ending(
            lambda peer: last_words(
                f"rank {self.rank} of {self.size} lost another process of the run (rank {peer} has ended, and this one "
                "waited for it); start again with --resume"
            )
        )

    def alone(self) -> AbstractContextManager[None]:
        """Return a context for work that needs no other process: it is not ended when another one ends."""
        return nullcontext() if self.peers is None else self.peers.held()

    def _reduce(self, value: int | float, operation: dist.ReduceOp.RedOpType) -> int | float:
        tensor = torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
        with self.watched():
            dist.all_reduce(tensor, operation, group=self.control)
        return tensor.item()

    def _exchange(self, text: str) -> list[str]:
        """Return the `text` of every process, by rank."""
        mine = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with self.watched():
            dist.all_gather(lengths, torch.tensor([len(text.encode())]), group=self.patient)
            longest = max(1, *(int(length) for length in lengths))
            padded = torch.zeros(longest, dtype=torch.uint8)
            padded[: len(mine)] = mine
            gathered = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(gathered, padded, group=self.patient)
        return [bytes(part[:length].tolist()).decode() for part, length in zip(gathered, lengths)]


def _describe(error: BaseException) -> str:
    signal_number = error.signal_number if isinstance(error, Interrupted) else None
    return json.dumps({"kind": type(error).__name__, "message": str(error), "signal": signal_number})


def _same_error(described: str, rank: int) -> BaseException:
    """Return the error that another process raised; a defect there is a lost peer here."""
    outcome = json.loads(described)
    if outcome["signal"] is not None:
        return Interrupted(outcome["signal"])
    kind = getattr(errors, outcome["kind"], None)
    if isinstance(kind, type) and issubclass(kind, TextmillError):
        return kind(outcome["message"])
    return PeerLostError(f"rank {rank} failed: {outcome['kind']}: {outcome['message']}")


def _is_broken_connection(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or _BROKEN.search(str(error)) is not None


def join_world(
    device: str = "auto",
    backend: str = "auto",
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    rendezvous_seconds: float = 120.0,
    check: Callable[[], None] = lambda: None,
) -> World:
    """Return this process's world, joining its process group when a launcher such as torchrun set one up.

    device: `auto` (CUDA, else Apple's MPS, else CPU), or a torch device name; a rank of a CUDA run gets its own GPU.
    backend: `auto` is nccl on CUDA and gloo elsewhere.
    rendezvous_seconds: how long to wait for the other processes. check: called meanwhile; may raise.

    Raises:
        ConfigError: there is no such device, the backend cannot reach it, or the launcher's variables are incomplete.
        PeerLostError: the other processes did not come in time.
    """
    rank, size = (launcher_variable(name, default) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    chosen = choose_device(device, local_rank=launcher_variable("LOCAL_RANK", 0), size=size)
    if backend == "nccl" and chosen.type != "cuda":
        error = ConfigError(f"distributed_backend nccl needs GPUs, and the device is {chosen.type}: use gloo or auto")
        error.told = rank > 0
        raise error
    if size == 1:
        return World(0, 1, chosen)
    if not 0 <= rank < size:
        raise ConfigError(f"RANK is {rank}, and WORLD_SIZE is {size}: ranks count from 0")
    if backend == "auto":
        backend = "nccl" if chosen.type == "cuda" else "gloo"
    meeting = Meeting(rank, size, rendezvous_seconds, check)
    store = None if dist.is_initialized() else meeting.wait_for_all()
    control, patient = meeting.do(lambda: _connect(rank, size, chosen, backend, store, timeout_seconds))
    peers = None
    if store is not None:
        with suppress(OSError, dist.DistError):  # without it, a loss is noticed by gloo, or by NCCL's timeout
            peers = meeting.do(partial(PeerWatch, rank, size, store, meeting.host))
    return World(rank, size, chosen, control, patient, peers)


def _connect(
    rank: int, size: int, device: torch.device, backend: str, store: dist.Store | None, timeout_seconds: float
) -> tuple[dist.ProcessGroup, dist.ProcessGroup]:
    """Return the groups `control` and `patient` of a World; `store` is that of a process group still to be made."""
    timeout = datetime.timedelta(seconds=timeout_seconds)
    try:
        if store is not None:
            store.set_timeout(timeout)
            device_id = device if backend == "nccl" else None
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=timeout, device_id=device_id
            )
        control = dist.new_group(backend="gloo", timeout=timeout)
        patient = dist.new_group(backend="gloo", timeout=datetime.timedelta(seconds=PATIENCE_SECONDS))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise PeerLostError(f"rank {rank} did not reach the other {size - 1} processes of the run: {reason}") from error
    assert isinstance(control, dist.ProcessGroup) and isinstance(patient, dist.ProcessGroup)  # everyone is a member
    return control, patient


def leave_world(world: World, *, orderly: bool = True) -> None:
    """Leave the process group that `join_world` joined; `orderly`: not because of an error of this process alone."""
    if world.peers is not None:
        world.peers.leave(orderly=orderly)
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()

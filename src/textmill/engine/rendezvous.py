"""How the processes of a run find each other: in bounded time, and signals work meanwhile.

PyTorch's own rendezvous waits in C++, where no signal handler of Python runs, and does not say who is missing.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from textmill.errors import ConfigError, PeerLostError

_PAUSE = 0.1
"""Seconds between two looks at who has arrived, and at signals."""

_ARRIVED = "textmill/arrived/"


@dataclass(frozen=True)
class Meeting:
    """What one process needs to find the others: its rank among `size`, how long it waits, and what ends the waiting.

    check: called about ten times a second; may raise.
    """

    rank: int
    size: int
    seconds: float
    check: Callable[[], None]

    @property
    def host(self) -> str:
        """The machine of the first process. Raises ConfigError if no launcher has set it."""
        return _variable("MASTER_ADDR")

    def wait_for_all(self) -> dist.Store:
        """Return the store that all processes are connected to, once all of them are.

        Raises:
            ConfigError: MASTER_ADDR or MASTER_PORT is not as a launcher sets it.
            PeerLostError: naming the ranks that did not come in time. Whatever `check` raises is passed on.
        """
        deadline = time.monotonic() + self.seconds
        store, address = self._connect(deadline)
        missing = set(range(self.size))
        try:
            store.set(f"{_ARRIVED}{self.rank}", "")
            while True:
                missing = {rank for rank in missing if not store.check([f"{_ARRIVED}{rank}"])}
                if not missing or time.monotonic() > deadline:
                    break
                self._pause()
        except dist.DistError as error:
            raise PeerLostError(
                f"{self._named({0})} ended while rank {self.rank} waited at {address} for {self._named(missing)}; "
                "look at its output and start all again"
            ) from error
        if missing:
            raise self._not_come(missing, address, told=self.rank != min(set(range(self.size)) - missing))
        return store

    def do(self, connect: Callable[[], Any]) -> Any:
        """Return what `connect` returns, which waits for the other processes where no signal is seen.

        Raises:
            PeerLostError: it takes longer than `seconds`. Whatever `check` and `connect` raise is passed on.
        """
        outcome: list[Any] = []
        failure: list[Exception] = []

        def work() -> None:
            try:
                outcome.append(connect())
            except Exception as error:
                failure.append(error)

        thread = threading.Thread(target=work, daemon=True, name="rendezvous")
        deadline = time.monotonic() + self.seconds
        thread.start()
        while thread.is_alive():
            if time.monotonic() > deadline:
                raise PeerLostError(
                    f"another process of the run was lost: rank {self.rank} of {self.size} waited {self.seconds:g} s "
                    "for the connection to all others; look at their output and start all again"
                )
            self.check()
            thread.join(_PAUSE)
        if failure:
            raise failure[0]
        return outcome[0]

    def _connect(self, deadline: float) -> tuple[dist.Store, str]:
        """Return the store and its address. The launcher serves it, or the first process does."""
        host, port = _variable("MASTER_ADDR"), _port()
        by_launcher = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
        serves = self.rank == 0 and not by_launcher
        while not serves and not _listens(host, port):
            if time.monotonic() > deadline:
                raise self._not_come({0}, f"{host}:{port}", told=False)
            self._pause()
        try:
            store = dist.TCPStore(
                host, port, self.size, is_master=serves, wait_for_workers=False, multi_tenant=not by_launcher
            )
        except dist.DistError as error:
            reason = str(error).strip().splitlines()[0]
            raise PeerLostError(f"rank {self.rank} cannot meet the others at {host}:{port}: {reason}") from error
        return store, f"{host}:{port}"

    def _pause(self) -> None:
        self.check()
        time.sleep(_PAUSE)

    def _named(self, ranks: set[int]) -> str:
        first = ", ".join(str(rank) for rank in sorted(ranks)[:8])
        more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
        return f"{'rank' if len(ranks) == 1 else 'ranks'} {first}{more} of {self.size}"

    def _not_come(self, missing: set[int], address: str, *, told: bool) -> PeerLostError:
        error = PeerLostError(
            f"{self._named(missing)} did not come within {self.seconds:g} s: rank {self.rank} waited at {address}. "
            "Look at their output and start all again; --rendezvous-timeout waits longer"
        )
        error.told = told
        return error


def _listens(host: str, port: int) -> bool:
    """Whether something listens there. PyTorch would print a page for every attempt that fails."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"WORLD_SIZE is set, but the environment variable {name} is not; start the run with torchrun")
    return value


def _port() -> int:
    text = _variable("MASTER_PORT")
    if not text.isdigit() or not 0 < int(text) < 2**16:
        raise ConfigError(f"the environment variable MASTER_PORT is {text!r}, not a port; launchers set it")
    return int(text)

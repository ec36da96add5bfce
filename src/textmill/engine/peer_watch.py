"""Notice that another process of a run has ended, also while this one waits for its device.

Gloo breaks its connections when a process dies. NCCL does not: kernels on the device wait for the one that is gone, and
the host waits for the kernels, in C++, for minutes. So every process has a connection to the first one on which nothing
is said. The operating system closes it with the process, however that ends.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch.distributed as dist

GRACE_SECONDS = 20.0
"""Seconds that a process has to notice by itself that another one has ended, and to leave; then it is ended."""

_KEY, _PAUSE, _BYE = "textmill/watch", 0.2, b"bye\n"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class PeerWatch(threading.Thread):
    """The thread of one process that watches the others: the first one all of them, the others the first one.

    lost: the rank that has ended, or None.
    """

    def __init__(self, rank: int, size: int, store: dist.Store, host: str) -> None:
        """Connect, by an address and a secret that the first process leaves in `store`. Raises OSError."""
        super().__init__(name="peers", daemon=True)
        self.lost: int | None = None
        self._rank, self._digits = rank, len(str(size))
        self._at_the_end: Callable[[int], None] | None = None
        self._patient_until, self._held, self._leaving, self._says_bye = 0.0, False, False, False
        self._selector = selectors.DefaultSelector()
        if rank == 0:
            listener = socket.create_server(("127.0.0.1" if host in _LOOPBACK else "", 0), backlog=size)
            self._secret = secrets.token_hex(16)
            store.set(_KEY, f"{listener.getsockname()[1]} {self._secret}")
            self._selector.register(listener, selectors.EVENT_READ, None)
        else:
            port, self._secret = store.get(_KEY).decode().split()
            connection = socket.create_connection((host, int(port)), timeout=10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.sendall(f"{self._secret}{rank:0{self._digits}}".encode())
            self._selector.register(connection, selectors.EVENT_READ, 0)
        self.start()

    @contextmanager
    def ending(self, last_words: Callable[[int], None]) -> Iterator[None]:
        """End this process with 69 if another one ends inside the block and this one does not leave the block in time.

        last_words: called before, with the rank that has ended.
        """
        self._patient_until, self._at_the_end = time.monotonic() + GRACE_SECONDS, last_words
        try:
            yield
        finally:
            self._at_the_end = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do not end this process inside the block: what it does needs no other one."""
        self._held = True
        try:
            yield
        finally:
            self._patient_until, self._held = time.monotonic() + GRACE_SECONDS, False

    def leave(self, *, orderly: bool) -> None:
        """Stop watching; unless `orderly`, the others see this process as one that has ended."""
        self._leaving, self._says_bye = True, orderly
        self.join(5)

    def run(self) -> None:
        while not self._leaving:
            for key, _ in self._selector.select(_PAUSE):
                self._read(key)
            late = self.lost is not None and not self._held and time.monotonic() > self._patient_until
            if late and self.lost is not None and (last_words := self._at_the_end) is not None:
                with suppress(Exception):
                    last_words(self.lost)
                os._exit(69)
        for connection in self._connections() if self._says_bye else ():
            with suppress(OSError):
                connection.sendall(_BYE)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _read(self, key: selectors.SelectorKey) -> None:
        connection, peer = key.fileobj, key.data
        assert isinstance(connection, socket.socket)
        if peer is None:
            self._accept(connection)
            return
        try:
            told = connection.recv(64)
        except OSError:
            told = b""
        if told in (b"", _BYE):
            self._selector.unregister(connection)
            connection.close()
        if told != _BYE:
            self._lose(int(told.split()[0]) if told else peer)

    def _lose(self, peer: int) -> None:
        """Note the first process that has ended; the first process tells the others."""
        if self.lost is not None or peer == self._rank:
            return
        self.lost = peer
        self._patient_until = max(self._patient_until, time.monotonic() + GRACE_SECONDS)
        for connection in self._connections() if self._rank == 0 else ():
            with suppress(OSError):
                connection.sendall(f"{peer}\n".encode())

    def _accept(self, listener: socket.socket) -> None:
        """Let in who knows the secret, with its rank."""
        with suppress(OSError, ValueError):
            connection, _ = listener.accept()
            connection.settimeout(5)
            told = connection.recv(len(self._secret) + self._digits, socket.MSG_WAITALL).decode()
            if not secrets.compare_digest(told[: len(self._secret)], self._secret):
                connection.close()
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._selector.register(connection, selectors.EVENT_READ, int(told[len(self._secret) :]))

    def _connections(self) -> list[socket.socket]:
        found = [(key.fileobj, key.data) for key in self._selector.get_map().values()]
        return [each for each, peer in found if peer is not None and isinstance(each, socket.socket)]

"""CPU contention: how busy other processes keep this machine. Oversubscription is the risk: threads that wait for each
other while others use their cores can be ten times slower."""

import os
import time
from pathlib import Path

from textmill.machine.devices import cores

CLEARLY_BUSY = 0.5
"""Cores in use by other processes from which the user is told."""


def foreign_load(seconds: float = 0.1) -> float:
    """Return how many cores other processes use, measured while this process sleeps for `seconds`.

    Where the system does not count (macOS), it is the load average of the last minute.
    """
    before = _busy_ticks()
    if before is None:
        return os.getloadavg()[0]
    time.sleep(seconds)
    after = _busy_ticks()
    assert after is not None
    busy, total = after[0] - before[0], after[1] - before[1]
    return busy / total * (os.cpu_count() or 1) if total else 0.0


def contention_warning(threads: int, load: float | None = None) -> str | None:
    """Return a warning when `threads` threads must share their cores with other processes, else None.

    load: cores that other processes use; None measures it, if the load average gives reason to.
    """
    if load is None:
        if os.getloadavg()[0] < CLEARLY_BUSY:  # a quiet machine pays nothing for the question
            return None
        load = foreign_load()
    room = cores() - load
    if load < CLEARLY_BUSY or room >= threads - CLEARLY_BUSY:
        return None
    busy = f"the machine is busy: other processes use about {load:.1f} of {cores()} cores"
    if threads == 1:
        return f"{busy}, so this will be slower than it could be"
    fewer = max(1, round(room))
    advice = f"; --threads {fewer} may be faster" if fewer < threads else ""
    return f"{busy}, and threads that share cores can be up to ten times slower{advice}"


def _busy_ticks() -> tuple[int, int] | None:
    """Return (busy, all) clock ticks of all processors since the start of the system, where Linux counts them."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, idle, waiting, interrupts, soft, stolen = map(int, fields)
    busy = user + nice + system + interrupts + soft + stolen
    return busy, busy + idle + waiting

"""CPU contention: how busy other processes keep this machine. Oversubscription is the risk: threads that wait for each
other while others use their cores can be ten times slower."""

import os
import time

import psutil

from textmill.machine.devices import processors

CLEARLY_BUSY = 0.5
"""Cores in use by other processes from which the user is told."""


def foreign_load(seconds: float = 0.1) -> float:
    """Return how many cores other processes use, measured while this process sleeps for `seconds`."""
    busy_before, all_before = _processor_seconds()
    time.sleep(seconds)
    busy, total = _processor_seconds()
    busy, total = max(0.0, busy - busy_before), total - all_before  # differences of large numbers are rounded
    return busy / total * (os.cpu_count() or 1) if total > 0 else 0.0


def contention_warning(threads: int, load: float | None = None) -> str | None:
    """Return a warning when `threads` threads must share their cores with other processes, else None.

    load: cores that other processes use; None measures it, if the load average gives reason to.
    """
    if load is None:
        if psutil.getloadavg()[0] < CLEARLY_BUSY:  # a quiet machine pays nothing for the question
            return None
        load = foreign_load()
    room = processors() - load  # a container limits the time, not which processors
    if load < CLEARLY_BUSY or room >= threads - CLEARLY_BUSY:
        return None
    busy = f"the machine is busy: other processes use about {load:.1f} of {processors()} cores"
    if threads == 1:
        return f"{busy}, so this will be slower than it could be"
    fewer = max(1, round(room))
    advice = f"; --threads {fewer} may be faster" if fewer < threads else ""
    return f"{busy}, and threads that share cores can be up to ten times slower{advice}"


def _processor_seconds() -> tuple[float, float]:
    """Return (busy, all) seconds of all processors since the start of the system."""
    times = psutil.cpu_times()
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # are in `user` and `nice` as well
    total = sum(times) - guests
    return total - times.idle - getattr(times, "iowait", 0.0), total

"""What a container allows this process to have of the machine: the limits of control groups, versions 1 and 2.

A group is a folder of small files, and lies in the folder of the group that it is part of; every limit on the way up
counts. https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from textmill.console.number_format import plural, size

ROOT = Path("/sys/fs/cgroup")
"""Where Linux shows the groups; other systems have no such folder."""

OWN = Path("/proc/self/cgroup")
"""The file that names the groups of this process."""

_NO_LIMIT = 1 << 60
"""From here on a number of bytes says that there is no limit: version 1 has no word for it."""


@dataclass(frozen=True)
class ContainerLimits:
    """What the groups of this process allow; None: no limit.

    Attributes:
        memory: bytes that the processes of the group may have together.
        free: bytes that they can still have, with what the kernel gives back of files that it has read.
        cores: processors' worth of time.
    """

    memory: int | None = None
    free: int | None = None
    cores: float | None = None


def container_limits(root: Path | None = None, own: Path | None = None) -> ContainerLimits:
    """Return the tightest limits of the groups of this process. root, own: see ROOT and OWN, which None means."""
    root, paths = root or ROOT, _groups_of_process(own or OWN)
    memory = [*_memory_v2(root, paths), *_memory_v1(root, paths)]
    cores = [*_cores_v2(root, paths), *_cores_v1(root, paths)]
    return ContainerLimits(
        memory=min((limit for limit, _ in memory), default=None),
        free=max(0, min(free for _, free in memory)) if memory else None,
        cores=min(cores, default=None),
    )


def _groups_of_process(own: Path) -> dict[str, str]:
    """Return the path of this process's group for every controller of version 1; that of version 2 has the name ""."""
    found: dict[str, str] = {}
    with suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _folders(tops: Iterable[Path], path: str) -> Iterator[Path]:
    """Yield the folder of a group and those above it, below each top that there is.

    A container may show its own group as the top, and still name the path that the group has outside of it.
    """
    for top in tops:
        if top.is_dir():
            inside = Path(path.strip("/"))
            chain = [] if ".." in inside.parts else [top / part for part in (inside, *inside.parents) if part.parts]
            yield from [folder for folder in (*chain, top) if folder.is_dir()]


def _memory_v2(root: Path, paths: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Yield (limit, free bytes) of every group of version 2 that has a limit; `memory.high` slows down to a halt."""
    for folder in _folders((root, root / "unified"), paths.get("", "/")):
        limits = [_number(folder / name) for name in ("memory.max", "memory.high")]
        limit = min((limit for limit in limits if limit is not None), default=None)
        if limit is not None:
            used, stat = _number(folder / "memory.current") or 0, _statistics(folder / "memory.stat")
            yield limit, limit - used + stat.get("active_file", 0) + stat.get("inactive_file", 0)


def _memory_v1(root: Path, paths: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Yield (limit, free bytes) of every group of version 1 that has a limit."""
    for folder in _folders((root / "memory",), paths.get("memory", "/")):
        stat = _statistics(folder / "memory.stat")
        limits = (_number(folder / "memory.limit_in_bytes"), stat.get("hierarchical_memory_limit"))
        limit = min((limit for limit in limits if limit is not None), default=_NO_LIMIT)
        if limit < _NO_LIMIT:
            used = _number(folder / "memory.usage_in_bytes") or 0
            yield limit, limit - used + stat.get("total_active_file", 0) + stat.get("total_inactive_file", 0)


def _cores_v2(root: Path, paths: dict[str, str]) -> Iterator[float]:
    for folder in _folders((root, root / "unified"), paths.get("", "/")):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            yield int(quota) / int(period)


def _cores_v1(root: Path, paths: dict[str, str]) -> Iterator[float]:
    for folder in _folders((root / "cpu", root / "cpu,cpuacct"), paths.get("cpu", "/")):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            yield quota / period


def _number(path: Path) -> int | None:
    """Return the number in a file; None if there is no such file, or a word in it, such as `max`."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _statistics(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines `name number`."""
    found = {}
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, number = line.split()
            found[name] = int(number)
    return found


def sentence(limits: ContainerLimits, memory: int, cores: int) -> str | None:
    """Return what the container allows of a machine with so many bytes of memory and so many cores, if not all."""
    allowed = []
    if limits.memory is not None and limits.memory < memory:
        allowed.append(f"{size(limits.memory)} of {size(memory)} of memory")
    if limits.cores is not None and limits.cores < cores:
        allowed.append(f"{limits.cores:.3g} of {plural(cores, 'core')}")
    return f"the container allows {' and '.join(allowed)}" if allowed else None


def whole_cores(limit: float) -> int:
    """Return how many threads use up so many processors' time: half a processor still feeds one."""
    return max(1, math.ceil(limit))

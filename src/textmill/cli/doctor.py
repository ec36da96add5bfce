"""textmill doctor: the machine, what is installed, and what is slow and why."""

import os
import platform
import re
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from textmill.cli.help_pages import Device, Json
from textmill.cli.plan import existing_folder
from textmill.console.number_format import plural, size
from textmill.console.screen import waiting
from textmill.console.standard_streams import field, write_json
from textmill.version import VERSION

MOST_TRIED = 5
"""Shapes of which the kernels found fastest are shown."""

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "pydantic", "cyclopts")


def doctor(*, device: Device = "auto", json: Json = False) -> None:
    """Examine this machine: device, threads, formats, speed of a matrix product, what is installed, what is slow.

    Takes a few seconds. Nothing is changed.

    Examples
    --------
    textmill doctor
    """
    with waiting("measuring"):
        from textmill.data.store.corpus_cache import cache_folder
        from textmill.machine.measure_machine import advice, examine
        from textmill.machine.memory import container_sentence

        found = {
            "textmill": VERSION,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} on {platform.machine()}",
            "versions": {name: metadata.version(name) for name in PACKAGES},
            **examine(device),
            "extras": _extras(),
            "container": container_sentence(),
            "cache": _disk(cache_folder()),
        }
    found["advice"] = advice(found)
    if json:
        write_json(found)
        return
    for name, text in _lines(found):
        field(name, text)
    for sentence in found["advice"]:
        field("advice", sentence)


def _extras() -> dict[str, dict[str, bool]]:
    """Return extra -> package -> whether it is installed, from the package's own metadata."""
    found: dict[str, dict[str, bool]] = {}
    for requirement in metadata.requires("textmill") or []:
        extra = re.search(r"""extra\s*==\s*["']([^"']+)["']""", requirement)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if extra is None or name is None or extra[1] in ("all", "dev", "test") or name[0] == "textmill":
            continue
        found.setdefault(extra[1], {})[name[0]] = _installed(name[0])
    return found


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return find_spec(package.replace("-", "_")) is not None
    return True


def _disk(folder: Path) -> dict[str, Any]:
    there = existing_folder(folder)
    return {"folder": str(folder), "free": shutil.disk_usage(there).free, "writable": os.access(there, os.W_OK)}


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    from textmill.machine.kernel_notes import Kernels
    from textmill.machine.memory import free_memory

    kernels = found["kernels"]
    library = "oneDNN" if kernels.get("onednn") else "PyTorch's default library"
    rates = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in found["flops"].items())
    memory = found.get("free_memory", free_memory())
    extras = []
    for extra, packages in found["extras"].items():
        lacking = [name for name, there in packages.items() if not there]
        extras.append(f"{extra} lacks {', '.join(lacking)}" if lacking else f"{extra} is installed")
    processor = plural(found["cores"], "core"), plural(found["threads"], "thread"), kernels.get("capability", "?")
    return [
        ("textmill", f"{found['textmill']}, Python {found['python']}, {found['system']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items())),
        ("device", f"{found['device']}, trains in {found['precision']}"),
        ("processor", ", ".join(processor)),
        ("kernels", f"float32 products by {library}"),
        *(("", f"{one['shape']}: {Kernels(**one['kernels']).in_words()}") for one in found["tried"][:MOST_TRIED]),
        ("speed", f"a matrix product reaches {rates}"),
        ("contention", f"other processes use {found['foreign_load']:.1f} cores now"),
        ("memory", f"{size(memory)} free" if memory is not None else "unknown"),
        *([("", found["container"])] if found["container"] else []),
        ("cache", f"{found['cache']['folder']}, {size(found['cache']['free'])} free on the disk"),
        ("extras", "pip install 'textmill[NAME]' installs one"),
        *(("", line) for line in extras),
    ]

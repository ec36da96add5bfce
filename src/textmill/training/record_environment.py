"""environment.json: on what machine, with what versions and from what data a run is made."""

import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy
import torch

from textmill.runs import layout
from textmill.runs.read_run import read_environment
from textmill.training.run import Run
from textmill.version import VERSION


def environment(run: Run, store: Path, kernels: dict[str, Any]) -> dict[str, Any]:
    """Return the content of environment.json. store: the folder of the prepared corpus."""
    device = run.world.device
    return {
        "textmill": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": run.engine.precision.name,
        "processes": run.world.size,
        "kernels": kernels,
        "identity": run.saving.identity,
        "origins": _origins(run),
        "store": str(store),
        "vocab_size": run.config.model.vocab_size,
        "command": shlex.join(sys.argv),
    }


def _origins(run: Run) -> dict[str, str]:
    """Return where each value came from that is not a default; a value that a resumed run read from its own
    config.yaml keeps its earlier origin.
    """
    before = read_environment(run.folder).get("origins", {})
    own = str(run.folder / layout.CONFIG)
    origins = {name: origin for name, origin in run.config.origins.items() if origin != "default"}
    return {name: before.get(name, "default") if origin == own else origin for name, origin in origins.items()}

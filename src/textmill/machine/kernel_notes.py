"""Notes of which kernels were found fastest on this machine: a file per processor, version of PyTorch and question."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from textmill.console.number_format import plural
from textmill.errors import TextmillError
from textmill.files import json_sha256, read_object, write_json
from textmill.files.cache_dir import cache_root
from textmill.machine.devices import cores
from textmill.machine.kernel_choices import this_machine


@dataclass(frozen=True)
class Kernels:
    """A way to compute: CPU threads, whether float32 products go through oneDNN, the number formats.

    precision: of forward and backward pass. muon: of Muon's iterations. Both fp32 or bf16.
    """

    threads: int
    onednn: bool
    precision: str
    muon: str

    def in_words(self) -> str:
        """Return the choices as a phrase."""
        library = "oneDNN" if self.onednn else "PyTorch's default library"
        muon = f", Muon in {self.muon}" if self.muon != self.precision else ""
        return f"{self.precision}{muon}, {plural(self.threads, 'thread')}, float32 products by {library}"


@dataclass(frozen=True)
class Finding:
    """The fastest of `ways` kernels for a shape.

    saved: the share of a step's time that it takes less than with the kernels in force before the trial.
    """

    kernels: Kernels
    shape: str
    ways: int
    saved: float


def read_finding(question: dict[str, Any]) -> Finding | None:
    """Return what was noted for `question`, the JSON-ready circumstances of a trial, or None."""
    with suppress(OSError, TextmillError):
        return _finding(read_object(_file(question)))
    return None


def note_finding(question: dict[str, Any], finding: Finding) -> None:
    """Note the answer to `question`. Without a cache folder, do nothing."""
    with suppress(OSError, TextmillError):
        write_json(_file(question), asdict(finding) | _here())


def findings_here() -> list[Finding]:
    """Return all that is noted of this machine, newest first."""
    found: list[tuple[float, Finding]] = []
    paths: list[Path] = []
    with suppress(OSError, TextmillError):
        paths = list((cache_root() / "kernels").glob("*.json"))
    for path in paths:
        with suppress(OSError, TextmillError):
            content = read_object(path)
            finding = _finding(content)
            if finding is not None and all(content.get(name) == value for name, value in _here().items()):
                found.append((path.stat().st_mtime, finding))
    return [finding for _, finding in sorted(found, key=lambda pair: -pair[0])]


def _here() -> dict[str, Any]:
    return {**this_machine(), "cores": cores(), "torch": torch.__version__}


def _file(question: dict[str, Any]) -> Path:
    return cache_root() / "kernels" / f"{json_sha256(_here() | question, sort_keys=True)[:32]}.json"


def _finding(content: dict[str, Any]) -> Finding | None:
    """Return the finding in a note, unless it is not what `note_finding` writes."""
    kernels = content.get("kernels")
    if not isinstance(kernels, dict):
        return None
    try:
        given = {name: content[name] for name in ("shape", "ways", "saved")}
        finding = Finding(Kernels(**kernels), **given)
    except (KeyError, TypeError):
        return None
    types = (type(finding.kernels.threads), type(finding.kernels.onednn), type(finding.ways))
    formats = {finding.kernels.precision, finding.kernels.muon}
    right = types == (int, bool, int) and isinstance(finding.saved, float) and isinstance(finding.shape, str)
    return finding if right and finding.kernels.threads > 0 and formats <= {"fp32", "bf16"} else None

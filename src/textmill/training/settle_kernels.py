"""The kernels of a run: those it was begun with, those that a trial finds fastest, or the choices of every start."""

import math
import os
from collections.abc import Callable
from typing import Any

import torch

from textmill.config import Config
from textmill.console.number_format import plural
from textmill.engine.world import World
from textmill.machine.kernel_choices import apply_kernels, this_machine
from textmill.machine.kernel_notes import Finding, Kernels
from textmill.machine.precision import Precision
from textmill.planning.run_length import Length
from textmill.runs.read_run import read_environment
from textmill.training.kernel_trial import Choice, try_kernels
from textmill.training.starting_point import Output


def first_kernels(
    config: Config, output: Output, world: World, say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Apply and return the kernels to open a run with, and those recorded of a run that is resumed on this processor.

    A resumed run computes as before, whatever would be chosen now; on another processor it could be far slower so.
    """
    recorded = {} if output.fresh else read_environment(output.folder).get("kernels", {})
    if recorded.get("processor") not in (None, this_machine()["processor"]):
        say("the run was begun on another processor: its kernels are chosen anew, and losses agree within rounding")
        recorded = {}
    kernels = apply_kernels(
        world.device,
        threads=config.training.threads or recorded.get("threads"),
        onednn=recorded.get("onednn"),
        deterministic=config.training.deterministic and world.device.type != "cpu",
    )
    return kernels, recorded


def settle_kernels(
    config: Config,
    world: World,
    length: Length,
    precision: Precision,
    kernels: dict[str, Any],
    recorded: dict[str, Any] | None,
) -> tuple[Precision, dict[str, Any], str | None]:
    """Return the precision, the kernels in force with their number formats, and a sentence if a trial chose them.

    recorded: the kernels of a resumed run; None if the run is new and its shapes may be tried.
    """
    settings = config.training
    muon = precision.name if precision.name == "bf16" else "fp32"
    sentence = None
    if recorded and world.device.type == "cpu":
        if settings.precision == "auto" and recorded.get("precision") in ("fp32", "bf16"):
            precision = Precision(recorded["precision"], precision.device_type)
        muon = recorded.get("muon", muon)
    elif recorded is None and world.device.type == "cpu" and not (settings.compile is True or settings.deterministic):
        now = Kernels(torch.get_num_threads(), kernels["onednn"], precision.name, muon)
        choice = Choice(
            precision=settings.precision == "auto",
            threads=settings.threads is None and world.size == 1 and "OMP_NUM_THREADS" not in os.environ,
            muon=settings.optimizer == "muon",
        )
        found = world.from_first(lambda: _tried(config, now, choice, length))
        if found is not None:
            chosen, sentence = Kernels(**found[0]), found[1]
            threads = chosen.threads if choice.threads else None  # else each process has its own
            kernels = apply_kernels(world.device, threads=threads, onednn=chosen.onednn)
            precision, muon = Precision(chosen.precision, "cpu"), chosen.muon
    return precision, {**kernels, "precision": precision.name, "muon": muon}, sentence


def _tried(config: Config, now: Kernels, choice: Choice, length: Length) -> tuple[dict[str, Any], str] | None:
    """Return the kernels that a trial found, as a dictionary, and the sentence about them."""
    steps = math.inf if length.total_steps is None else length.total_steps
    tried = try_kernels(config, now, choice, steps=steps)
    if tried is None:
        return None
    finding, seconds = tried
    return vars(finding.kernels), _sentence(finding, now, seconds)


def _sentence(finding: Finding, now: Kernels, seconds: float) -> str:
    when = f"measured in {seconds:.1f} s" if seconds else "measured before"
    if finding.kernels == now:
        return f"{now.in_words()}: no other way is clearly faster ({when})"
    less = f", {finding.saved:.0%} less time than without the trial" if finding.saved > 0 else ""
    return f"{finding.kernels.in_words()}: the fastest of {plural(finding.ways, 'way')}{less} ({when})"

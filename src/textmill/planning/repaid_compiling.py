"""Whether compiling the model is repaid within a run on an NVIDIA GPU, estimated from its shape before any step.

The numbers are estimates: docs/decisions.md says where they are from. They decide only with a margin.
"""

from dataclasses import dataclass

from textmill.config import ModelConfig
from textmill.planning.parameter_count import flops_per_token
from textmill.planning.run_length import Length

START, PER_LAYER = 20.0, 3.0
"""Seconds that compiling takes, and seconds more for each layer: layers are compiled one by one."""

SAVED = 0.3
"""Share of the time of a step that compiled code saves."""

MARGIN = 2.0
"""How many times the seconds of compiling have to be saved."""

LIKELY_FLOPS = 1e14
"""FLOP/s of a GPU whose peak is not known."""

UTILISATION = 0.3
"""Share of the peak that a step reaches without compiling, if its matrix products are what takes the time."""

LAUNCHES = 1e-3
"""Seconds that a layer takes in a micro-batch at least, because the host starts about a hundred kernels for it."""


@dataclass(frozen=True)
class Repayment:
    """Seconds of training without compiling, and seconds of compiling, both estimated."""

    training: float
    compiling: float

    @property
    def expected(self) -> bool:
        """Whether compiling is expected to save clearly more time than it takes."""
        return SAVED * self.training > MARGIN * self.compiling


def estimate_repayment(
    model: ModelConfig, length: Length, *, accumulation: int, processes: int, peak_flops: float | None
) -> Repayment:
    """Return the estimate for a run of `length`, in which each of `processes` GPUs has a peak of `peak_flops`."""
    seconds = float("inf") if length.max_seconds is None else length.max_seconds
    if length.total_steps is not None:
        flops = length.tokens_per_step / processes * flops_per_token(model)
        step = max(flops / (UTILISATION * (peak_flops or LIKELY_FLOPS)), LAUNCHES * model.num_layers * accumulation)
        seconds = min(seconds, length.total_steps * step)
    return Repayment(seconds, START + PER_LAYER * model.num_layers)

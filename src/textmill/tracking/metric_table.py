"""The table of all metrics: names, units, which direction is better. Trackers, plots and pages use it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Group = Literal["train", "eval", "system"]


@dataclass(frozen=True)
class MetricInfo:
    """One measured quantity. `unit` is empty for a pure number, `better` is None if neither direction is better."""

    label: str
    unit: str
    better: Literal["lower", "higher"] | None
    group: Group
    help: str


METRICS: dict[str, MetricInfo] = {
    "train_loss": MetricInfo("training loss", "nats/token", "lower", "train", "mean over the tokens trained on"),
    "train_objective": MetricInfo(
        "training objective", "nats/token", "lower", "train", "what is minimised, where it is smoothed and not the loss"
    ),
    "learning_rate": MetricInfo("learning rate", "", None, "train", "of the last step"),
    "grad_norm": MetricInfo("gradient norm", "", None, "train", "L2 over all parameters, before clipping"),
    "loss_spikes": MetricInfo("loss spikes", "", "lower", "train", "so far; no entry while there are none"),
    "rollbacks": MetricInfo("rollbacks", "", "lower", "train", "so far, to a checkpoint before a spike"),
    "skipped_batches": MetricInfo("skipped batches", "steps", "lower", "train", "left out by rollbacks, so far"),
    "step": MetricInfo("step", "steps", None, "train", "optimizer steps taken"),
    "epoch": MetricInfo("epoch", "epochs", None, "train", "passes over the training text, with fractions"),
    "flops": MetricInfo("training FLOPs", "FLOP", None, "train", "computed by matrix products so far, if known"),
    "tokens": MetricInfo("tokens", "tokens", None, "train", "tokens trained on so far, repetitions counted"),
    "val_loss": MetricInfo("validation loss", "nats/token", "lower", "eval", "mean over all validation tokens"),
    "val_perplexity": MetricInfo("validation perplexity", "", "lower", "eval", "exp of the validation loss"),
    "val_bits_per_byte": MetricInfo(
        "validation bits per byte", "bits/byte", "lower", "eval", "total loss over the bytes of the text, in bits"
    ),
    "val_accuracy": MetricInfo("validation accuracy", "", "higher", "eval", "share of next tokens guessed right"),
    "val_tokens": MetricInfo("validation tokens", "tokens", None, "eval", "tokens that the evaluation counted"),
    "best_val_loss": MetricInfo("best validation loss", "nats/token", "lower", "eval", "lowest so far"),
    "tokens_per_second": MetricInfo("throughput", "tokens/s", "higher", "system", "of all processes together"),
    "mfu": MetricInfo("model FLOP utilisation", "", "higher", "system", "share of the hardware's peak that trains"),
    "elapsed_time": MetricInfo("elapsed time", "s", None, "system", "since the run began, earlier sessions included"),
    "peak_memory_gib": MetricInfo("peak memory", "GiB", "lower", "system", "most memory held so far"),
}


def tag(name: str) -> str:
    """Return the grouped name under which trackers show a metric: `train/loss`, `eval/perplexity`, `system/mfu`.

    A metric of the user's own is an evaluation's if its name begins with `val_`, else it belongs to training; a name
    with a slash is grouped already.
    """
    if "/" in name:
        return name
    known = METRICS.get(name)
    group = known.group if known else "eval" if name.startswith("val_") else "train"
    return f"{group}/{name.removeprefix('train_').removeprefix('val_')}"


def tagged(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row by tag. Of an evaluation row (it has `val_loss`) only the results of the evaluation.

    The rest of such a row says again, over another window, what the training rows say: two values for one step.
    """
    numbers = {tag(name): float(value) for name, value in row.items() if _is_number(value) and name != "step"}
    if "val_loss" not in row:
        return numbers
    return {name: value for name, value in numbers.items() if not name.startswith(("train/", "system/"))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)

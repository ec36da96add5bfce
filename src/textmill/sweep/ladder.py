"""A ladder: models of geometric sizes, each trained for three lengths, and the law of their losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textmill.config import Config, ModelConfig, load_config
from textmill.errors import ConfigError
from textmill.planning.parameter_count import count_parameters
from textmill.sweep.run_ablation import Ablation, best
from textmill.sweep.scaling_law import Law, Measured
from textmill.sweep.variants import Variant

LENGTHS = (4, 2, 1)
"""Shares of the longest length: a quarter, a half, all of it."""

AHEAD = 10
"""How many times larger the runs are that the law is asked for."""


@dataclass(frozen=True)
class Rung:
    """One run of a ladder. size: parameters without embeddings and head. epochs: passes over its text."""

    variant: str
    width: int
    measured: Measured
    epochs: float


def ladder_variants(config: Config, sizes: int) -> list[Variant]:
    """Return the variants of a ladder: `sizes` widths up to that of `config`, each half the size of the next.

    Raises ConfigError unless width and steps are settled, and where the widths are too few to differ.
    """
    if not 3 <= sizes <= 8:
        raise ConfigError(f"--ladder: must be 3 to 8, not {sizes}: the number of sizes")
    if config.model.origin("d_model") == "default" or not config.training.max_steps:
        raise ConfigError("--ladder needs --d-model and --max-steps: the width and the length of its largest run")
    steps = config.training.max_steps
    if steps < 4 * LENGTHS[0]:
        raise ConfigError(f"--ladder needs at least {4 * LENGTHS[0]} --max-steps, not {steps}")
    widths = [_shape(config, 0.5 ** ((sizes - 1 - rung) / 2)) for rung in range(sizes)]
    if len({values["d_model"] for values in widths}) < sizes:
        raise ConfigError(f"{config.model.described('d_model')} is too small for {sizes} sizes: use a larger width")
    return [
        Variant(f"width {values['d_model']}, {steps // share} steps", {**values, "max_steps": steps // share})
        for values in widths
        for share in LENGTHS
    ]


def _shape(config: Config, share: float) -> dict[str, Any]:
    """Return the settings of a model of `share` of the width, with heads of about the same size."""
    model = config.model.resolved()
    head = model.d_model // model.num_heads
    heads = max(1, round(model.d_model * share / head))
    unit = 2 * heads
    width = max(1, round(model.d_model * share / unit)) * unit
    values: dict[str, Any] = {"d_model": width, "num_heads": heads}
    if config.given("d_ff") and model.d_ff is not None:
        values["d_ff"] = max(1, round(model.d_ff * width / model.d_model))
    if config.given("num_kv_heads") and model.num_kv_heads is not None:
        values["num_kv_heads"] = next(n for n in range(min(model.num_kv_heads, heads), 0, -1) if heads % n == 0)
    if config.given("head_dim"):
        values["head_dim"] = model.head_dim
    return values


def size_of(model: ModelConfig) -> int:
    """Return the parameters of a shape without embeddings and head, which do not grow with its layers."""
    model = model.clone()
    model.derive("vocab_size", 1, force=True)
    count = count_parameters(model)
    return count.attention + count.feed_forward + count.norms


def work(variants: Sequence[Variant], config: Config) -> float:
    """Return how many times the work of its largest run a ladder is: size times steps."""
    each = [size_of(load_config(config, one.values).model) * one.values["max_steps"] for one in variants]
    return sum(each) / max(each)


def rungs_of(result: Ablation, variants: Sequence[Variant], config: Config) -> list[Rung]:
    """Return the finished runs of a ladder, smallest first."""
    found = []
    for variant in variants:
        for rows in result.rows[variant.name].values():
            loss = best(rows, result.metric)
            if loss is not None:
                last: Mapping[str, float | None] = rows[-1]
                size = size_of(load_config(config, variant.values).model)
                measured = Measured(size, float(last.get("tokens") or 0), loss)
                found.append(Rung(variant.name, variant.values["d_model"], measured, float(last.get("epoch") or 0)))
    return found


def ahead_of(law: Law, rungs: Sequence[Rung]) -> list[tuple[str, float, float]]:
    """Return what the law is asked for: name, size and tokens of runs that are larger than the largest."""
    size, tokens = max(rung.measured.size for rung in rungs), max(rung.measured.tokens for rung in rungs)
    return [
        ("the largest run", size, tokens),
        (f"{AHEAD} times the size", AHEAD * size, tokens),
        (f"{AHEAD} times the text", size, AHEAD * tokens),
        (f"{AHEAD} times both", AHEAD * size, AHEAD * tokens),
    ]

"""Settings that depend on each other when layers are merged: rivals, and a learning rate with its optimizer.

A learning rate travels with its optimizer: a good one for Muon is ten times too high for AdamW. A rate that is given
without an optimizer is AdamW's, as in papers and guides, and an optimizer that is given without a rate gets its usual
one. Only an optimizer that was chosen without a rate takes that of a later layer.
"""

from collections.abc import Mapping
from typing import Any

from textmill.config.aliases import RIVALS
from textmill.config.setting_lookup import Setting

USUAL_RATES = {"adamw": 1e-3, "muon": 1e-2, "sgd": 1e-1}
"""Learning rates of small models by optimizer. Others, imported ones too, count as AdamW."""

INSTEAD = " instead of "
"""Occurs in the origin of a value that `merge` chose because it did not go with another."""


def rate_of(optimizer: str) -> float:
    """Return the usual learning rate of an optimizer: equal for those whose rates mean the same."""
    return USUAL_RATES.get(optimizer, USUAL_RATES["adamw"])


def merge(below: Mapping[str, Setting], layer: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return `below` with `layer` over it, and without what does not go with the layer.

    One of two rivals in the layer removes the other from `below`. A learning rate without its optimizer replaces the
    optimizer too, and the reverse, if `below` gives both; the replacement has the layer's origin.
    """
    merged = dict(below)
    for pair in RIVALS:
        for name, rival in (pair, pair[::-1]):
            if name in layer and layer[name].value is not None and rival not in layer:
                merged.pop(rival, None)
    merged |= layer
    if "learning_rate" in below and ("optimizer" in layer) != ("learning_rate" in layer):
        before = below["optimizer"].value if "optimizer" in below else "adamw"
        if "learning_rate" in layer and rate_of(before) != rate_of("adamw"):
            merged["optimizer"] = _instead(layer["learning_rate"], before, "adamw")
        elif "optimizer" in layer and rate_of(before) != rate_of(layer["optimizer"].value):
            usual = rate_of(layer["optimizer"].value)
            merged["learning_rate"] = _instead(layer["optimizer"], below["learning_rate"].value, usual)
    return merged


def _instead(cause: Setting, before: Any, value: Any) -> Setting:
    return cause._replace(value=value, origin=f"{cause.origin}{INSTEAD}{before}")


def suited(values: Mapping[str, Any], optimizer: str | None, *, rate_given: bool) -> dict[str, Any]:
    """Return a preset's values without those that suit its optimizer only, if another one will be used.

    optimizer: the one that somebody chose, or None. rate_given: whether somebody chose a learning rate.
    """
    chosen = optimizer or ("adamw" if rate_given else None)
    if chosen is None or rate_of(chosen) == rate_of(values.get("optimizer", "adamw")):
        return dict(values)
    kept = {name: value for name, value in values.items() if name not in _WITH_OPTIMIZER}
    return {**kept, "optimizer": chosen, "learning_rate": rate_of(chosen)}


_WITH_OPTIMIZER = {"optimizer", "learning_rate", "lr_schedule", "warmup_ratio", "min_lr_ratio", "weight_decay"}
"""Settings of a preset that suit its optimizer only."""

"""What a sweep searches: settings with a range or a list of values, as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textmill.config.aliases import canonical
from textmill.config.field_types import closest
from textmill.config.settings import is_list, section_of, setting_names, validate
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

FORBIDDEN = frozenset({"output_dir", "overwrite", "resume", "resume_from", "run_name", "log_dir", "data", "val_data"})
"""Settings that say where a trial is and what it is measured on: they must be the sweep's own."""


@dataclass(frozen=True)
class Dimension:
    """One setting that varies: `choices`, or all numbers from `low` to `high`, whole ones only where `whole`.

    log: equal ratios are equally likely, as is right for learning rates.
    """

    leaf: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def suggest(self, trial: BaseTrial) -> Any:
        """Return the value that `trial` is to try."""
        if self.choices:
            return trial.suggest_categorical(self.leaf, list(self.choices))
        if self.whole:
            return trial.suggest_int(self.leaf, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.leaf, self.low, self.high, log=self.log)

    def described(self) -> str:
        """Return the dimension as it is written behind --search."""
        if self.choices:
            return f"{self.leaf}={','.join(map(str, self.choices))}"
        return f"{self.leaf}={self.low:g}..{self.high:g}{':log' if self.log else ''}"


def parse_search(texts: Sequence[str]) -> list[Dimension]:
    """Return the dimensions of `--search` texts such as `learning_rate=1e-4..1e-2:log` and `num_layers=2,4,6`.

    Raises:
        ConfigError: an unknown setting, one that cannot vary, a value it does not take, an empty or reversed range.
    """
    dimensions = [_parse(text) for text in texts]
    if not dimensions:
        raise ConfigError("--search is missing: say what to vary, such as --search learning_rate=1e-4..1e-2:log")
    leaves = [dimension.leaf for dimension in dimensions]
    for leaf in leaves:
        if leaves.count(leaf) > 1:
            raise ConfigError(f"--search: {leaf} is there twice")
    return dimensions


def _parse(text: str) -> Dimension:
    name, equals, values = text.partition("=")
    leaf = canonical(name.strip().removeprefix("--").replace("-", "_"))
    place = f"--search {name}"
    if section_of(leaf) is None:
        raise ConfigError(f"{place}: no such setting{closest(leaf, setting_names())}")
    if leaf in FORBIDDEN or is_list(leaf):
        raise ConfigError(f"{place}: this setting cannot vary within a sweep")
    if not equals or not values.strip():
        raise ConfigError(f"{place}: needs values: {leaf}=LOW..HIGH, {leaf}=LOW..HIGH:log or {leaf}=A,B,C")
    if ".." in values:
        return _range(leaf, values, place)
    chosen = tuple(dict.fromkeys(_value(leaf, part.strip(), place) for part in values.split(",") if part.strip()))
    if len(chosen) < 2:
        raise ConfigError(f"{place}: one value is no choice: give it as --{leaf.replace('_', '-')} {values}")
    return Dimension(leaf, choices=chosen)


def _range(leaf: str, values: str, place: str) -> Dimension:
    span, colon, scale = values.partition(":")
    if colon and scale not in ("log", "linear"):
        raise ConfigError(f"{place}: a range ends in :log or :linear, not :{scale}")
    first, last = (_value(leaf, part.strip(), place) for part in span.split("..", 1))
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (first, last)):
        raise ConfigError(f"{place}: a range is between numbers, and {leaf} takes others: list them with commas")
    if not first < last:
        raise ConfigError(f"{place}: the range {span} is empty: the smaller number comes first")
    if scale == "log" and first <= 0:
        raise ConfigError(f"{place}: a logarithmic range begins above 0")
    whole = isinstance(first, int) and isinstance(last, int)
    return Dimension(leaf, low=float(first), high=float(last), log=scale == "log", whole=whole)


def _value(leaf: str, text: str, place: str) -> Any:
    """Return a value of `leaf` as the configuration understands the text. Raises ConfigError."""
    value = validate(leaf, text, place)
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ConfigError(f"{place}: {text} is no plain value")
    return value

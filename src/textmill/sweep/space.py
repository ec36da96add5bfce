"""What a sweep searches: settings with a range or a list of values, parsed from --search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textmill.config.aliases import canonical
from textmill.config.field_types import closest
from textmill.config.run_config import NOT_DUMPED
from textmill.config.setting_lookup import is_list, section_of, setting_names, validate
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

FORBIDDEN = frozenset({*NOT_DUMPED, "run_name", "log_dir", "data", "val_data"})
"""Settings that the sweep itself needs: where a trial is written and what it is measured on."""

_LUCK = frozenset({"seed", "data_seed"})
"""Settings of which no value is better than another: the best one found is the luckiest."""


@dataclass(frozen=True)
class Dimension:
    """One setting that varies: `choices`, or all numbers from `low` to `high`, only whole ones if `whole`.

    log: equal ratios are equally likely, as suits learning rates.
    """

    setting: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def size(self) -> int | None:
        """The number of its values, or None if there is no end of them."""
        return len(self.choices) or (int(self.high) - int(self.low) + 1 if self.whole else None)

    def values(self) -> Sequence[Any]:
        """Return its values; only where `size` is not None."""
        return self.choices or range(int(self.low), int(self.high) + 1)

    def suggest(self, trial: BaseTrial) -> Any:
        """Return a value for `trial`."""
        if self.choices:
            return trial.suggest_categorical(self.setting, list(self.choices))
        if self.whole:
            return trial.suggest_int(self.setting, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.setting, self.low, self.high, log=self.log)

    def described(self) -> str:
        """Return the dimension as written after --search."""
        if self.choices:
            return f"{self.setting}={','.join(map(str, self.choices))}"
        return f"{self.setting}={self.low:g}..{self.high:g}{':log' if self.log else ''}"


def parse_search(texts: Sequence[str]) -> list[Dimension]:
    """Return the dimensions of `--search` texts such as `learning_rate=1e-4..1e-2:log` and `num_layers=2,4,6`.

    Raises:
        ConfigError: an unknown setting, one that cannot vary, a value that it does not accept, an empty range.
    """
    dimensions = [_parse(text) for text in texts]
    if not dimensions:
        raise ConfigError("--search is missing: say what to vary, such as --search learning_rate=1e-4..1e-2:log")
    settings = [dimension.setting for dimension in dimensions]
    for setting in settings:
        if settings.count(setting) > 1:
            raise ConfigError(f"--search: {setting} is repeated")
    return dimensions


def _parse(text: str) -> Dimension:
    name, equals, values = text.partition("=")
    setting = canonical(name.strip().removeprefix("--").replace("-", "_"))
    where = f"--search {name}"
    if section_of(setting) is None:
        raise ConfigError(f"{where}: no such setting{closest(setting, setting_names())}")
    if setting in _LUCK:
        raise ConfigError(f"{where}: the best seed is the luckiest, not a better one: --seeds 5 trains all with each")
    if setting in FORBIDDEN or is_list(setting):
        raise ConfigError(f"{where}: this setting cannot vary within a sweep")
    if not equals or not values.strip():
        raise ConfigError(f"{where}: needs values: {setting}=LOW..HIGH, {setting}=LOW..HIGH:log or {setting}=A,B,C")
    if ".." in values:
        return _range(setting, values, where)
    chosen = tuple(dict.fromkeys(_value(setting, part.strip(), where) for part in values.split(",") if part.strip()))
    if len(chosen) < 2:
        raise ConfigError(f"{where}: a single value does not vary: give it as --{setting.replace('_', '-')} {values}")
    return Dimension(setting, choices=chosen)


def _range(setting: str, values: str, where: str) -> Dimension:
    span, colon, scale = values.partition(":")
    if colon and scale not in ("log", "linear"):
        raise ConfigError(f"{where}: a range ends in :log or :linear, not :{scale}")
    first, last = (_value(setting, part.strip(), where) for part in span.split("..", 1))
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (first, last)):
        raise ConfigError(f"{where}: a range needs two numbers: list other values with commas")
    if not first < last:
        raise ConfigError(f"{where}: the range {span} is empty: put the smaller number first")
    if scale == "log" and first <= 0:
        raise ConfigError(f"{where}: a logarithmic range must start above 0")
    whole = isinstance(first, int) and isinstance(last, int)
    return Dimension(setting, low=float(first), high=float(last), log=scale == "log", whole=whole)


def _value(setting: str, text: str, where: str) -> Any:
    """Return the text as a value of `setting`. Raises ConfigError."""
    value = validate(setting, text, where)
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ConfigError(f"{where}: {text} is not a plain value")
    return value

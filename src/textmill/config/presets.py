"""Presets: the named sets of values in presets.yaml, and the choice of `auto` by device and size of the text."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from textmill.config.field_types import closest
from textmill.config.run_config import LENGTHS, Config
from textmill.config.setting_lookup import keywords
from textmill.console.number_format import size
from textmill.errors import ConfigError


class Preset(NamedTuple):
    """What the preset is for, in one line, and its settings by canonical name.

    text_below: `auto` chooses the preset for text of fewer bytes than this.
    """

    purpose: str
    values: dict[str, Any]
    text_below: float = math.inf


@cache
def presets() -> dict[str, Preset]:
    """Return the presets by name, those of `auto` not included."""
    return _presets(_content()["presets"])


@cache
def auto_presets(device_kind: str) -> dict[str, Preset]:
    """Return what `auto` chooses from on this kind of device, "cpu" or "gpu", from the smallest text to the largest."""
    return _presets(_content()["auto"][device_kind])


def every_preset() -> dict[str, Preset]:
    """Return all presets by name, those of `auto` last."""
    return {**presets(), **auto_presets("cpu"), **auto_presets("gpu")}


@cache
def _content() -> dict[str, Any]:
    import yaml  # takes time, which only commands that need a preset should spend

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where there is one: ten times faster
    text = Path(__file__).with_name("presets.yaml").read_text(encoding="utf-8")
    return loader(text).get_single_data()


def _presets(described: Mapping[str, Any]) -> dict[str, Preset]:
    return {
        name: Preset(
            preset["purpose"],
            {setting.key: setting.value for setting in keywords(preset["values"])},
            preset.get("text_below", math.inf),
        )
        for name, preset in described.items()
    }


def preset_values(name: str) -> dict[str, Any]:
    """Return the settings of a preset, `auto-...` ones included. Raises ConfigError for an unknown name."""
    known = every_preset()
    for spelling in (name, name.replace("-", "_"), name.replace("_", "-")):
        if spelling in known:
            return dict(known[spelling].values)
    hint = closest(name, presets()) or f"; there are auto, {', '.join(presets())}"
    raise ConfigError(f"preset: there is no preset {name!r}{hint}")


def choose_preset(device_kind: str, corpus_bytes: int) -> tuple[str, dict[str, Any], str]:
    """Return what `auto` means for a device ("cpu", "cuda", "mps") and a corpus: name, settings, a sentence to say."""
    name = _by_text(device_kind, corpus_bytes)[0]
    machine = {"cpu": "a CPU", "cuda": "a CUDA GPU", "mps": "an Apple GPU"}.get(device_kind, device_kind)
    said = f"{name}, for {size(corpus_bytes)} of text on {machine}; --preset NAME or any flag overrides it"
    return name, dict(_choices(device_kind)[name].values), said


def apply_auto_preset(
    config: Config, device_kind: str, corpus_bytes: int, shortage: Callable[[Config], str | None] | None = None
) -> str | None:
    """Set what nobody chose in `config` to what `auto` chooses; return the sentence to say, None if all was chosen.

    shortage: says of a configuration with its preset what it lacks, or None if nothing. Of the presets for as much text
    or less, the largest one that lacks nothing is chosen, with the length of the one for the text; that one if none is.
    """
    name, values, said = choose_preset(device_kind, corpus_bytes)
    if shortage is not None and (smaller := _sufficient(config, device_kind, corpus_bytes, shortage)) is not None:
        wanted, (name, lack) = name, smaller
        length = {setting: value for setting, value in values.items() if setting in LENGTHS}
        own = _choices(device_kind)[name].values.items()
        values = {setting: value for setting, value in own if setting not in LENGTHS} | length
        said = f"{name} instead of {wanted}, which {lack}; --preset NAME or any flag overrides it"
    config.apply_preset(name, values)
    if f"preset {name}" not in config.origins.values():
        return None
    used = config.training.optimizer
    if values.get("optimizer", used) != used:
        cause = next(setting for setting in ("optimizer", "learning_rate") if config.given(setting))
        said += f"; with {used} instead of its {values['optimizer']}, because {cause} is given"
    return said


def _sufficient(
    config: Config, device_kind: str, corpus_bytes: int, shortage: Callable[[Config], str | None]
) -> tuple[str, str] | None:
    """Return the preset to take instead of the one for the text, and what that lacks; None to take it all the same."""
    first: str | None = None
    for name in _by_text(device_kind, corpus_bytes):
        tried = config.copy()
        tried.apply_preset(name, _choices(device_kind)[name].values)
        lack = shortage(tried)
        if lack is None:
            return None if first is None else (name, first)
        first = first or lack
    return None


def _choices(device_kind: str) -> dict[str, Preset]:
    return auto_presets("cpu" if device_kind == "cpu" else "gpu")


def _by_text(device_kind: str, corpus_bytes: int) -> list[str]:
    """Return the names of the presets for `corpus_bytes` of text or less, the one for so much first."""
    choices = _choices(device_kind)
    fitting = [name for name, preset in choices.items() if corpus_bytes < preset.text_below]
    return [fitting[0], *reversed([name for name in choices if name not in fitting])]


def __getattr__(name: str) -> Any:
    if name == "PRESETS":  # read when it is first used
        return presets()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

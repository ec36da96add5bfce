"""Merge a preset, files, mappings and keywords into one configuration; later ones win over earlier ones."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from textmill.config.config_files import read_config
from textmill.config.consistency import check
from textmill.config.presets import preset_values
from textmill.config.related_settings import merge
from textmill.config.run_config import SECTION_CLASSES, Config
from textmill.config.section import Section
from textmill.config.setting_keywords import SettingKeywords
from textmill.config.setting_lookup import Setting, keywords, resolve
from textmill.errors import ConfigError


def load_config(
    *sources: str | Path | Mapping[str, Any] | Section | Config, **overrides: Unpack[SettingKeywords]
) -> Config:
    """Return the configuration of `sources`, each over the ones before it, and `overrides` over all of them.

    A source is a file (YAML, JSON, TOML), a run folder, a mapping, a section or a Config. The preset, the setting
    `preset` of any of them, lies below all of them. Everything is validated, rules across settings included.

    Raises:
        ConfigError: unknown names, wrong values, contradictions; one line that names file, line and setting.
        MissingInputError: a file does not exist.
    """
    layers: list[Iterable[Setting] | Config] = []
    for source in sources:
        if isinstance(source, Config):
            layers.append(source)
        elif isinstance(source, Section):
            name = next(name for name, section in SECTION_CLASSES.items() if isinstance(source, section))
            layers.append(Config(**{name: source}))
        elif isinstance(source, Mapping):
            layers.append(keywords(source))
        elif isinstance(source, str | PathLike):
            layers.append(read_config(source))
        else:
            raise ConfigError(f"{type(source).__name__} is no configuration; text to train on is given as data=")
    built = {name: value for name, value in overrides.items() if isinstance(value, Section)}
    plain = {name: value for name, value in overrides.items() if name not in built}
    return from_layers([*layers, Config(**built), keywords(plain)])


def from_layers(layers: Iterable[Iterable[Setting] | Config]) -> Config:
    """Return the checked configuration of settings that were read elsewhere, such as flags; see `load_config`."""
    config = Config()
    merged: dict[str, Setting] = {}
    for layer in layers:
        if isinstance(layer, Config):
            origins, values = layer.origins, layer.values()
            settings = {name: Setting(name, values[name], origin, name) for name, origin in origins.items()}
            config.accept({name: setting for name, setting in settings.items() if setting.origin.startswith("preset ")})
            given = {name: setting for name, setting in settings.items() if layer.given(name)}
        else:
            given = resolve(layer, {name: setting.value for name, setting in merged.items()})
        merged = merge(merged, given)
    config.accept(merged)
    if config.training.preset != "auto":
        config.apply_preset(config.training.preset, preset_values(config.training.preset))
    check(config)
    return config

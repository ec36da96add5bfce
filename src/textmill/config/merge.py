"""One configuration out of a preset, files, mappings and keywords, the later over the earlier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from textmill.config.checks import check
from textmill.config.config_files import read_config
from textmill.config.presets import preset_values
from textmill.config.section import Section
from textmill.config.setting_names import sections
from textmill.config.settings import Entry, keywords, merge, resolve
from textmill.config.tree import Config


def load_config(
    *sources: str | Path | Mapping[str, Any] | Section | Config, preset: str | None = None, **overrides: Any
) -> Config:
    """Return the configuration of `sources`, each over the ones before it, and `overrides` over all of them.

    A source is a file (YAML, JSON, TOML), a run's folder, a mapping, a section or a Config. The preset, given here or
    as the setting `preset`, lies below all of them. Everything is validated, rules across settings included.

    Raises:
        ConfigError: unknown names, wrong values, contradictions; one line that names file, line and setting.
        MissingInputError: a file is not there.
    """
    if preset is not None:
        overrides["preset"] = preset
    layers: list[Iterable[Entry] | Config] = []
    for source in sources:
        if isinstance(source, Config):
            layers.append(source)
        elif isinstance(source, Section):
            name = next(name for name, section in sections().items() if isinstance(source, section))
            layers.append(Config(**{name: source}))
        else:
            layers.append(keywords(source) if isinstance(source, Mapping) else read_config(source))
    built = {name: value for name, value in overrides.items() if isinstance(value, Section)}
    plain = {name: value for name, value in overrides.items() if name not in built}
    return from_layers([*layers, Config(**built), keywords(plain)])


def from_layers(layers: Iterable[Iterable[Entry] | Config]) -> Config:
    """Return the checked configuration of entries that were read elsewhere, such as flags; see `load_config`."""
    config = Config()
    merged: dict[str, Entry] = {}
    for layer in layers:
        if isinstance(layer, Config):
            origins, values = layer.origins, layer.values()
            entries = {leaf: Entry(leaf, values[leaf], origin, leaf) for leaf, origin in origins.items()}
            config.accept({leaf: entry for leaf, entry in entries.items() if entry.origin.startswith("preset ")})
            given = {leaf: entry for leaf, entry in entries.items() if layer.given(leaf)}
        else:
            given = resolve(layer, {leaf: entry.value for leaf, entry in merged.items()})
        merged = merge(merged, given)
    config.accept(merged)
    if config.training.preset != "auto":
        config.settle(config.training.preset, preset_values(config.training.preset))
    check(config)
    return config

"""What an ablation compares: named variants of one configuration, from --search values or from a file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.config.config_files import read_mapping
from textmill.config.field_types import show
from textmill.config.setting_lookup import keywords, resolve
from textmill.errors import ConfigError
from textmill.sweep.space import FORBIDDEN, Dimension


@dataclass(frozen=True)
class Variant:
    """The values, by canonical setting, in which one variant differs from what all have in common."""

    name: str
    values: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """The name as a part of the name of a folder."""
        return re.sub(r"[^A-Za-z0-9._=+-]+", "-", self.name).strip("-.") or "variant"


def variants_of(dimensions: Sequence[Dimension]) -> list[Variant]:
    """Return every combination of the values of `--search` once, the first values first.

    Raises ConfigError for a range, which has no end of values, and for a search of seeds.
    """
    for dimension in dimensions:
        if not dimension.choices:
            raise ConfigError(f"--search {dimension.described()}: with --seeds give values, A,B,C, and not a range")
    every = itertools.product(*(dimension.choices for dimension in dimensions))
    named = [{each.setting: value for each, value in zip(dimensions, values)} for values in every]
    return _checked([Variant(", ".join(f"{name}={value}" for name, value in one.items()), one) for one in named])


def read_variants(path: Path) -> list[Variant]:
    """Return the variants in a YAML, JSON or TOML file: a mapping from names to settings, none for the common ones.

    Raises MissingInputError, ConfigError.
    """
    found = []
    for name, values in read_mapping(path).items():
        if not isinstance(values, Mapping | None):
            raise ConfigError(
                f"{path}: {name}: must be a mapping of settings, such as 'd_model: 128', not {show(values)}"
            )
        try:
            settings = resolve(keywords(values or {}))
        except ConfigError as error:
            raise ConfigError(f"{path}: {name}: {error}") from None
        found.append(Variant(str(name), {setting: each.value for setting, each in settings.items()}))
    return _checked(found, f"{path}: ")


def _checked(variants: list[Variant], where: str = "") -> list[Variant]:
    """Raise ConfigError for fewer than two, for two with the same values or folder, for a value that cannot vary."""
    if len(variants) < 2:
        raise ConfigError(f"{where}two variants at least can be compared")
    for variant in variants:
        if taken := sorted({*FORBIDDEN, "seed"} & variant.values.keys()):
            raise ConfigError(f"{where}{variant.name}: {taken[0]} cannot differ between variants")
    for one, other in itertools.combinations(variants, 2):
        if one.values == other.values:
            raise ConfigError(f"{where}{one.name} and {other.name} have the same settings")
        if one.slug.lower() == other.slug.lower():
            raise ConfigError(f"{where}{one.name} and {other.name} would share the folder {one.slug}: rename one")
    return variants

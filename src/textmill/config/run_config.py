"""All settings of a run: five sections in which every setting has a name of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, Unpack

from textmill.config.aliases import canonical
from textmill.config.field_types import closest, show
from textmill.config.fields import DataFields, ModelFields, TokenizerFields, TrackingFields, TrainingFields
from textmill.config.model_shape import ModelConfig
from textmill.config.related_settings import merge, suited
from textmill.config.section import Section
from textmill.config.setting_keywords import SettingKeywords
from textmill.config.setting_lookup import (
    Setting,
    flatten,
    keywords,
    read_as,
    resolve,
    section_of,
    setting_names,
)
from textmill.errors import ConfigError


class DataConfig(DataFields, Section):
    """Where the text is, which of it is used, and how it is cut into rows."""


class TokenizerConfig(TokenizerFields, Section):
    """How text becomes token ids."""


class TrainingConfig(TrainingFields, Section):
    """The run: length, batch, optimizer, hardware, and when to evaluate, save and sample."""


class TrackingConfig(TrackingFields, Section):
    """Where the metrics go."""


SECTION_CLASSES: dict[str, type[Section]] = {
    "data": DataConfig,
    "tokenizer": TokenizerConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "tracking": TrackingConfig,
}
"""The class of every section, in the order in which sections are shown and saved."""

LENGTHS = ("epochs", "max_steps", "max_tokens", "max_flops", "max_time")
"""The settings that end a run. A preset sets one only where nobody gave any."""

NOT_DUMPED = ("output_dir", "overwrite", "resume", "resume_from", "trust")
"""Settings that say where and how a run is started, not what it is: a dump repeats the run elsewhere."""

ADAPTED = ("vocab_size", "warmup_steps")
"""Settings that are made smaller whoever chose them: a vocabulary to that of the text, a warm-up to fit the run."""


if TYPE_CHECKING:

    class _Settings(DataFields, TokenizerFields, ModelFields, TrainingFields, TrackingFields):
        """What a type checker sees: every setting as an attribute, and no others."""
else:
    _Settings = object


class Config(_Settings):
    """Values of one run: printable, copyable, without live objects. Sections given to it are copied.

    Any setting can be read and assigned as `config.d_model` too, under any alias, except `data`, `tokenizer` and
    `model`, whose names are those of sections. Raises ConfigError as the sections do.
    """

    data: DataConfig  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
    tokenizer: TokenizerConfig  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
    model: ModelConfig  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
    training: TrainingConfig
    tracking: TrackingConfig

    def __init__(self, **values: Unpack[SettingKeywords]) -> None:
        for name, section in SECTION_CLASSES.items():
            self._adopt(name, section())
        self._take(values)

    def _take(self, values: Mapping[str, Any]) -> None:
        """Set settings, and whole sections in place of those that were there, with the origins of their values."""
        sections = {name: value for name, value in values.items() if isinstance(value, Section)}
        below: dict[str, Setting] = {}  # what nobody chose
        given: list[Setting] = []
        for section_name, section in sections.items():
            expected = SECTION_CLASSES.get(section_name)
            if expected is None or not isinstance(section, expected):
                wanted = expected.__name__ if expected else "no section"
                raise ConfigError(f"{section_name}: must be {wanted}, not {type(section).__name__}")
            self._adopt(section_name, expected())
            for name, origin in section.origins.items():
                setting = Setting(name, getattr(section, name), origin, f"{section_name}.{name}")
                if section.given(name):
                    given.append(setting)
                else:
                    below[name] = setting
            given.extend(section.others.values())
        given += keywords({name: value for name, value in values.items() if name not in sections})
        self.accept(merge(below, resolve(given, {name: setting.value for name, setting in below.items()})))
        for section_name, section in sections.items():
            getattr(self, section_name)._asked.update(section._asked)

    def _adopt(self, name: str, section: Section) -> None:
        section._config = self
        vars(self)[name] = section

    def accept(self, settings: Mapping[str, Setting]) -> None:
        """Store resolved settings in their sections."""
        for name, setting in settings.items():
            self.section(name)._store(name, copy.deepcopy(setting.value), setting.origin)

    def section(self, name: str) -> Section:
        """Return the section of the setting `name`. Raises ConfigError for an unknown name."""
        section = section_of(canonical(name))
        if section is None:
            raise ConfigError(f"{name}: no such setting{closest(name, setting_names())}")
        return getattr(self, section)

    @property
    def origins(self) -> dict[str, str]:
        """Where each value came from: default, preset NAME, a file's name, --flag, keyword, derived, fitted."""
        return {name: self.section(name).origin(name) for name in setting_names()}

    def given(self, name: str) -> bool:
        """Return whether somebody chose the value of `name`; defaults, presets and derived values are not chosen."""
        return self.section(name).given(name)

    def values(self) -> dict[str, Any]:
        """Return name -> value of all settings."""
        return {name: value for section in SECTION_CLASSES for name, value in getattr(self, section).values().items()}

    def apply_preset(self, preset: str, values: Mapping[str, Any]) -> None:
        """Set what nobody gave to the preset's values, with the origin `preset NAME`.

        The preset's length is ignored if any length is given, and so is a setting whose rival is given, and what suits
        its optimizer only if another one is used.
        """
        origin = f"preset {preset}"
        optimizer = self.training.optimizer if self.given("optimizer") else None
        values = suited(values, optimizer, rate_given=self.given("learning_rate"))
        layer = resolve(flatten(values, origin=origin, where=lambda path: f"{origin}: {'.'.join(path)}"))
        given = {name: Setting(name, value, "", "") for name, value in self.values().items() if self.given(name)}
        if any(name in given and given[name].value is not None for name in LENGTHS):
            layer = {name: setting for name, setting in layer.items() if name not in LENGTHS}
        self.accept({name: setting for name, setting in merge(layer, given).items() if name not in given})

    def copy(self, memo: object = None) -> Self:
        """Return an independent copy with the same values and origins."""
        twin = type(self)()
        for name in SECTION_CLASSES:
            twin._adopt(name, getattr(self, name).clone())
        return twin

    def dump(self, *, as_asked: bool = False) -> dict[str, dict[str, Any]]:
        """Return all settings as nested plain values that YAML and JSON can write and `load_config` can read.

        Where the run is written and how it was resumed is left out, so that a dump repeats the run elsewhere.

        as_asked: dump what was ADAPTED as it was asked for, to ask the same again.
        """
        dump = {}
        for section_name in SECTION_CLASSES:
            section = getattr(self, section_name)
            values = {name: value for name, value in section.values().items() if name not in NOT_DUMPED}
            if as_asked:
                values |= {name: section.asked(name) for name in ADAPTED if name in values}
            dump[section_name] = values
        return dump

    def read(self, name: str) -> Any:
        """Return the value of a setting with this canonical name. Raises AttributeError if there is none."""
        section = section_of(name)
        if section is None:
            raise AttributeError(f"no setting is called {name!r}{closest(name, setting_names())}")
        return getattr(getattr(self, section), name)

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            if isinstance(value, Section):
                self._take({name: value})
            elif name in SECTION_CLASSES and isinstance(value, Mapping):
                setattr(self, name, SECTION_CLASSES[name](**value))
            else:
                self.accept(resolve(keywords({name: value}), self.values()))

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return read_as(name, self.read)

    __copy__ = __deepcopy__ = copy

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.values() == other.values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        chosen = [f"{name}={show(value)}" for name, value in self.values().items() if self.given(name)]
        return f"Config({', '.join(chosen)})"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a nested configuration file, for editors that complete keys."""
    properties: dict[str, Any] = {}
    for name, section in SECTION_CLASSES.items():
        described = section.model_json_schema()
        setting = described["properties"].get(name)  # `tokenizer: bpe` sets the setting of the section's name
        properties[name] = {"anyOf": [described, setting]} if setting else described
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "textmill configuration",
        "type": "object",
        "properties": properties,
    }

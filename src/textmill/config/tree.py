"""All settings of a run: five sections that share one set of unique leaf names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from textmill.config.aliases import REWRITES, canonical
from textmill.config.fields.data import DataConfig, TokenizerConfig
from textmill.config.fields.model import ModelConfig
from textmill.config.fields.tracking import TrackingConfig
from textmill.config.fields.training import TrainingConfig
from textmill.config.section import Section
from textmill.config.setting_names import SECTIONS, section_of, sections
from textmill.config.settings import Entry, flatten, keywords, leaf_names, merge, resolve
from textmill.config.values import closest, show
from textmill.errors import ConfigError

LENGTHS = ("epochs", "max_steps", "max_tokens", "max_time")
"""The leaves that end a run. A preset sets one only where nobody gave any."""

NOT_DUMPED = ("output_dir", "overwrite", "resume", "resume_from")
"""Leaves that say where a run is written, not what it is: a dump repeats the run elsewhere."""

SET_BY_TEXT = ("vocab_size",)
"""Leaves whose value comes of the text: a vocabulary is as large as the tokenizer that is learned."""


class Config:
    """Values of one run: printable, copyable, without live objects. Sections given to it are copied.

    Any leaf can be read and assigned as `config.d_model` too, under any alias, except the leaves `data` and
    `tokenizer`, whose names are the sections'. Raises ConfigError as the sections do.
    """

    data: DataConfig
    tokenizer: TokenizerConfig
    model: ModelConfig
    training: TrainingConfig
    tracking: TrackingConfig

    def __init__(self, **values: Any) -> None:
        for name, section in sections().items():
            self._adopt(name, section())
        below, given = self._given_sections(values)
        plain = {key: value for key, value in values.items() if not isinstance(value, Section)}
        self.accept(merge(below, resolve([*given, *keywords(plain)], {leaf: e.value for leaf, e in below.items()})))
        self._adopt_asked(values)

    @staticmethod
    def _given_sections(values: Mapping[str, Any]) -> tuple[dict[str, Entry], list[Entry]]:
        """Return what the section objects among `values` hold: values that nobody chose, and chosen ones."""
        below: dict[str, Entry] = {}
        given: list[Entry] = []
        for name, section in values.items():
            if not isinstance(section, Section):
                continue
            expected = sections().get(name)
            if expected is None or not isinstance(section, expected):
                wanted = expected.__name__ if expected else "no section"
                raise ConfigError(f"{name}: must be {wanted}, not {type(section).__name__}")
            for leaf in section.origins:
                entry = Entry(leaf, section.values()[leaf], section.origin(leaf), f"{name}.{leaf}")
                if section.given(leaf):
                    given.append(entry)
                else:
                    below[leaf] = entry
            given.extend(section.strays.values())
        return below, given

    def _adopt(self, name: str, section: Section) -> None:
        section._tree = self
        self.__dict__[name] = section

    def _adopt_asked(self, values: Mapping[str, Any]) -> None:
        """Sections remember what was asked of the section objects among `values`."""
        for name, section in values.items():
            if isinstance(section, Section):
                getattr(self, name)._asked.update(section._asked)

    def accept(self, entries: Mapping[str, Entry]) -> None:
        """The resolved `entries` are in their sections."""
        for leaf, entry in entries.items():
            getattr(self, section_of(leaf) or "")._store(leaf, copy.deepcopy(entry.value), entry.origin)

    def section(self, leaf: str) -> Section:
        """Return the section that holds `leaf`. Raises ConfigError for an unknown name."""
        name = section_of(canonical(leaf))
        if name is None:
            raise ConfigError(f"{leaf}: no such setting{closest(leaf, leaf_names())}")
        return getattr(self, name)

    @property
    def origins(self) -> dict[str, str]:
        """Where each leaf's value came from: default, preset NAME, a file's name, --flag, keyword, derived, fitted."""
        return {leaf: self.section(leaf).origin(leaf) for leaf in leaf_names()}

    def given(self, leaf: str) -> bool:
        """Return whether somebody chose the value of `leaf`, as against default, preset and derived values."""
        return self.section(leaf).given(leaf)

    def values(self) -> dict[str, Any]:
        """Return leaf -> value of all sections."""
        return {leaf: value for name in SECTIONS for leaf, value in getattr(self, name).values().items()}

    def settle(self, name: str, values: Mapping[str, Any]) -> None:
        """Every leaf that nobody gave holds the preset's value, if it has one, with the origin `preset NAME`.

        A length gives way to any given length, and one of two rival settings to the other.
        """
        origin = f"preset {name}"
        layer = resolve(flatten(values, origin=origin, place=lambda path: f"{origin}: {'.'.join(path)}"))
        given = {leaf: Entry(leaf, value, "", "") for leaf, value in self.values().items() if self.given(leaf)}
        if any(leaf in given and given[leaf].value is not None for leaf in LENGTHS):
            layer = {leaf: entry for leaf, entry in layer.items() if leaf not in LENGTHS}
        self.accept({leaf: entry for leaf, entry in merge(layer, given).items() if leaf not in given})

    def copy(self) -> Config:
        """Return an independent copy with the same values and origins."""
        twin = Config()
        for name in SECTIONS:
            twin._adopt(name, getattr(self, name).clone())
        return twin

    def dump(self, *, as_asked: bool = False) -> dict[str, dict[str, Any]]:
        """Return all settings as nested plain values that YAML and JSON can write and `load_config` can read.

        Where the run is written and how it was resumed is left out, so that a dump repeats the run elsewhere.

        as_asked: what the text decided (SET_BY_TEXT) is dumped as it was asked for, so that loading the dump asks the
            same of the text again.
        """
        dump = {}
        for name in SECTIONS:
            section = getattr(self, name)
            values = {leaf: value for leaf, value in section.values().items() if leaf not in NOT_DUMPED}
            if as_asked:
                values |= {leaf: section.asked(leaf) for leaf in SET_BY_TEXT if leaf in values}
            dump[name] = values
        return dump

    def read(self, leaf: str, name: str) -> Any:
        """Return the value of a leaf. Raises AttributeError, naming it as `name`, when there is none."""
        section = section_of(leaf)
        if section is None:
            raise AttributeError(f"no setting is called {name!r}{closest(leaf, leaf_names())}")
        return getattr(getattr(self, section), leaf)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Section):
            below, given = self._given_sections({name: value})
            self._adopt(name, sections()[name]())
            self.accept(merge(below, resolve(given)))
            self._adopt_asked({name: value})
        elif name in SECTIONS and isinstance(value, Mapping):
            setattr(self, name, sections()[name](**value))
        else:
            self.accept(resolve(flatten({name: value}, origin="keyword", place=".".join), self.values()))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            if name in REWRITES and section_of(name) is None:
                return REWRITES[name].read(lambda leaf: self.read(leaf, leaf))
            return self.read(canonical(name), name)

    def __copy__(self) -> Config:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Config:
        return self.copy()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.values() == other.values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        chosen = [f"{leaf}={show(value)}" for leaf, value in self.values().items() if self.given(leaf)]
        return f"Config({', '.join(chosen)})"

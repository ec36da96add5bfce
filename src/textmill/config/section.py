"""The behaviour of every section: aliases, one-line errors, and the record of where each value came from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

from textmill.config.aliases import canonical
from textmill.config.field_types import closest, show
from textmill.config.setting_lookup import Setting, keywords, read_as, resolve

NOT_GIVEN = ("default", "preset", "derived", "fitted")
"""First words of the origins of values that nobody chose."""


class Section(BaseModel):
    """Settings of one kind. Values can be read and assigned under any alias; an assigned value is checked.

    A section on its own also accepts the settings of other sections and keeps them in `others`, which are merged when
    sections meet in a Config. Raises ConfigError for unknown names, wrong values and contradictions.
    """

    # The docstrings are read once, in the class of the fields.
    model_config = ConfigDict(extra="forbid", defer_build=True, use_attribute_docstrings=False)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _asked: dict[str, Any] = PrivateAttr(default_factory=dict)
    _others: dict[str, Setting] = PrivateAttr(default_factory=dict)
    _config: Any = PrivateAttr(default=None)

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._accept(resolve(keywords(values)))

    def _accept(self, settings: Mapping[str, Setting]) -> None:
        for name, setting in settings.items():
            if name in type(self).model_fields:
                self._store(name, copy.deepcopy(setting.value), setting.origin)
            elif self._config is not None:
                self._config.accept({name: setting})
            else:
                self._others[name] = setting

    def _store(self, name: str, value: Any, origin: str) -> None:
        """Set a value that is already checked."""
        vars(self)[name] = value
        self.__pydantic_fields_set__.add(name)
        self._origins[name] = origin
        self._asked.pop(name, None)

    @property
    def others(self) -> dict[str, Setting]:
        """Settings of other sections that were given to this one."""
        return dict(self._others)

    @property
    def origins(self) -> dict[str, str]:
        """Where the values came from that are not defaults; see `origin`."""
        return dict(self._origins)

    def origin(self, name: str) -> str:
        """Return where a value came from: default, preset NAME, a file, --flag, keyword, derived or fitted."""
        return self._origins.get(canonical(name), "default")

    def given(self, name: str) -> bool:
        """Return whether somebody chose the value of `name`; defaults, presets and derived values are not chosen."""
        return self.origin(name).split(" ")[0] not in NOT_GIVEN

    def described(self, name: str) -> str:
        """Return a setting as errors show it: its name, its value and, except for keywords, where that came from."""
        origin = self.origin(name)
        return f"{name} {show(getattr(self, name))}" + ("" if origin == "keyword" else f" ({origin})")

    def derive(self, name: str, value: Any, *, force: bool = False) -> None:
        """Set `name` to `value` if it is unset and mark it as derived; with `force` set it anyway, marked as fitted."""
        before = getattr(self, name)
        if force or before is None:
            self._store(name, value, "fitted" if force else "derived")
            if value is not None:
                self._asked[name] = before

    def asked(self, name: str) -> Any:
        """Return the value of a setting as it was before `derive` set it to another."""
        return self._asked[name] if name in self._asked else getattr(self, name)

    def values(self) -> dict[str, Any]:
        """Return a copy of every setting's value."""
        return {name: copy.deepcopy(self.__dict__[name]) for name in type(self).model_fields}

    def clone(self, memo: object = None) -> Self:
        """Return an independent copy with the same origins, outside any Config."""
        twin = type(self).model_construct(**self.values())
        twin._origins, twin._asked, twin._others = dict(self._origins), dict(self._asked), dict(self._others)
        return twin

    __copy__ = __deepcopy__ = clone

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.values() == other.values()

    __hash__ = None  # type: ignore[assignment]

    if not TYPE_CHECKING:  # so that a type checker knows the fields alone, and finds misspelled ones

        def __setattr__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                super().__setattr__(name, value)
                return
            below = self.values() if self._config is None else self._config.values()
            self._accept(resolve([Setting(name, value, "keyword", name)], below))

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                return super().__getattr__(name)
            return read_as(name, self._read)

        def _read(self, name: str) -> Any:
            if name in type(self).model_fields:
                return self.__dict__[name]
            if self._config is not None:
                return self._config.read(name)
            if name in self._others:
                return self._others[name].value
            raise AttributeError(f"{type(self).__name__} has no {name!r}{closest(name, type(self).model_fields)}")

"""What all sections have in common: aliases, one-line errors, and the memory of where each value came from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

from textmill.config.aliases import REWRITES, canonical
from textmill.config.values import closest, show

if TYPE_CHECKING:
    from textmill.config.settings import Entry

NOT_GIVEN = ("default", "preset", "derived", "fitted")
"""First words of the origins of values that nobody chose."""


class Section(BaseModel):
    """Settings of one kind. Values may be read and assigned under any alias; an assigned value is checked.

    Built alone, a section also takes the settings of other sections and keeps them as `strays`, which join the others
    when sections meet in a Config. Raises ConfigError for unknown names, wrong values and contradictions.
    """

    # Building validators only when the first value arrives keeps them out of the time that a help page takes.
    model_config = ConfigDict(extra="forbid", defer_build=True, use_attribute_docstrings=True)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _asked: dict[str, Any] = PrivateAttr(default_factory=dict)
    _strays: dict[str, Any] = PrivateAttr(default_factory=dict)
    _tree: Any = PrivateAttr(default=None)

    def __init__(self, **values: Any) -> None:
        from textmill.config.settings import keywords, resolve

        super().__init__()
        self._accept(resolve(keywords(values)))

    @classmethod
    def from_entries(cls, entries: Mapping[str, Entry]) -> Self:
        """Return the section that holds the resolved `entries`; those of other sections become strays."""
        section = cls()
        section._accept(entries)
        return section

    def _accept(self, entries: Mapping[str, Entry]) -> None:
        for leaf, entry in entries.items():
            if leaf in type(self).model_fields:
                self._store(leaf, copy.deepcopy(entry.value), entry.origin)
            elif self._tree is not None:
                self._tree.accept({leaf: entry})
            else:
                self._strays[leaf] = entry

    def _store(self, leaf: str, value: Any, origin: str) -> None:
        """The leaf holds an already checked value."""
        vars(self)[leaf] = value
        self.__pydantic_fields_set__.add(leaf)
        self._origins[leaf] = origin
        self._asked.pop(leaf, None)

    @property
    def strays(self) -> dict[str, Entry]:
        """Settings of other sections that were given to this one."""
        return dict(self._strays)

    @property
    def origins(self) -> dict[str, str]:
        """Where the values came from that are not defaults; see `origin`."""
        return dict(self._origins)

    def origin(self, leaf: str) -> str:
        """Return where a value came from: default, preset NAME, a file, --flag, keyword, derived or fitted."""
        return self._origins.get(canonical(leaf), "default")

    def given(self, leaf: str) -> bool:
        """Return whether somebody chose the value of `leaf`, as against default, preset and derived values."""
        return self.origin(leaf).split(" ")[0] not in NOT_GIVEN

    def described(self, leaf: str) -> str:
        """Return a leaf as errors name it: its name, its value and, but for keywords, where that came from."""
        origin = self.origin(leaf)
        return f"{leaf} {show(getattr(self, leaf))}" + ("" if origin == "keyword" else f" ({origin})")

    def derive(self, leaf: str, value: Any, *, force: bool = False) -> None:
        """An unset leaf holds `value`, marked as derived; with `force` any leaf does, marked as fitted."""
        before = getattr(self, leaf)
        if force or before is None:
            self._store(leaf, value, "fitted" if force else "derived")
            if value is not None:
                self._asked[leaf] = before

    def asked(self, leaf: str) -> Any:
        """Return the value of a leaf as it was before the last `derive` gave it another."""
        return self._asked[leaf] if leaf in self._asked else getattr(self, leaf)

    def values(self) -> dict[str, Any]:
        """Return a copy of every leaf's value."""
        return {leaf: copy.deepcopy(self.__dict__[leaf]) for leaf in type(self).model_fields}

    def clone(self) -> Self:
        """Return an independent copy with the same origins and strays, outside any Config."""
        twin = type(self).model_construct(**self.values())
        twin._origins, twin._asked, twin._strays = dict(self._origins), dict(self._asked), dict(self._strays)
        return twin

    def __copy__(self) -> Self:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.clone()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.values() == other.values()

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        from textmill.config.settings import Entry, resolve

        below = self.values() if self._tree is None else self._tree.values()
        self._accept(resolve([Entry(name, value, "keyword", name)], below))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                return super().__getattr__(name)
            if name in REWRITES and name not in type(self).model_fields:
                return REWRITES[name].read(self._read)
            return self._read(canonical(name), name)

        def _read(self, leaf: str, name: str | None = None) -> Any:
            if leaf in type(self).model_fields:
                return self.__dict__[leaf]
            if self._tree is not None:
                return self._tree.read(leaf, name or leaf)
            if leaf in self._strays:
                return self._strays[leaf].value
            raise AttributeError(
                f"{type(self).__name__} has no {name or leaf!r}{closest(leaf, type(self).model_fields)}"
            )

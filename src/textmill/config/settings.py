"""Settings as they were given: one value each, with the place it came from, until they are resolved to leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from textmill.config.aliases import ALIASES, REWRITES, RIVALS, canonical
from textmill.config.setting_names import SECTIONS, section_of, sections, validate
from textmill.config.values import closest, show
from textmill.errors import ConfigError


class Entry(NamedTuple):
    """One setting as given. `origin` is what `Config.origins` records; `place` begins an error about it."""

    key: str
    value: Any
    origin: str
    place: str


def keywords(values: Mapping[str, Any]) -> list[Entry]:
    """Return the entries of Python keywords or of a plain mapping, in which sections may be nested."""
    return list(flatten(values, origin="keyword", place=lambda path: ".".join(path)))


def flatten(values: Mapping[Any, Any], *, origin: str, place: Any, path: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Yield every setting of a nested mapping. `place(path)` names where a path was written.

    A section holds settings; anything but a mapping where a section is expected sets the leaf of the section's name.

    Raises:
        ConfigError: a key is not text, or a section without such a leaf holds no mapping.
    """
    for key, value in values.items():
        here = (*path, str(key))
        if not isinstance(key, str):
            raise ConfigError(f"{place(here)}: a setting's name must be text, not {show(key)}")
        if key in SECTIONS:
            if isinstance(value, Mapping):
                yield from flatten(value, origin=origin, place=place, path=here)
                continue
            if value is None and (origin != "keyword" or section_of(key) is None):
                continue  # an empty section of a file
            if section_of(key) is None:
                raise ConfigError(f"{place(here)}: must be a section of settings, not {show(value)}")
        yield Entry(key, value, origin, place(here))


def resolve(entries: Iterable[Entry], below: Mapping[str, Any] | None = None) -> dict[str, Entry]:
    """Return leaf -> entry for one layer: aliases renamed, rewrites applied, every value validated.

    `below` holds the values of the layers under this one, which a switch such as `wandb` adds to.

    Raises:
        ConfigError: an unknown name, a value the leaf does not take, or two different values for one leaf.
    """
    layer: dict[str, Entry] = {}
    rewritten: list[Entry] = []
    for entry in entries:
        name = canonical(entry.key)
        if name in REWRITES:
            rewritten.append(entry._replace(key=name))
        elif section_of(name) is not None:
            _put(layer, name, entry)
        else:
            known = [*leaf_names(), *ALIASES, *REWRITES, *SECTIONS]
            raise ConfigError(f"{entry.place}: no such setting{closest(name, known)}")
    for entry in rewritten:
        _rewrite(layer, entry, {item.key: item.value for item in rewritten}, below or {})
    return layer


def leaf_names() -> list[str]:
    """Return the canonical names of all leaves."""
    return [leaf for section in sections().values() for leaf in section.model_fields]


def _put(layer: dict[str, Entry], leaf: str, entry: Entry) -> None:
    entry = entry._replace(value=validate(leaf, entry.value, entry.place))
    other = layer.get(leaf)
    if other is not None and other.value != entry.value:
        raise ConfigError(
            f"{entry.place}: {show(entry.value)} contradicts {other.place}: {show(other.value)}; give {leaf} once"
        )
    layer.setdefault(leaf, entry)


def _rewrite(layer: dict[str, Entry], entry: Entry, beside: Mapping[str, Any], below: Mapping[str, Any]) -> None:
    rewrite = REWRITES[entry.key]
    context = {**below, **{leaf: item.value for leaf, item in layer.items()}, **beside}
    try:
        settings = rewrite.write(entry.value, context)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{entry.place}: {error}") from None
    for leaf, value in settings.items():
        if leaf in rewrite.replaces:
            layer[leaf] = entry._replace(value=validate(leaf, value, entry.place))
        elif leaf not in rewrite.yields or leaf not in layer:
            _put(layer, leaf, entry._replace(value=value))


def merge(below: dict[str, Entry], layer: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return `below` with `layer` over it; one of two rivals in the layer takes the other of them away."""
    merged = dict(below)
    for pair in RIVALS:
        for leaf, rival in (pair, pair[::-1]):
            if leaf in layer and layer[leaf].value is not None and rival not in layer:
                merged.pop(rival, None)
    merged.update(layer)
    return merged

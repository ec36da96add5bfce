"""Settings by name: the section of each, the check of one value, and the settings of one layer as they were given."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from textmill.config.aliases import ALIASES, REWRITES, canonical
from textmill.config.field_types import closest, show
from textmill.config.fields import SECTIONS
from textmill.errors import ConfigError

_FIELDS: dict[str, tuple[str, FieldInfo]] = {
    name: (section, field) for section, fields in SECTIONS.items() for name, field in fields.model_fields.items()
}
"""Every setting -> its section and field. A name is unique among all sections."""


class Setting(NamedTuple):
    """One setting as given. `origin` is what `Config.origins` records; `where` begins an error about it."""

    key: str
    value: Any
    origin: str
    where: str


def setting_names() -> list[str]:
    """Return the canonical names of all settings."""
    return list(_FIELDS)


def section_of(name: str) -> str | None:
    """Return the section of the setting with the canonical name `name`, or None."""
    return _FIELDS[name][0] if name in _FIELDS else None


def is_list(name: str) -> bool:
    """Return whether a setting's value is a list."""
    return "list[" in str(_FIELDS[name][1].annotation)


def is_switch(name: str) -> bool:
    """Return whether a setting is true or false, or accepts these among other values."""
    annotation = _FIELDS[name][1].annotation
    return annotation is bool or bool in get_args(annotation)


@cache
def _validator(name: str) -> TypeAdapter[Any]:
    kind: Any = _FIELDS[name][1].annotation
    for constraint in _FIELDS[name][1].metadata:
        kind = Annotated[kind, constraint]
    return TypeAdapter(kind)


def validate(name: str, value: Any, where: str) -> Any:
    """Return `value` converted to the setting's type.

    Raises:
        ConfigError: the setting does not accept it; the message begins with `where`.
    """
    try:
        return _validator(name).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentence(error, value)}") from None


def _sentence(error: ValidationError, value: Any) -> str:
    """Return pydantic's first complaint as the rest of a sentence, with the value."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message
    for long, short in (("greater than or equal to", "at least"), ("less than or equal to", "at most")):
        message = message.replace(long, short)
    return f"{message.replace('Input should be', 'must be')}, not {show(value)}"


def keywords(values: Mapping[str, Any]) -> list[Setting]:
    """Return the settings in Python keywords or in a plain mapping, in which sections may be nested."""
    return list(flatten(values, origin="keyword", where=".".join))


def flatten(
    values: Mapping[Any, Any], *, origin: str, where: Callable[[tuple[str, ...]], str], path: tuple[str, ...] = ()
) -> Iterator[Setting]:
    """Yield every setting of a nested mapping. `where(path)` says where a path was written.

    Anything but a mapping where a section is expected sets the setting of the section's name.

    Raises:
        ConfigError: a key is not text, or the value of a section without such a setting is not a mapping.
    """
    for key, value in values.items():
        here = (*path, str(key))
        if not isinstance(key, str):
            raise ConfigError(f"{where(here)}: a setting's name must be text, not {show(key)}")
        if key in SECTIONS:
            if isinstance(value, Mapping):
                yield from flatten(value, origin=origin, where=where, path=here)
                continue
            if value is None and (origin != "keyword" or section_of(key) is None):
                continue  # an empty section of a file
            if section_of(key) is None:
                raise ConfigError(f"{where(here)}: must be a section of settings, not {show(value)}")
        yield Setting(key, value, origin, where(here))


def resolve(settings: Iterable[Setting], below: Mapping[str, Any] | None = None) -> dict[str, Setting]:
    """Return canonical name -> setting for one layer: aliases renamed, rewrites applied, every value validated.

    `below` has the values of the layers under this one, which a switch such as `wandb` adds to.

    Raises:
        ConfigError: an unknown name, a value that its setting does not accept, or two different values for one setting.
    """
    layer: dict[str, Setting] = {}
    rewritten: list[Setting] = []
    for setting in settings:
        name = canonical(setting.key)
        if name in REWRITES:
            rewritten.append(setting._replace(key=name))
        elif section_of(name) is not None:
            _put(layer, name, setting)
        else:
            known = [*setting_names(), *ALIASES, *REWRITES, *SECTIONS]
            raise ConfigError(f"{setting.where}: no such setting{closest(name, known)}")
    for setting in rewritten:
        _rewrite(layer, setting, {other.key: other.value for other in rewritten}, below or {})
    return layer


def read_as(name: str, read: Callable[[str], Any]) -> Any:
    """Return the value of a setting under any of its names; `read` returns that of a canonical one."""
    if name in REWRITES and section_of(name) is None:
        return REWRITES[name].read(read)
    return read(canonical(name))


def _put(layer: dict[str, Setting], name: str, setting: Setting) -> None:
    setting = setting._replace(value=validate(name, setting.value, setting.where))
    other = layer.setdefault(name, setting)
    if other.value != setting.value:
        raise ConfigError(
            f"{setting.where}: {show(setting.value)} contradicts {other.where}: {show(other.value)}; both set {name}: "
            "leave one out"
        )


def _rewrite(layer: dict[str, Setting], setting: Setting, beside: Mapping[str, Any], below: Mapping[str, Any]) -> None:
    rewrite = REWRITES[setting.key]
    context = {**below, **{name: other.value for name, other in layer.items()}, **beside}
    try:
        values = rewrite.write(setting.value, context)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{setting.where}: {error}") from None
    for name, value in values.items():
        if name in rewrite.replaces:
            layer[name] = setting._replace(value=validate(name, value, setting.where))
        elif name not in rewrite.yields or name not in layer:
            _put(layer, name, setting._replace(value=value))

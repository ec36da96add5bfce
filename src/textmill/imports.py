"""Objects by their name: `"package.module:attribute"`, packages that may be missing, public names imported late.

`resolve` is the whole plug-in system.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from textmill.errors import ConfigError, MissingExtraError


def resolve(name: str) -> Any:
    """Return the object that `name` points to, written `package.module:attribute` (dots allowed after the colon).

    Raises:
        ConfigError: the name has no colon, the module cannot be imported or has no such attribute.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f"{name!r} does not name an object: write it as 'package.module:attribute'")
    try:
        value: Any = _module(module_name)
    except Exception as error:  # ImportError, or whatever the module's own code raises
        reason = error if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"cannot import {module_name!r} (from {name!r}): {reason}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise ConfigError(f"{module_name!r} has no {attribute!r} (from {name!r})")
        value = getattr(value, part)
    return value


def _module(name: str) -> Any:
    """Return the module `name`. One that is not installed is looked for in the current folder."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        here = str(Path.cwd())
        if error.name != name.partition(".")[0] or here in sys.path:
            raise
    sys.path.append(here)  # the module may import its neighbours, now and later
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        sys.path.remove(here)
        raise


def resolve_callable(name: str) -> Callable[..., Any]:
    """Return `resolve(name)` if it can be called. Raises ConfigError."""
    value = resolve(name)
    if not callable(value):
        raise ConfigError(f"{name!r} is {type(value).__name__} and cannot be called: name a function or a class")
    return value


def code_hash(name: str) -> str | None:
    """Return the beginning of the SHA-256 of the file that defines what `name` points to, or None without a file."""
    value = resolve(name)
    try:
        file = inspect.getsourcefile(inspect.unwrap(value))
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else None
    except (TypeError, ValueError, OSError):  # no Python source, such as a partial function or a compiled module
        return None


def require(package: str, needed_for: str, extra: str) -> None:
    """Raise MissingExtraError, which begins with `needed_for`, unless `package` is installed; nothing is imported."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"{needed_for} needs {package}, which is missing: pip install 'textmill[{extra}]'")


def optional(module: str, needed_for: str, extra: str = "data") -> Any:
    """Return the module of a package that only `extra` installs, imported now.

    Raises MissingExtraError when the package is not installed or cannot be imported; `needed_for` begins the message,
    as in "reading a.pdf".
    """
    package = module.partition(".")[0]
    require(package, needed_for, extra)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{needed_for} needs {package}, which cannot be imported ({error}): pip install 'textmill[{extra}]'"
        ) from error


def lazy_attributes(package: str, public: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return a `__getattr__` for `package` that imports a public name when it is first used.

    public: module below `package` -> the names that it defines. No name may be that of a submodule.
    """
    homes = {name: module for module, names in public.items() for name in names}

    def attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return attribute

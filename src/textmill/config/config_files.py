"""Configuration files: YAML, JSON or TOML, nested or flat, read into settings with their file and line."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from textmill.config.field_types import closest_beside, show
from textmill.config.huggingface import described_settings, from_huggingface
from textmill.config.setting_lookup import Setting, flatten
from textmill.errors import ConfigError, MissingInputError
from textmill.files.byte_order_mark import decode_marked
from textmill.files.regular_files import NotAFileError, read_bytes

CONFIG_FILE = "config.yaml"
"""The configuration in a run folder."""

_MARKS = {"architectures", "transformers_version"}
"""Keys by which the config.json of a Hugging Face folder is recognized."""

MAX_BYTES = 1 << 18
MAX_VALUES = 10_000
MAX_DEPTH = 32

_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?:^|[{{,\[])[ \t]*+(?:{_PART}[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}", re.MULTILINE)
"""A key of TOML, at the beginning of a line or in a table, with more parts than MAX_DEPTH."""


def read_config(path: str | Path) -> list[Setting]:
    """Return the settings in a file, in the CONFIG_FILE of a run folder, or of the model in a Hugging Face folder.

    Raises:
        MissingInputError: no such file.
        ConfigError: it is not YAML, JSON or TOML, repeats a key, or is not a mapping of settings.
        DataError: it is the config.json of a model that textmill does not support.
    """
    file = Path(path)
    foreign = False
    if file.is_dir():
        foreign = not (file / CONFIG_FILE).exists() and (file / "config.json").exists()
        file = file / ("config.json" if foreign else CONFIG_FILE)
    lines: dict[tuple[str, ...], int] = {}
    values = _parsed(file, lines)

    def where(at: tuple[str, ...]) -> str:
        line = f":{lines[at]}" if at in lines else ""
        return f"{file}{line}: {'.'.join(at)}"

    if foreign or ("model_type" in values and not _MARKS.isdisjoint(values)):
        return _of_model(file, values)
    return list(flatten(values, origin=str(file), where=where))


def read_mapping(path: Path) -> dict[Any, Any]:
    """Return the mapping in a YAML, JSON or TOML file as it stands there. Raises MissingInputError, ConfigError."""
    return _parsed(path, {})


def _parsed(file: Path, lines: dict[tuple[str, ...], int]) -> dict[Any, Any]:
    """Return the mapping in a file, empty for an empty one, and note the line of every key in `lines`."""
    source = _text(file)
    readers = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".toml": _toml}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise ConfigError(f"{file}: a configuration file ends in .yaml, .yml, .json or .toml (text is given as data)")
    try:
        values = reader(file, source, lines)
    except RecursionError:
        raise ConfigError(f"{file}: is nested too deeply to be a configuration") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: must contain settings such as 'd_model: 256', not {show(values)}")
    return values


def _of_model(file: Path, values: dict[str, Any]) -> list[Setting]:
    """Return the settings that describe the model of a Hugging Face folder, and its tokenizer if it has one."""
    settings = described_settings(from_huggingface(values, str(file)))
    if any((file.parent / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        settings["tokenizer"] = str(file.parent.absolute())
    return [Setting(name, value, str(file), f"{file}: {name}") for name, value in settings.items()]


def _text(file: Path) -> str:
    """Return the file's text. Raises MissingInputError or ConfigError."""
    try:
        content = read_bytes(file, MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingInputError(f"{file}: no such configuration file{closest_beside(file)}") from None
    except NotAFileError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except OSError as error:
        raise MissingInputError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{file}: is larger than {MAX_BYTES} bytes: too large for a configuration")
    try:
        return decode_marked(content)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 at byte {error.start}") from None


def _json(file: Path, source: str, lines: dict[tuple[str, ...], int]) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, times in Counter(key for key, _ in items).items():
            if times > 1:
                raise ConfigError(f"{file}: the key {key!r} is repeated")
        return dict(items)

    try:
        return json.loads(source, object_pairs_hook=pairs) if source.strip() else None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from None
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON: {error}") from None


def _toml(file: Path, source: str, lines: dict[tuple[str, ...], int]) -> Any:
    if found := _DEEP_KEY.search(source):  # before parsing: the parser's memory grows with the square of the parts
        line = source.count("\n", 0, found.start()) + 1
        raise ConfigError(f"{file}:{line}: a key of more than {MAX_DEPTH} parts is nested too deeply")
    try:
        return tomllib.loads(source)
    except ValueError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None


def _yaml(file: Path, source: str, lines: dict[tuple[str, ...], int]) -> Any:
    try:
        loader = yaml.SafeLoader(source)
        node = loader.get_single_node()
        return None if node is None else _Tree(file, loader, lines).value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{file}{line}: not YAML: {reason}") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error).splitlines()[0]
        raise ConfigError(f"{file}: not YAML: {reason}") from None


class _Tree:
    """Turns YAML nodes into plain values: keys are unique, lines are recorded, anchors cannot expand without limit."""

    def __init__(self, file: Path, loader: yaml.SafeLoader, lines: dict[tuple[str, ...], int]) -> None:
        self.file, self.loader, self.lines = file, loader, lines
        self.left = MAX_VALUES

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self.left -= 1
        if self.left < 0 or len(path) > MAX_DEPTH:
            raise ConfigError(f"{self.file}:{node.start_mark.line + 1}: contains more than {MAX_VALUES} values")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(index))) for index, item in enumerate(node.value)]
        return self.scalar(node)

    def scalar(self, node: yaml.Node) -> Any:
        """Return the value of a word, number, date ... Raises ConfigError naming its line."""
        try:
            return self.loader.construct_object(node)
        except (AttributeError, KeyError, OverflowError, ValueError) as error:  # raised for "!!int x"
            raise ConfigError(
                f"{self.file}:{node.start_mark.line + 1}: {show(getattr(node, 'value', ''))} is no "
                f"{node.tag.rpartition(':')[2]}: put it in quotes if it is text"
            ) from error

    def mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[Any, Any]:
        own: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self.file}:{line}: a setting's name must be text")
            if key_node.tag == "tag:yaml.org,2002:merge":
                for source in self._merged(value_node):
                    merged = {**self.mapping(source, (*path, "<<")), **merged}
                continue
            key = self.scalar(key_node)
            if key in own:
                first = self.lines.get((*path, str(key)))
                raise ConfigError(f"{self.file}:{line}: the key {str(key)!r} is repeated, first in line {first}")
            here = (*path, str(key))
            self.lines[here] = line
            own[key] = self.value(value_node, here)
        return {**merged, **own}

    def _merged(self, node: yaml.Node) -> list[yaml.MappingNode]:
        """Return the mappings that a `<<` key merges in."""
        self.left -= 1
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        mappings = [source for source in sources if isinstance(source, yaml.MappingNode)]
        if len(mappings) < len(sources):
            raise ConfigError(f"{self.file}:{node.start_mark.line + 1}: << needs a mapping of settings")
        return mappings

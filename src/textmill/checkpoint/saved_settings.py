"""The settings of a run: those that its checkpoint contains, and config.yaml as far as it is what the run wrote."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.config import Config, load_config
from textmill.config.field_types import show
from textmill.config.merge_layers import from_layers
from textmill.config.setting_lookup import flatten
from textmill.errors import ConfigError, DataError, MissingInputError
from textmill.files import read_bytes, read_object
from textmill.runs import layout
from textmill.runs.recorded_files import config_changed

SETTINGS = "settings"
"""The entry of state.json with the settings, nested as in config.yaml."""


@dataclass(frozen=True)
class SavedSettings:
    """The settings that a run goes on with, and those of the checkpoint (of the run, where it contains none)."""

    current: Config
    at_checkpoint: Config


def read_settings(
    run: Path, checkpoint: Path | None, say: Callable[[str], None], *, continues: bool = True
) -> SavedSettings:
    """Return the settings of the run in `run`, which continues from `checkpoint`, or from nothing.

    config.yaml counts as long as it is as a session of the run wrote it. What was changed in it since, by hand or by a
    failing disk, is said, and the checkpoint's settings count. Without a checkpoint that contains settings, config.yaml
    counts whatever it says, and that is said.

    continues: the run goes on; False for a model that is only measured.

    Raises:
        MissingInputError, ConfigError: config.yaml is missing, or not a configuration, and no checkpoint has settings.
        DataError: the settings in the checkpoint cannot be read.
    """
    path = run / layout.CONFIG
    saved = settings_in(checkpoint, path) if checkpoint is not None else None
    instead = "the run continues with the settings of its checkpoint"
    instead = instead if continues else "the settings of the run's newest checkpoint are used"
    if (state := _lost(path)) is not None:
        if saved is None:
            cannot = "the run cannot be continued" if continues else "nothing says how the model was trained"
            raise MissingInputError(f"{path} is {state}, and no checkpoint has the settings: without it {cannot}")
        say(f"{path} is {state}: {instead}")
        return SavedSettings(saved, saved)
    try:
        written, changed = load_config(path), config_changed(path)
    except (ConfigError, DataError, MissingInputError, OSError) as error:
        if saved is None:
            raise
        say(f"{path} is damaged or was changed, and cannot be read ({error}): {instead}")
        return SavedSettings(saved, saved)
    if saved is None:
        if changed:
            say(f"{path} has changed since the run wrote it, and no checkpoint has the settings: its values are used")
        elif changed is None and checkpoint is not None:
            say(f"{checkpoint} is of an older textmill and has no settings: those in {path} are used as they are")
        return SavedSettings(written, written)
    if changed is False:
        return SavedSettings(written, saved)
    if differing := differences(saved, written):
        say(
            f"{path} has changed since the run wrote it and is not used: {_few(differing)}. "
            f"{instead[0].upper()}{instead[1:]}{_how(differing) if continues else ''}"
        )
    return SavedSettings(saved, saved)


def _lost(path: Path) -> str | None:
    """Return how a file is lost: `missing` or `empty`; None if something is left of it."""
    if not path.is_file():
        return "missing"
    with suppress(OSError):  # said where it is read
        return None if read_bytes(path).strip() else "empty"
    return None


def read_settings_of_model(run: Path, say: Callable[[str], None]) -> Config:
    """Return the settings that a model of the run was trained with: see `read_settings`, from the newest checkpoint."""
    path = run / layout.CONFIG
    changed = config_changed(path) if path.is_file() else True
    if changed is False:
        with suppress(ConfigError):  # damaged above the line with the hash
            return load_config(path)
    store = CheckpointStore(run / layout.CHECKPOINTS, say=say)
    steps = [step for step in store.steps() if SETTINGS in read_object(store.path(step) / layout.STATE)]
    newest = next((store.path(step) for step in reversed(steps) if not store.verify(step)), None)
    if newest is None and not changed:
        return load_config(path)  # of an older textmill
    return read_settings(run, newest, say, continues=False).current


def settings_in(checkpoint: Path, path: Path) -> Config | None:
    """Return the settings in a checkpoint, with `path` (config.yaml of its run) as their origin; None without any.

    Raises DataError if they cannot be read.
    """
    tree = read_object(checkpoint / layout.STATE).get(SETTINGS)
    if tree is None:
        return None
    where = f"{checkpoint / layout.STATE}: {SETTINGS}"
    if not isinstance(tree, Mapping):
        raise DataError(f"{where} is not an object: resume from another checkpoint")
    try:
        settings = flatten(tree, origin=str(path), where=lambda at: f"{where}.{'.'.join(at)}")
        return from_layers([settings])
    except ConfigError as error:
        raise DataError(f"{error}: resume from another checkpoint, or with the textmill that wrote it") from error


def settings_to_save(config: Config) -> dict[str, Any]:
    """Return the settings as state.json has them."""
    return json.loads(json.dumps(config.dump(as_asked=True)))


def differences(saved: Config, written: Config) -> dict[str, tuple[Any, Any]]:
    """Return name -> (saved, written) of the settings in which the two differ."""
    old, new = saved.values(), written.values()
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def _few(differing: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{name} is {show(new)}, was {show(old)}" for name, (old, new) in differing.items())


def _how(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """Return how to change a setting, with the first one that is a number or a word as the example."""
    plain = {name: new for name, (_, new) in differing.items() if isinstance(new, int | float | str)}
    example = next((f" (--{name.replace('_', '-')} {new})" for name, new in plain.items()), "")
    return f". To change one, resume with a flag{example} or with --config and a file of your own"

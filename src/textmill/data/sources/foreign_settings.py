"""Settings of a run folder, which may be somebody else's: code that they name is not imported, and they do not say
where textmill writes.

One rule: such a setting counts if the person who gives the command gave it, by a flag, a keyword or a configuration
file of their own. That of the config.yaml of a run folder counts with `trust` alone, which that file cannot set.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from textmill.config import Config
from textmill.data.sources.one_time_texts import PIPED_LIST, STANDARD_INPUT, is_given_once
from textmill.errors import ConfigError
from textmill.files import expand_home
from textmill.files.cache_dir import cache_root
from textmill.files.operating_system import is_own
from textmill.runs import layout
from textmill.runs.recorded_files import config_changed

_NEVER_RECORDED = ("output_dir", "overwrite", "resume", "resume_from")
"""Settings that textmill does not write into a config.yaml: where a run is, and what becomes of what is there."""


def trusts(config: Config, run: Path | None = None) -> bool:
    """Whether the person trusts what a run folder names. run: see `refuse_foreign_settings`."""
    return config.training.trust and not _is_of_run(config.origins["trust"], run)


def refuse_foreign_settings(config: Config, run: Path | None = None) -> None:
    """Raise ConfigError if a setting names code or a folder to write to, and comes from a run folder and not from the
    person. Import and write nothing.

    run: the run folder that the settings were read from, if it is known; others are recognized by their files.
    """
    refuse_code_of_run(config, run)
    if trusts(config, run):
        return
    for setting, value in named_folders(config, run).items():
        again = "" if setting == "overwrite" else f", or give it yourself: {_flag(setting, value)}"
        raise ConfigError(
            f"{config.origins[setting]}: {setting} is {value}, and a run folder does not say where textmill writes "
            f"outside of it. If you trust it, add --trust{again}"
        )


def refuse_code_of_run(config: Config, run: Path | None = None) -> None:
    """As `refuse_foreign_settings`, for settings that name code alone."""
    if trusts(config, run):
        return
    for setting, names in named_code(config).items():
        if _is_of_run(config.origins[setting], run):
            again = "" if setting == "data" else f", or give it yourself: {_flag(setting, names[0])}"
            raise ConfigError(
                f"{config.origins[setting]}: {setting} names code, {names[0]}, and code that a run folder names is not "
                f"imported unasked. If you trust it, add --trust{again}"
            )


def needs_trust(config: Config) -> bool:
    """Whether resuming the run of these settings will be refused unless they are given again, or trusted."""
    return bool(named_code(config)) or (config.tracking.log_dir is not None and bool(config.tracking.report_to))


def named_code(config: Config) -> dict[str, list[str]]:
    """Return setting -> the import strings in it, for the settings that name code."""
    named = {
        "metrics": list(config.training.metrics),
        "optimizer": [name for name in [config.training.optimizer] if ":" in name],
        "loss": [name for name in [config.training.loss] if name],
        "model": [name for name in [config.training.model] if name],
    }
    for side in ("data", "val_data"):
        items = getattr(config.data, side) or []
        named[side] = [str(item) for item in items if item not in (STANDARD_INPUT, PIPED_LIST) and is_given_once(item)]
    return {setting: names for setting, names in named.items() if names}


def named_folders(config: Config, run: Path | None = None) -> dict[str, Any]:
    """Return setting -> value for the settings of a run folder by which textmill would write outside of it.

    The person's own cache is no such folder: the usual one, and any in which they have prepared text before.
    """
    origins, values = config.origins, config.values()
    wanted = {name: values[name] for name in _NEVER_RECORDED if values[name] not in (None, False)}
    if values["cache_dir"] is not None and not _is_own_cache(expand_home(values["cache_dir"])):
        wanted["cache_dir"] = values["cache_dir"]
    if values["log_dir"] is not None and values["report_to"]:
        wanted["log_dir"] = values["log_dir"]
    return {
        name: value
        for name, value in wanted.items()
        if _is_of_run(origins[name], run) and _leaves(value, origins[name])
    }


def settle_cache_dir(config: Config, run: Path, say: Callable[[str], None]) -> None:
    """Use the usual cache, and say so, if the settings of `run` name one that may not be written to."""
    if trusts(config, run) or "cache_dir" not in named_folders(config, run):
        return
    named, config.data.cache_dir = config.data.cache_dir, None
    say(f"the cache folder {named}, which the run names, is not one of yours: the usual one is used")


def _leaves(value: Any, origin: str) -> bool:
    """Whether a folder is outside of the run folder with the configuration `origin`; other values are, too."""
    folder = Path(origin).parent.resolve()
    return not isinstance(value, str) or not expand_home(value).resolve().is_relative_to(folder)


def _is_own_cache(folder: Path) -> bool:
    """Whether `folder` is the person's usual cache, or one in which they have prepared text."""
    if folder.resolve().is_relative_to(cache_root().resolve()):
        return True
    corpora = folder / "corpora"
    return corpora.is_dir() and not corpora.is_symlink() and is_own(corpora.stat())


def _flag(setting: str, value: Any) -> str:
    flag = f"--{setting.replace('_', '-')}"
    return flag if value is True else f"{flag} {value}"


def _is_of_run(origin: str, run: Path | None) -> bool:
    """Return whether a setting comes from the config.yaml of a run folder, whole or not."""
    path = Path(origin)
    if path.name != layout.CONFIG:
        return False
    if path.parent == run or layout.is_clearly_run(path.parent):
        return True
    return path.is_file() and config_changed(path) is not None

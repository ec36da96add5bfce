"""Who may name code by an import string (`package.module:attribute`): metrics, an optimizer, texts of a program.

One rule: code is imported if the person who gives the command named it, by a flag, a keyword or a configuration file of
their own. The config.yaml of a run folder may be somebody else's: what it names is imported with `trust` alone, which
that file cannot set.
"""

from pathlib import Path

from textmill.config import Config
from textmill.data.sources.one_time_texts import STANDARD_INPUT, is_given_once
from textmill.errors import ConfigError
from textmill.runs import layout
from textmill.runs.recorded_files import config_changed


def refuse_code_of_run(config: Config, run: Path | None = None) -> None:
    """Raise ConfigError if a setting names code, and comes from a run folder and not from the person. Import nothing.

    run: the run folder that the settings were read from, if it is known; others are recognized by their files.
    """
    origins = config.origins
    if config.training.trust and not _is_of_run(origins["trust"], run):
        return
    for setting, names in named_code(config).items():
        if _is_of_run(origins[setting], run):
            again = "" if setting == "data" else f", or give it yourself: --{setting.replace('_', '-')} {names[0]}"
            raise ConfigError(
                f"{origins[setting]}: {setting} names code, {names[0]}, and code that a run folder names is not "
                f"imported unasked. If you trust it, add --trust{again}"
            )


def named_code(config: Config) -> dict[str, list[str]]:
    """Return setting -> the import strings in it, for the settings that name code."""
    named = {
        "metrics": list(config.training.metrics),
        "optimizer": [name for name in [config.training.optimizer] if ":" in name],
    }
    for side in ("data", "val_data"):
        items = getattr(config.data, side) or []
        named[side] = [str(item) for item in items if item != STANDARD_INPUT and is_given_once(item)]
    return {setting: names for setting, names in named.items() if names}


def _is_of_run(origin: str, run: Path | None) -> bool:
    """Return whether a setting comes from the config.yaml of a run folder, whole or not."""
    path = Path(origin)
    if path.name != layout.CONFIG:
        return False
    if path.parent == run or layout.is_clearly_run(path.parent):
        return True
    return path.is_file() and config_changed(path) is not None

"""textmill train: from text to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from textmill.cli.settings import group_of, takes_settings
from textmill.config.entries import Entry
from textmill.config.load import from_layers
from textmill.config.reading import read_config


@takes_settings()
def train(
    *,
    config: Annotated[list[Path] | None, Parameter(negative=(), group=group_of("preset"))] = None,
    settings: list[Entry],
) -> int:
    """Train a model on your text, and write it with its metrics to the output folder.

    Text given as DATA may be files, folders, patterns or a prepared folder; without any, Python's own source code is
    used. Flags win over configuration files, and those over the preset. The names that other tools use for these flags,
    such as --lr or --n-layers, are understood too, and a switch such as --compile may be followed by true or false.

    Parameters
    ----------
    config
        Configuration file (YAML, JSON, TOML) or the folder of a run to repeat; later files win.
    """
    values = from_layers([*(read_config(path) for path in config or ()), settings])
    from textmill.training import train as run_training

    return run_training(values).exit_code

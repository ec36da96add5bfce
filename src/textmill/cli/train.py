"""textmill train: from text to a model."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from textmill.cli.pages import Json
from textmill.cli.settings import group_of, takes_settings
from textmill.config.entries import Entry
from textmill.config.load import from_layers
from textmill.config.reading import read_config


@takes_settings()
def train(
    *,
    config: Annotated[list[Path] | None, Parameter(negative=(), group=group_of("preset"))] = None,
    dry_run: Annotated[bool, Parameter(negative=(), group=group_of("preset"), show_default=False)] = False,
    json: Annotated[Json, Parameter(group=group_of("preset"))] = False,
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
    dry_run
        Do everything up to the first step, and print what the run would take; nothing is written but the cache.
    json
        Print the result as JSON at the end; what is said on the way goes to standard error.
    """
    values = from_layers([*(read_config(path) for path in config or ()), settings])
    from textmill.training.screen import Screen

    screen = Screen(stream=sys.stderr) if json else None
    if dry_run:
        from textmill.cli.plan import show
        from textmill.training.rehearsal import rehearse

        rehearsal = rehearse(values, screen=screen)
        show(rehearsal.config, rehearsal.plan, json=json, free=rehearsal.free)
        return 0
    from textmill.training import train as run_training

    result = run_training(values, screen=screen)
    if json:
        print(json_format.dumps({name: _plain(value) for name, value in result.items()}, indent=2))
    return result.exit_code


def _plain(value: object) -> object:
    """Return a value as JSON has it: paths as text, what is not a finite number as null."""
    if isinstance(value, float) and value - value != 0:
        return None
    return str(value) if isinstance(value, Path) else value

"""textmill train: from text to a model."""

import sys
from typing import Annotated

from cyclopts import Parameter

from textmill.cli.help_pages import Json
from textmill.cli.setting_flags import ConfigFiles, config_of, group_of, takes_settings
from textmill.config.setting_lookup import Setting
from textmill.console.screen import Screen
from textmill.console.standard_streams import write_json
from textmill.machine.launcher import is_first_process

_STARTING = "loading PyTorch"

_JSON = "Print the result as JSON at the end; progress goes to standard error."


@takes_settings()
def train(
    *,
    config: ConfigFiles = None,
    dry_run: Annotated[bool, Parameter(negative=(), group=group_of("preset"), show_default=False)] = False,
    json: Annotated[Json, Parameter(group=group_of("preset"), help=_JSON)] = False,
    settings: list[Setting],
) -> int:
    """Train a model on your text, and write it with its metrics to the output folder.

    Without DATA it trains on Python's own source code. What you do not set comes from a preset that fits machine and
    text: textmill presets. Flags win over --config, and that over the preset. The names of other tools, such as --lr
    or --n-layers, are understood too. Ctrl-C stops a run, --resume continues it.

    Parameters
    ----------
    dry_run
        Do everything up to the first step, and print what the run would take; nothing is written but the cache.

    Examples
    --------
    textmill train
    textmill train book.txt
    textmill train book.txt --tokenizer char --max-time 5m
    textmill train corpus/ --d-model 384 --epochs 3 --output-dir runs/larger
    textmill train --output-dir runs/larger --resume
    """
    values = config_of(config, settings)
    first = is_first_process()
    screen = None if first and not json else Screen(stream=sys.stderr if json else None, quiet=not first)
    opening = screen or Screen()
    if dry_run:
        from textmill.cli.plan import show

        with opening.during(_STARTING):
            from textmill.training.assemble import preview_run

        preview = preview_run(values, screen=screen)
        show(preview.config, preview.plan, json=json, free=preview.free)
        return 0
    with opening.during(_STARTING):
        from textmill.training import train as run_training

    result = run_training(values, screen=screen, on_signal="return")
    if json and first:
        write_json(result)
    return result.exit_code

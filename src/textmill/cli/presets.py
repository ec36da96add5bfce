"""textmill presets: the named sets of values."""

import json as json_format
import textwrap
from typing import Annotated

from cyclopts import Parameter

from textmill.cli.help_pages import Json
from textmill.config.presets import every_preset, preset_values


def presets(name: Annotated[str | None, Parameter(name="NAME")] = None, /, *, json: Json = False) -> None:
    """List the presets, or show the values of one.

    Parameters
    ----------
    name
        Preset to show.

    Examples
    --------
    textmill presets
    textmill presets small
    """
    if name is not None:
        values = preset_values(name)
        print(json_format.dumps(values, indent=2) if json else _as_yaml(values))
        return
    purposes = {"auto": "the default: one of the last six, by machine and size of the text"}
    purposes |= {name: preset.purpose for name, preset in every_preset().items()}
    if json:
        print(json_format.dumps(purposes, indent=2))
        return
    for preset, purpose in purposes.items():
        print(textwrap.fill(purpose, 79, initial_indent=f"{preset:<20}", subsequent_indent=" " * 20))
    print("\ntextmill presets NAME shows the values of one, textmill train --preset NAME uses it.")


def _as_yaml(values: dict[str, object]) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False).rstrip()

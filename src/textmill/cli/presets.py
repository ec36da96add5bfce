"""textmill presets: the named sets of values."""

import textwrap
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from cyclopts import Parameter

from textmill.cli.help_pages import Json
from textmill.config.presets import every_preset, preset_values
from textmill.console.standard_streams import write_json, write_lines

if TYPE_CHECKING:
    PresetName = str
else:  # any text, for which a shell suggests the presets
    PresetName = str | Literal[("auto", *every_preset())]


def presets(
    name: Annotated[PresetName | None, Parameter(name="NAME", show_choices=False)] = None, /, *, json: Json = False
) -> None:
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
        if json:
            write_json(values)
        else:
            write_lines(yaml.safe_dump(values, sort_keys=False).rstrip())
        return
    purposes = {"auto": "the default: one of those named auto-..., by machine and size of the text"}
    purposes |= {name: preset.purpose for name, preset in every_preset().items()}
    if json:
        write_json(purposes)
        return
    for preset, purpose in purposes.items():
        write_lines(textwrap.fill(purpose, 79, initial_indent=f"{preset:<20}", subsequent_indent=" " * 20))
    write_lines("\ntextmill presets NAME shows the values of one, textmill train --preset NAME uses it.")

"""textmill config: the settings that a run would have."""

import yaml
from cyclopts import App

from textmill.cli.help_pages import Json
from textmill.cli.setting_flags import ConfigFiles, shaped_config_of, takes_settings
from textmill.config.fields import SECTIONS
from textmill.config.model_shape import resolve_shape
from textmill.config.run_config import Config, json_schema
from textmill.config.setting_lookup import Setting
from textmill.console.standard_streams import note, write, write_json

app = App(name="config", help="Show every setting of a run, and where its value comes from.")


@app.command(sort_key=0)
@takes_settings()
def show(
    *,
    config: ConfigFiles = None,
    json: Json = False,
    settings: list[Setting],
) -> None:
    """Print every setting with its value and the origin of the value, as a configuration file.

    It takes the flags of textmill train. Preset auto is chosen by the size of the text and this machine.

    Examples
    --------
    textmill config show
    textmill config show --config run.yaml --learning-rate 1e-3
    """
    values = shaped_config_of(config, settings, note)
    if values.training.preset == "auto":
        _settle(values)
    values.model, said = resolve_shape(values.model)
    for sentence in said:
        note(sentence)
    sections = {name: getattr(values, name) for name in SECTIONS}
    if json:
        write_json(
            {
                name: {setting: {"value": value, "origin": section.origin(setting)} for setting, value in section}
                for name, section in sections.items()
            }
        )
        return
    for name, section in sections.items():
        write(f"{name}:")
        for setting, value in section:
            text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
            text = text.removesuffix("\n").removesuffix("\n...")
            write(f"{f'  {setting}: {text}':<45} # {section.origin(setting)}")


@app.command(sort_key=1)
def schema() -> None:
    """Print the JSON schema of configuration files, for editors that complete and check them.

    Examples
    --------
    textmill config schema > textmill.schema.json
    """
    write_json(json_schema())


def _settle(values: Config) -> None:
    """Apply preset auto to `values` if the size of the text can be known, and say so."""
    from textmill.config.presets import apply_auto_preset
    from textmill.data.batches.text_size import size_of
    from textmill.data.preparing.prepare_settings import PrepareSettings
    from textmill.errors import TextmillError
    from textmill.machine.devices import likely_device

    try:
        size = size_of(PrepareSettings.of(values))
    except TextmillError as error:
        note(f"preset: auto is not chosen yet, because {error}")
        return
    device = values.training.device.partition(":")[0]
    if chosen := apply_auto_preset(values, likely_device() if device == "auto" else device, size):
        note(f"preset: {chosen}")

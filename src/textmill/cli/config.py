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
    values, _ = shaped_config_of(config, settings, note)
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
    """Apply preset auto to `values` if the size of the text can be known, and fit the rows to the memory; say so."""
    from textmill.cli.plan import likely_hardware
    from textmill.data.batches.text_size import size_of
    from textmill.data.preparing.kind_by_script import settle_kind
    from textmill.data.preparing.prepare_settings import PrepareSettings
    from textmill.errors import TextmillError
    from textmill.planning.fit_memory import fit_rows, settle_auto_preset

    hardware = likely_hardware(values)
    if values.training.preset == "auto":
        try:
            size = size_of(PrepareSettings.of(values))
        except TextmillError as error:
            note(f"preset: auto is not chosen yet, because {error}")
            return
        if chosen := settle_auto_preset(values, hardware, size):
            note(f"preset: {chosen}")
    settle_kind(values, note)
    for sentence in fit_rows(values, hardware) if hardware.processes == 1 else ():
        note(sentence)

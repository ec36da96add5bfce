"""The flags that are settings of a run: one for every setting of the configuration, as parameters of a verb."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo

from textmill.config.aliases import REWRITES
from textmill.config.config_files import CONFIG_FILE, read_config
from textmill.config.fields import SECTIONS
from textmill.config.merge_layers import from_layers
from textmill.config.presets import auto_presets, every_preset
from textmill.config.run_config import Config
from textmill.config.setting_lookup import Setting
from textmill.config.tokenizer_kinds import NEW_KINDS
from textmill.console.standard_streams import note
from textmill.runs.recorded_files import config_changed

if TYPE_CHECKING:
    from textmill.training.initial_model import InitialModel

_GROUPS = {
    "preset": "Run",
    "val_data": "Data",
    "tokenizer": "Tokenizer",
    "architecture": "Model",
    "epochs": "Length",
    "batch_size": "Batch and optimizer",
    "model": "Model",
    "precision": "Machine",
    "logging_steps": "Evaluation, checkpoints, samples",
    "output_dir": "Run",
    "report_to": "Tracking",
}
"""First setting of each group of flags, in the order of the sections -> the group's title, in the order of the page."""

_SETTINGS = "__settings__"
"""Attribute of a verb with the names of the settings that it has flags for."""

_WHOLE = "__whole__"
"""Attribute of a verb that has flags for some of its settings: the verb with all of them."""

ESSENTIAL = frozenset(
    (
        *("preset", "output_dir", "run_name", "resume", "overwrite", "val_data", "val_split", "text_column"),
        *("tokenizer", "vocab_size", "architecture", "d_model", "num_layers", "num_heads", "max_seq_len", "dropout"),
        *("epochs", "max_steps", "max_time", "batch_size", "gradient_accumulation_steps", "optimizer"),
        *("learning_rate", "precision", "device", "seed", "eval_steps", "save_steps", "sample_prompt"),
        *("early_stopping_patience", "report_to"),
    )
)
"""The settings on the short page of a verb that takes all of them."""


def takes_settings(*chosen: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a verb a flag for every setting in place of its parameter `settings`.

    `settings` is then the list of entries that were given on the command line, unvalidated. Positional arguments are
    text, the setting `data`. With `chosen`, only these settings become flags.
    """

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(verb, eval_str=True).parameters

        @wraps(verb)
        def with_settings(*data: str, spelling: Mapping[str, str], **values: Any) -> Any:
            given = {name: values.pop(name) for name in [*values] if name not in own}
            typed = {name: spelling.get(name, f"--{name.replace('_', '-')}") for name in given}
            if data:
                given["data"], typed["data"] = [*data, *given.get("data", ())], "DATA"
            settings = [Setting(name, value, typed[name], typed[name]) for name, value in given.items()]
            return verb(settings=settings, **values)

        hidden = Parameter(parse=False)
        text = Parameter(name="DATA", help="Text: files, folders, patterns, one prepared folder.")
        flags = [
            setting
            for setting in _parameters(by_preset=not chosen)
            if setting.name not in own and (not chosen or setting.name in chosen)
        ]
        parameters = [
            inspect.Parameter("texts", inspect.Parameter.VAR_POSITIONAL, annotation=Annotated[str | Path, text]),
            *(parameter for name, parameter in own.items() if name != "settings"),
            *flags,
            # name of a parameter -> the flag as it was typed; `main` passes it to verbs that ask for it
            inspect.Parameter("spelling", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Mapping, hidden]),
        ]
        with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        setattr(with_settings, _SETTINGS, frozenset(flag.name for flag in flags))
        return with_settings

    return decorate


def settings_of(verb: Callable[..., Any]) -> frozenset[str]:
    """Return the settings that a verb has flags for, hidden spellings among them; a value follows each."""
    return getattr(verb, _SETTINGS, frozenset())


def with_flags_for(verb: Callable[..., Any], named: Collection[str]) -> Callable[..., Any]:
    """Return `verb` with flags for those of its settings alone that are `named`.

    A parser needs a quarter of a second to look at all of them, and a command line names a few. A verb with some of its
    flags is taken for the whole one.
    """
    verb = getattr(verb, _WHOLE, verb)
    signature = inspect.signature(verb)
    unnamed = settings_of(verb).difference(named)

    @wraps(verb)
    def narrowed(*data: str, **values: Any) -> Any:
        return verb(*data, **values)

    kept = [parameter for name, parameter in signature.parameters.items() if name not in unnamed]
    narrowed.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    setattr(narrowed, _WHOLE, verb)
    return narrowed


def group_of(setting: str) -> Group:
    """Return the group of the help page that a flag belongs to, by the first setting of the group."""
    title = _GROUPS[setting]
    return Group(title, sort_key=10 + list(dict.fromkeys(_GROUPS.values())).index(title))


ConfigFiles = Annotated[
    list[Path] | None,
    Parameter(
        negative=(),
        group=group_of("preset"),
        help="Configuration file (YAML, JSON, TOML), a run folder to repeat the run, or a Hugging Face folder for the "
        "shape and tokenizer of its model; later files win.",
    ),
]
"""The parameter `--config` of every verb that takes all settings of a run."""


def config_of(files: Sequence[Path] | None, given: list[Setting]) -> Config:
    """Return the configuration of `--config` files and of the settings given on the command line, which win.

    A file that textmill wrote and that was changed since is read as it is now, which is noted.
    """
    config = from_layers([*(read_config(path) for path in files or ()), given])
    for path in files or ():
        file = path / CONFIG_FILE if path.is_dir() else path
        if file.is_file() and config_changed(file):
            note(f"{file} has changed since textmill wrote it: the settings that it has now are used")
    return config


def shaped_config_of(
    files: Sequence[Path] | None, given: list[Setting], say: Callable[[str], None]
) -> "tuple[Config, InitialModel | None]":
    """Return the same as `config_of`, with shape and tokenizer of the model that the run starts from; and that model.

    It is None for a run that starts anew.
    """
    config = config_of(files, given)
    if config.training.init_from is None:
        return config, None
    from textmill.training.initial_model import adopt_model

    return config, adopt_model(config, say)


@cache
def _parameters(*, by_preset: bool) -> list[inspect.Parameter]:
    """Return one keyword parameter per setting, with its help, and a hidden one per rewritten spelling.

    by_preset: a preset comes before the defaults, as in every verb that takes all settings of a run.
    """
    automatic = {name for kind in ("cpu", "gpu") for preset in auto_presets(kind).values() for name in preset.values}
    chosen: dict[str, tuple[FieldInfo, Group]] = {}
    group = group_of("val_data")
    for section in SECTIONS.values():
        for setting, field in section.model_fields.items():
            group = group_of(setting) if setting in _GROUPS else group
            chosen[setting] = field, group
    shown = [
        _parameter(
            setting,
            list[_kind(setting, field)] if "list[" in str(field.annotation) else _kind(setting, field),
            Parameter(
                name=f"--{setting.replace('_', '-')}",
                group=group,
                help=_help(setting, field, by_preset and setting in automatic),
                metavar=_metavar(field),
                show_choices=False,  # the help has them
                negative=(),
                show=setting != "data",
                show_default=False,
            ),
        )
        for setting, (field, group) in chosen.items()
    ]
    hidden = Parameter(show=False, negative=())
    return shown + [_parameter(name, str, hidden) for name in REWRITES if name not in chosen]


def _parameter(name: str, kind: Any, parameter: Parameter) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, parameter]
    )


_FILES = frozenset(["val_data", "cache_dir", "output_dir", "log_dir", "init_from", "resume_from", "deepspeed_config"])


def _kind(setting: str, field: FieldInfo) -> Any:
    """Return the type of a flag's words: always text, which a shell completes by the other members of the type."""
    words = ["auto", *every_preset()] if setting == "preset" else _choices(field)
    if setting == "tokenizer":
        words = list(NEW_KINDS)
    literal: Any = Literal
    if words:
        return str | literal[tuple(words)]
    return str | Path if setting in _FILES else str


def _kinds(field: FieldInfo) -> list[Any]:
    """Return the members of a field's type, None left out: [int], [str, dict], the choices of a Literal, ..."""
    annotation = field.annotation
    members = [member for member in get_args(annotation) or (annotation,) if member is not type(None)]
    return [kind for member in members for kind in (get_args(member) if "Literal" in str(member) else [member])]


def _choices(field: FieldInfo) -> list[str]:
    """Return the words a setting is chosen from, where its type lists them."""
    return [member for member in _kinds(field) if isinstance(member, str)]


def _metavar(field: FieldInfo) -> str:
    kinds, choices = _kinds(field), _choices(field)
    if bool in kinds:
        return ""
    if int in kinds or float in kinds:
        return "|".join(["N" if int in kinds else "X", *choices])
    short = "|".join(choices)
    if choices and len(short) <= 20:
        return short
    return "NAME" if choices else "TEXT"


def _help(setting: str, field: FieldInfo, by_preset: bool) -> str:
    """Return the docstring of the field with its choices, where they are many, and its default."""
    text = (field.description or "").rstrip()
    choices = _choices(field)
    if len("|".join(choices)) > 20 and not all(choice in text for choice in choices):
        text += f" One of {', '.join(choices)}."
    default = field.get_default(call_default_factory=True)
    if default is True:
        return f"{text} [default: true; --no-{setting.replace('_', '-')} for false]"
    if default in (None, False) or default == []:
        return f"{text} [default: by preset]" if by_preset else text
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{text} [default: {'by preset, else ' if by_preset else ''}{shown}]"

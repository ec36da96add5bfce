"""textmill sweep: many short runs to find good values."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from textmill.cli.ablation import ablation
from textmill.cli.help_pages import Json
from textmill.cli.ladder import ladder
from textmill.cli.setting_flags import ConfigFiles, config_of, group_of, takes_settings
from textmill.config.merge_layers import load_config
from textmill.config.run_config import Config
from textmill.config.setting_lookup import Setting, validate
from textmill.console.command_line import quoted
from textmill.console.number_format import as_text, plural
from textmill.console.screen import Screen
from textmill.console.standard_streams import field, named, table, write, write_json, write_lines
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from textmill.sweep.run_sweep import SweepResult

MOST_ROWS = 10


@Parameter(name="*")
@dataclass(frozen=True)
class Compared:
    """What an ablation, or a ladder, is.

    Parameters
    ----------
    seeds
        Number of seeds, from --seed on, with each of which every variant is trained to its end; none is drawn.
    variants
        File of variants: names, and below each the settings in which it differs. With --seeds, instead of --search.
    ladder
        Number of sizes, each half of the next up to --d-model, for three lengths up to --max-steps: fits a scaling law.
    """

    seeds: Annotated[int | None, Parameter(group=group_of("preset"))] = None
    variants: Annotated[Path | None, Parameter(group=group_of("preset"))] = None
    ladder: Annotated[int | None, Parameter(group=group_of("preset"))] = None


@takes_settings()
def sweep(
    *,
    search: Annotated[list[str] | None, Parameter(negative=(), group=group_of("preset"))] = None,
    trials: Annotated[int, Parameter(group=group_of("preset"))] = 20,
    compared: Compared = Compared(),
    max_time: Annotated[str | None, Parameter(group=group_of("preset"))] = None,
    config: ConfigFiles = None,
    json: Annotated[Json, Parameter(group=group_of("preset"))] = False,
    settings: list[Setting],
) -> int:
    """Try values of any settings, each in a run of its own, and rank them.

    It takes the flags of textmill train for what stays the same. Trials are drawn by Optuna (TPE) and ended early when
    they fall behind; each is a normal run. The same command continues what was stopped. It needs the extra tune.

    With --seeds, every combination of values, or every variant of a file, is trained once with each seed instead, and
    compared with the first one by means, deviations and paired differences. --ladder trains several sizes, each for
    three lengths, and predicts the loss of larger runs. Neither needs an extra.

    Parameters
    ----------
    search
        What to vary: learning_rate=1e-4..1e-2:log (a range) or num_layers=2,4,6 (choices). May be repeated.
    trials
        Number of trials, earlier ones of the same sweep included.
    max_time
        Time after which no further trial begins: seconds, or 10m, 2h.

    Examples
    --------
    textmill sweep book.txt --max-steps 300 --search learning_rate=1e-4..1e-2:log
    textmill sweep book.txt --search activation=silu,gelu --seeds 5
    textmill sweep book.txt --ladder 4 --d-model 128 --max-steps 400
    """
    values = config_of(config, settings)
    if compared != Compared():
        return _compare(search, compared, max_time, values, json)
    from textmill.sweep.space import parse_search
    from textmill.sweep.study import import_optuna

    searched = parse_search(search or [])
    seconds = _seconds(max_time, trials)
    import_optuna()
    screen = Screen(stream=sys.stderr if json else sys.stdout)
    with screen.during("loading PyTorch"):
        from textmill.sweep import run_sweep
        from textmill.sweep.sweep_picture import draw_sweep
        from textmill.training.starting_point import next_free_run

    folder = Path(values.training.output_dir or next_free_run("sweep"))
    screen.field("sweep", f"{folder}, {plural(trials, 'trial')} of {', '.join(each.described() for each in searched)}")
    result = run_sweep.sweep(values, searched, folder, trials=trials, max_seconds=seconds, say=screen.say)
    if result.ranked:
        picture, finalists = draw_sweep(result, searched), run_sweep.write_finalists(result)
        if not json:
            _show(result, picture, finalists, values)
    if json:
        write_json(_as_dict(result, values))
    return result.exit_code


def _seconds(max_time: str | None, trials: int = 1) -> float | None:
    """Return the time limit. Raises ConfigError for one that is none, and for no trials."""
    if trials < 1:
        raise ConfigError(f"--trials: must be at least 1, not {trials}")
    return None if max_time is None else validate("max_time", max_time, "--max-time")


def _compare(search: list[str] | None, compared: Compared, max_time: str | None, config: Config, json: bool) -> int:
    """Run a ladder or an ablation; return its exit code."""
    seconds = _seconds(max_time)
    if compared.ladder is None:
        return ablation(search, compared.variants, compared.seeds, seconds, config, json)
    if search or compared.variants is not None:
        raise ConfigError("--ladder says itself what varies: leave --search and --variants out")
    return ladder(compared.ladder, compared.seeds or 1, seconds, config, json)


def _show(result: SweepResult, picture: Path, finalists: Path | None, config: Config) -> None:
    names = list(result.ranked[0].values)
    head = ("trial", result.metric.replace("_", " "), "state", *names)
    rows = [
        (str(trial.number), f"{trial.value:.4f}", trial.state, *(as_text(trial.values.get(name)) for name in names))
        for trial in result.ranked[:MOST_ROWS]
    ]
    write_lines("\n" + table([head, *rows], right={0, 1}))
    if len(result.ranked) > MOST_ROWS:
        write(f"and {len(result.ranked) - MOST_ROWS} more: textmill runs {quoted(result.folder)}")
    write("")
    field("plot", str(picture))
    if result.best is not None:
        field("best", f"{result.best.folder}, of one seed: a small lead may be luck")
        if finalists is not None:
            write(named("compare", f"{command(config, {}, 'sweep')} {quoted('--variants', finalists)} --seeds 5"))
        write(named("train it", command(config, result.best.values)))


def command(config: Config, values: Mapping[str, Any], verb: str = "train") -> str:
    """Return the command line of a run with what somebody chose in `config`, and `values` over it."""
    config = load_config(config, values)
    words = ["textmill", verb, *map(str, config.data.data or [])]
    for setting, value in config.values().items():
        if setting in ("data", "output_dir", "run_name", "overwrite", "resume") or value is None:
            continue
        if not config.given(setting):
            continue
        for item in value if isinstance(value, list) else [value]:
            words += [f"--{setting.replace('_', '-')}", str(item).lower() if isinstance(item, bool) else str(item)]
    return quoted(*words)


def _as_dict(result: SweepResult, config: Config) -> dict[str, Any]:
    trials = [
        {
            "number": trial.number,
            "state": trial.state,
            result.metric: trial.value,
            "values": trial.values,
            "folder": str(trial.folder),
        }
        for trial in result.trials
    ]
    best = result.best
    return {
        "folder": str(result.folder),
        "metric": result.metric,
        "trials": trials,
        "best": best.number if best is not None else None,
        "command": command(config, best.values) if best is not None else None,
    }

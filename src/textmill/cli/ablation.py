"""textmill sweep --seeds: variants of a run, each trained with several seeds and compared."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.config.run_config import Config
from textmill.console.number_format import plural
from textmill.console.screen import Screen
from textmill.console.standard_streams import field, table, write, write_json, write_lines
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from textmill.sweep.paired_differences import Summary
    from textmill.sweep.run_ablation import Ablation


def ablation(
    search: Sequence[str] | None,
    file: Path | None,
    seeds: int | None,
    seconds: float | None,
    config: Config,
    json: bool,
) -> int:
    """Train every variant with every seed, print and write how they compare; return the exit code.

    search, file, seeds, seconds: as given to `textmill sweep`, whose text explains them. Raises TextmillError.
    """
    from textmill.sweep.space import parse_search
    from textmill.sweep.variants import read_variants, variants_of

    if file is not None and search:
        raise ConfigError("--variants and --search both say what varies: leave one out")
    if seeds is None:
        raise ConfigError("--variants needs --seeds: with how many seeds every variant is trained")
    if seeds < 1:
        raise ConfigError(f"--seeds: must be at least 1, not {seeds}")
    variants = read_variants(file) if file is not None else variants_of(parse_search(search or []))
    screen = Screen(stream=sys.stderr if json else sys.stdout)
    with screen.during("loading PyTorch"):
        from textmill.sweep.ablation_picture import draw_ablation
        from textmill.sweep.ablation_table import write_tables
        from textmill.sweep.run_ablation import run_ablation
        from textmill.training.starting_point import next_free_run

    folder = Path(config.training.output_dir or next_free_run("ablation"))
    screen.field("ablation", f"{folder}, {plural(len(variants), 'variant')}, {plural(seeds, 'seed')} each")
    result = run_ablation(config, variants, folder, seeds=seeds, max_seconds=seconds, say=screen.say)
    summaries = result.summaries()
    files = [*write_tables(folder, summaries), draw_ablation(result, summaries)] if summaries else []
    if json:
        write_json(_as_dict(result, summaries))
    elif summaries:
        _show(result, summaries, files)
    return result.exit_code


def _show(result: Ablation, summaries: Sequence[Summary], files: Sequence[Path]) -> None:
    from textmill.sweep.ablation_table import HEAD, table_rows

    head = (HEAD[0], HEAD[1], result.metric.replace("_", " "), *HEAD[3:])
    write_lines("\n" + table([head, *table_rows(summaries)], right={1, 2, 3, 4}))
    write("")
    if result.unfinished:
        field("unfinished", f"{plural(result.unfinished, 'run')}: the same command continues with them")
    field("plot", str(files[-1]))
    field("tables", ", ".join(str(path) for path in files[:-1]))


def _as_dict(result: Ablation, summaries: Sequence[Summary]) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "metric": result.metric,
        "unfinished": result.unfinished,
        "variants": [
            {
                "name": summary.name,
                "values": {str(seed): value for seed, value in summary.values.items()},
                "mean": summary.mean,
                "deviation": summary.deviation,
                "difference": None
                if summary.difference is None
                else {**vars(summary.difference), "effect": summary.difference.verdict},
            }
            for summary in summaries
        ],
    }

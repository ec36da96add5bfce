"""textmill sweep --ladder: runs of several sizes and lengths, and the law that their losses follow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.config.run_config import Config
from textmill.console.number_format import count, plural
from textmill.console.screen import Screen
from textmill.console.standard_streams import field, table, write, write_json, write_lines
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from textmill.sweep.ladder import Rung
    from textmill.sweep.run_ablation import Ablation
    from textmill.sweep.scaling_law import Law


def ladder(sizes: int, seeds: int, seconds: float | None, config: Config, json: bool) -> int:
    """Train the ladder, print, draw and write its law; return the exit code. Raises TextmillError."""
    from textmill.sweep.ladder import ladder_variants, rungs_of, work

    if seeds < 1:
        raise ConfigError(f"--seeds: must be at least 1, not {seeds}")
    variants = ladder_variants(config, sizes)
    screen = Screen(stream=sys.stderr if json else sys.stdout)
    with screen.during("loading PyTorch"):
        from textmill.sweep.run_ablation import run_ablation
        from textmill.training.starting_point import next_free_run

    folder = Path(config.training.output_dir or next_free_run("ladder"))
    runs = f"{plural(len(variants) * seeds, 'run')}, {work(variants, config) * seeds:.1f} times the work of the largest"
    screen.field("ladder", f"{folder}, {sizes} sizes, {len(variants) // sizes} lengths each: {runs}")
    result = run_ablation(config, variants, folder, seeds=seeds, max_seconds=seconds, say=screen.say)
    rungs = rungs_of(result, variants, config)
    if result.unfinished:
        screen.say(f"no law yet: {plural(result.unfinished, 'run')} unfinished; the same command continues with them")
        return result.exit_code
    if (most := max(rung.epochs for rung in rungs)) > 4:
        screen.say(
            f"the longest runs read the text {most:.0f} times: a repeated text teaches less than the law assumes"
        )
    told = _told(result, rungs, json=json)
    if json:
        write_json(told)
    return result.exit_code


def _told(result: Ablation, rungs: Sequence[Rung], *, json: bool) -> dict[str, Any]:
    """Fit the law, write ladder.json and ladder.png, print both unless `json`; return what the file has."""
    from textmill.files import write_json as write_json_file
    from textmill.sweep.ladder import ahead_of
    from textmill.sweep.ladder_picture import draw_ladder
    from textmill.sweep.scaling_law import fit_law

    law = fit_law([rung.measured for rung in rungs])
    ahead = [
        {"run": name, "size": size, "tokens": tokens, "loss": law.loss(size, tokens), "low": low, "high": high}
        for name, size, tokens in ahead_of(law, rungs)
        for low, high in [law.interval(size, tokens)]
    ]
    told = {
        "folder": str(result.folder),
        "metric": result.metric,
        "runs": [{"variant": rung.variant, **vars(rung.measured), "epochs": rung.epochs} for rung in rungs],
        "law": {
            "E": law.floor,
            "A": law.size_factor,
            "alpha": law.size_exponent,
            "B": law.token_factor,
            "beta": law.token_exponent,
            "relative_deviation": law.deviation,
        },
        "ahead": ahead,
    }
    write_json_file(result.folder / "ladder.json", told)
    picture = draw_ladder(result.folder, rungs, law, result.metric)
    if not json:
        _show(result, rungs, law, ahead)
        field("plot", str(picture))
        field("numbers", str(result.folder / "ladder.json"))
    return told


def _show(result: Ablation, rungs: Sequence[Rung], law: Law, ahead: Sequence[dict[str, Any]]) -> None:
    head = ("width", "parameters", "tokens", result.metric.replace("_", " "), "law")
    rows = []
    for rung in rungs:
        run = rung.measured
        losses = run.loss, law.loss(run.size, run.tokens)
        rows.append((str(rung.width), count(run.size), count(run.tokens), *(f"{loss:.4f}" for loss in losses)))
    write_lines("\n" + table([head, *rows], right={0, 1, 2, 3, 4}) + "\n")
    field("law", f"{law.sentence()}, with errors of {law.deviation:.2%}")
    rows = []
    for one in ahead:
        within = f"{one['low']:.3f} to {one['high']:.3f}"
        rows.append((str(one["run"]), count(one["size"]), count(one["tokens"]), f"{one['loss']:.3f}", within))
    write_lines("\n" + table([("predicted", "parameters", "tokens", "loss", "95 % interval"), *rows], right={1, 2, 3}))
    write("")

"""Ladders: sizes that halve, a law that is found again, and predictions with intervals that hold."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textmill.cli.main import main
from textmill.config import load_config
from textmill.errors import ConfigError, DataError
from textmill.model import build_model
from textmill.sweep.ladder import ladder_variants, size_of, work
from textmill.sweep.scaling_law import Law, Measured, fit_law

SIZES, LENGTHS = [1e5, 2e5, 4e5, 8e5], [1e6, 2e6, 4e6]


def truth(size: float, tokens: float) -> float:
    """The law of Hoffmann et al. 2022, with factors for small models."""
    return 1.69 + 40 / size**0.34 + 90 / tokens**0.28


def runs(noise: float = 0.0, seed: int = 0) -> list[Measured]:
    random = np.random.default_rng(seed)
    return [
        Measured(size, tokens, truth(size, tokens) * (1 + noise * random.normal()))
        for size in SIZES
        for tokens in LENGTHS
    ]


def test_a_law_is_recovered_from_its_own_values() -> None:
    """All five numbers, and the loss far outside of what was measured."""
    law = fit_law(runs())
    found = (law.floor, law.size_factor, law.size_exponent, law.token_factor, law.token_exponent)
    assert found == pytest.approx((1.69, 40, 0.34, 90, 0.28), rel=2e-2)
    assert law.loss(8e6, 4e7) == pytest.approx(truth(8e6, 4e7), rel=1e-3)
    assert law.degrees == 7 and law.deviation < 1e-5


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 20 ladders with errors of 0.3 %, at ten times size and text; and they are wider there than where measured."""
    laws = [fit_law(runs(0.003, seed)) for seed in range(20)]
    inside = sum(law.interval(8e6, 4e7)[0] <= truth(8e6, 4e7) <= law.interval(8e6, 4e7)[1] for law in laws)
    assert inside >= 17
    assert np.median([law.deviation for law in laws]) == pytest.approx(0.003, rel=0.35)
    assert all(_width(law, 8e6, 4e7) > _width(law, 4e5, 2e6) > 0 for law in laws)


def _width(law: Law, size: float, tokens: float) -> float:
    low, high = law.interval(size, tokens)
    return high - low


def test_nothing_is_below_zero() -> None:
    """Losses that fall as a pure power leave no floor, and ones that do not depend on the size leave it out."""
    powers = [Measured(run.size, run.tokens, 5 * run.size**-0.1 + 3 * run.tokens**-0.1) for run in runs()]
    assert fit_law(powers).floor == pytest.approx(0, abs=0.05)
    flat = fit_law([Measured(run.size, run.tokens, 2 + 40 / run.tokens**0.3) for run in runs()])
    assert flat.loss(1e9, 2e6) == pytest.approx(flat.loss(1e5, 2e6), rel=1e-4)
    with pytest.raises(DataError, match="three sizes and three lengths, not 4 and 2"):
        fit_law([run for run in runs() if run.tokens < 4e6])


def test_sizes_halve_and_are_those_of_the_models() -> None:
    """By the parameters of models that were built; the largest is the one of the command, for all of its steps."""
    config = load_config(d_model=128, num_heads=4, num_layers=4, max_steps=400)
    variants = ladder_variants(config, 4)
    sizes = []
    for variant in variants[::3]:
        shape = load_config(config, variant.values).model
        model = build_model(shape)
        inside = sum(weight.numel() for name, weight in model.named_parameters() if "embed" not in name)
        assert size_of(shape) == inside
        sizes.append(inside)
    assert all(1.6 < larger / smaller < 2.5 for smaller, larger in itertools.pairwise(sizes))
    assert [variant.values["max_steps"] for variant in variants[:3]] == [100, 200, 400]
    assert variants[-1].values == {"d_model": 128, "num_heads": 4, "max_steps": 400}
    assert work(variants, config) == pytest.approx(sum(sizes) / sizes[-1] * 1.75)


@pytest.mark.parametrize(
    ("settings", "sizes", "said"),
    [
        ({"d_model": 128, "max_steps": 400}, 2, "3 to 8"),
        ({"d_model": 128}, 4, "--max-steps"),
        ({"max_steps": 400}, 4, "--d-model"),
        ({"d_model": 8, "max_steps": 400}, 5, "too small for 5 sizes"),
        ({"d_model": 128, "max_steps": 9}, 4, "at least 16 --max-steps"),
    ],
)
def test_ladders_that_cannot_be_built_are_refused(settings: dict[str, Any], sizes: int, said: str) -> None:
    """Before anything is trained, with the flag to change."""
    with pytest.raises(ConfigError, match=said):
        ladder_variants(load_config(**settings), sizes)


@pytest.mark.slow
def test_a_ladder_is_trained_continued_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped by its time it continues with the runs that are left; table, JSON and picture agree."""
    (tmp_path / "book.txt").write_text(" ".join(f"{n} and {n + 1} make {2 * n + 1}." for n in range(2000)))
    shape = ["--d-model", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32", "--batch-size", "8"]
    common = ["sweep", str(tmp_path / "book.txt"), "--tokenizer", "byte", *shape, "--max-steps", "48"]
    command = [*common, "--sample-steps", "0", "--ladder", "3", "--output-dir", str(tmp_path / "runs")]
    command += ["--cache-dir", str(tmp_path / "cache")]
    assert main([*command, "--max-time", "0.01"]) == 0
    assert "no law yet: " in capsys.readouterr().out
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "runs" / "ladder.json").read_text()) and len(told["runs"]) == 9
    assert f"{told['runs'][0]['loss']:.4f}" in shown and "10 times both" in shown
    law = told["law"]
    for one in told["ahead"]:
        formula = law["E"] + law["A"] / one["size"] ** law["alpha"] + law["B"] / one["tokens"] ** law["beta"]
        assert one["loss"] == pytest.approx(formula) and not math.isnan(one["low"])
    assert (tmp_path / "runs" / "ladder.png").read_bytes().startswith(b"\x89PNG")

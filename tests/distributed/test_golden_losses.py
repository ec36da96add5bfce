"""Small runs give the losses kept in golden_losses.yaml, so that a drift that all engines share is seen too."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.golden_losses import CASES, GOLDEN, measured_losses

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"

TOLERANCE = 5e-6
"""Nats per token. Measured: 5e-7 at most between AVX2 and AVX-512, 5e-7 between one thread and two, 6e-7 between
engines. A weight decay, an epsilon or a warm-up that is a hundredth off changes the losses by more."""


@pytest.fixture(scope="module")
def golden_losses() -> dict[str, list[float]]:
    return yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))["losses"]


@pytest.mark.parametrize(
    "case",
    [
        case if case[0] == "qwen3" or case[1] == "single" else pytest.param(case, marks=pytest.mark.slow)
        for case in CASES
    ],
    ids=" ".join,
)
def test_losses_are_those_that_were_kept(
    golden_losses: dict[str, list[float]], tmp_path: Path, case: tuple[str, str, str]
) -> None:
    """Training loss of 12 steps and the validation loss after them, by family, engine and optimizer."""
    assert measured_losses(tmp_path, *case) == pytest.approx(golden_losses[" ".join(case)], abs=TOLERANCE)


def test_engines_agree_in_what_was_kept(golden_losses: dict[str, list[float]]) -> None:
    """The kept losses of DDP and FSDP2 are those of one process."""
    for family, _, optimizer in (case for case in CASES if case[1] != "single"):
        for engine in ("ddp", "fsdp"):
            kept, alone = (golden_losses[f"{family} {each} {optimizer}"] for each in (engine, "single"))
            assert kept == pytest.approx(alone, abs=TOLERANCE)


def test_a_change_of_the_losses_has_its_reason_in_the_changelog() -> None:
    """The reason beside the kept losses stands in CHANGELOG.md."""
    reason = yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))["reason"]
    assert " ".join(reason.split()) in " ".join(CHANGELOG.read_text(encoding="utf-8").split())

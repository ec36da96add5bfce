"""Bugs planted in checkpoint, order, signal, store and resume code: the tests notice them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

SOURCE = Path(__file__).resolve().parents[2] / "src"
BUGS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("planted_bugs.yaml").read_text(encoding="utf-8"))
TESTS_FAILED = 1


def planted(bug: dict[str, Any]) -> str:
    """Return the source of the file with the bug in it."""
    text = (SOURCE / "textmill" / bug["file"]).read_text(encoding="utf-8")
    assert text.count(bug["old"]) == 1, f"{bug['file']} has changed: plant this bug anew"
    return text.replace(bug["old"], bug["new"])


def test_every_bug_can_be_planted() -> None:
    """Each one changes the code as it is now, in one place, to code that Python compiles."""
    assert len(BUGS) == len({bug["bug"] for bug in BUGS}) >= 40
    for bug in BUGS:
        compile(planted(bug), bug["file"], "exec")
        assert bug["old"] != bug["new"]


@pytest.mark.slow
@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug["bug"]) for bug in BUGS])
def test_the_tests_notice(bug: dict[str, Any], tmp_path: Path) -> None:
    """With the bug planted at least one of the default tests of these folders fails."""
    shutil.copytree(SOURCE, tmp_path / "src")
    (tmp_path / "src/textmill" / bug["file"]).write_text(planted(bug), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *bug["tests"]]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    run = subprocess.run(command, cwd=SOURCE.parent, env=environment, capture_output=True, text=True)
    assert run.returncode == TESTS_FAILED, run.stdout[-2000:]

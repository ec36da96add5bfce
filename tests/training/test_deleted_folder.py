"""A run folder that is deleted, moved or replaced under a run ends it; what took its place is left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.run_moments import after_steps
from textmill.cli.main import main

LENGTH = ["--max-steps", "40", "--eval-steps", "5", "--save-steps", "5", "--sample-steps", "0"]


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_folder_that_goes_is_noticed_at_the_next_write(
    small_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """Exit 74 with one sentence within a logging interval, and nothing is written under the old name."""
    run = tmp_path / "run"
    taken = []

    def act(step: int) -> None:
        taken.append(step)
        if step != 7:
            return
        if how == "moved":
            run.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(run)
        if how == "replaced":
            run.mkdir()
            (run / "run.lock").write_text("of another run")

    with after_steps(act):
        assert main([*small_command, *LENGTH, "--output-dir", str(run)]) == 74
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"textmill: error: {run} was deleted or moved while the run was writing to it: nothing more can be saved "
        "there. Resume the folder where it is now, or start again"
    ]
    assert taken[-1] == 9
    if how == "replaced":
        assert [path.name for path in run.iterdir()] == ["run.lock"]
        assert (run / "run.lock").read_text() == "of another run"
    else:
        assert not run.exists()
    if how == "moved":
        command = ["train", "--output-dir", str(tmp_path / "elsewhere"), "--resume", "--max-steps", "8"]
        assert main(command) == 0

"""Text that is given once, in several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.rank_processes import Ranks
from textmill.config import load_config

MODULE = """
import os
from pathlib import Path

def stories():
    with Path("reads").open("a") as file:
        file.write(os.environ["RANK"])
    for number in range(60):
        yield f"Story {number} of a program, which ends here."
"""


def test_the_first_process_reads_for_all(
    tmp_path: Path, small_command: list[str], start_ranks: Callable[..., Ranks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator named by an import string is read by rank 0 alone, and all train on the file it kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "texts_for_ranks.py").write_text(MODULE)
    options = small_command[small_command.index("--tokenizer") :]
    run = tmp_path / "run"
    words = ["train", "texts_for_ranks:stories", "--cache-dir", str(tmp_path / "cache"), *options]
    ranks = start_ranks(
        [*words, "--max-steps", "2", "--batch-size", "4", "--sample-steps", "0", "--output-dir", str(run)], 2
    )
    assert ranks.wait() == [0, 0], ranks.said()
    assert (tmp_path / "reads").read_text() == "0"
    (kept,) = load_config(run / "config.yaml").data.data or []
    assert Path(kept).parent == tmp_path / "cache/texts"

"""A machine that starts no more threads has too little of something: textmill has no defect."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest

from support.disk_faults import in_child
from textmill.cli.main import main


def test_a_run_that_gets_no_thread(small_command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Stacks larger than the memory that is allowed: exit 70, and the limits that may be the reason are named."""

    def train() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, used + 2**31))
        threading.stack_size(2**32)
        os._exit(main([*small_command, "--max-steps", "4", "--output-dir", str(tmp_path / "run")]))

    assert in_child(train) == 70
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("textmill: error: the system starts no more threads: the limit of processes (ulimit -u")

"""Most of what textmill does with files, in one process, with or without Windows' names and rules.

`python -m support.windows_day FOLDER windows` (or `as here`) works in FOLDER and writes day.json beside it: the exit
code and the output of every command, and what the rules refused.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub  # noqa: F401 - heavy libraries first: they keep the names of this system
import matplotlib.figure  # noqa: F401
import pytest
import safetensors.torch  # noqa: F401
import torch

from support.made_text import sentences
from support.run_moments import after_steps
from support.windows_files import windows_files
from support.windows_names import BREAK, hide_posix

SMALL = [
    *("--d-model", "16", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "32", "--batch-size", "2"),
    *("--device", "cpu", "--eval-steps", "4", "--sample-steps", "4", "--sample-tokens", "8", "--save-steps", "2"),
    *("--threads", "1", "--cache-dir", "cache", "--max-steps", "8"),
]

RUN = "runs/one & two"


class Day:
    """Commands by name, each with its exit code and everything that it printed."""

    def __init__(self, ending: int) -> None:
        from textmill.cli.main import main

        self.ending = ending
        self.done: dict[str, tuple[int, str]] = {}
        self._main: Callable[[list[str]], int] = main

    def command(self, name: str, *words: str) -> None:
        """Run a textmill command."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = self._main(list(words))
        self.done[name] = (code, printed.getvalue())

    def preparing(self) -> None:
        """Fail on a full disk and be ended by a signal while ids are written, and prepare the text after all."""
        prepare = ["prepare", "texts", "--tokenizer", "bpe", "--vocab-size", "300", "--output", "prepared text"]

        def fill_disk() -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with _when_opened("validation/00000.bin", fill_disk):
            self.command("full disk", *prepare[:-1], "no text")
        with _when_opened("train/00000.bin", lambda: os.kill(os.getpid(), self.ending)):
            self.command("prepare", *prepare)
        self.command("prepare again", *prepare)
        self.command("other text in its folder", "prepare", "texts/1.txt", *prepare[2:])

    def training(self) -> None:
        """Train, be refused by the lock, be ended by a signal, resume, begin again, continue elsewhere."""
        train = ["train", "texts", "--tokenizer", "char", *SMALL]

        def meanwhile(step: int) -> None:
            if step == 3:
                self.command("second run", "train", "--output-dir", RUN, "--resume")
            if step == 5:
                os.kill(os.getpid(), self.ending)

        with after_steps(meanwhile):
            self.command("train", *train, "--output-dir", RUN)
        self.command("resume", "train", "--output-dir", RUN, "--resume")
        self.command("from prepared", "train", "prepared text", *SMALL, "--output-dir", "runs/prepared")
        self.command("overwrite", "train", "prepared text", *SMALL, "--output-dir", "runs/prepared", "--overwrite")
        self.command(
            "fork", "train", *SMALL, "--resume-from", f"{RUN}/checkpoints/step-0000006", "--output-dir", "runs/fork"
        )

    def whole(self) -> None:
        """Do it all."""
        self.preparing()
        self.training()
        self.command("evaluate", "evaluate", RUN, "texts/1.txt", "--json")
        self.command("generate", "generate", RUN, "--prompt", "The", "--max-tokens", "8", "--seed", "1")
        self.command("report", "report", RUN)
        self.command("verify", "verify", RUN)
        self.command("verify prepared", "verify", "prepared text")
        self.command("runs", "runs")
        self.command("compare", "runs", "compare", RUN, "runs/prepared")
        self.command("tokenizer", "tokenizer", "train", "texts", "--tokenizer", "bpe", "--vocab-size", "280", *_TOKENS)
        self.command("cache list", "cache", "list", "--cache-dir", "cache")
        self.command("cache clean", "cache", "clean", "--cache-dir", "cache")


@contextlib.contextmanager
def _when_opened(name: str, act: Callable[[], None]) -> Iterator[None]:
    """While the block runs, `act` happens before the file is opened whose path ends so."""
    real = io.open

    def open_(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(file).endswith(name):
            act()
        return real(file, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_)
        yield


_TOKENS = ["--output", "tokens"]


def main(folder: Path, kind: str) -> None:
    """Spend the day in `folder`."""
    torch.set_num_threads(1)
    (folder / "texts").mkdir(parents=True)
    for number in range(5):
        (folder / "texts" / f"{number}.txt").write_bytes(sentences(20 + number).encode())
    os.chdir(folder)
    refused: list[str] = []
    if kind == "windows":
        hide_posix()
        with windows_files(folder) as rules:
            day = Day(BREAK)
            day.whole()
            day.command("name", "train", "texts", *SMALL, "--run-name", "second: try")
        refused = rules.refused
    else:
        day = Day(signal.SIGTERM)
        day.whole()
    folder.with_name("day.json").write_text(json.dumps({"commands": day.done, "refused": refused}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""A real Jupyter kernel that trains, and is interrupted as its stop button does it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import textmill
from textmill.runs.read_run import read_status

CELL = """
import time, torch, textmill

class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(257, 257)

    def forward(self, ids):
        time.sleep(2)
        return self.table(ids)

textmill.train(data="book.txt", tokenizer="byte", model=Slow(), device="cpu", threads=1, batch_size=2, max_seq_len=16,
               max_steps=100, output_dir="run", cache_dir="cache")
"""


class Cell:
    """The streams of a cell that was run, and the name of the exception that ended it."""

    def __init__(self) -> None:
        self.text = {"stdout": "", "stderr": ""}
        self.error: str | None = None


class Notebook:
    """A kernel of its own in the folder."""

    def __init__(self, folder: Path) -> None:
        manager = pytest.importorskip("jupyter_client", reason="needs jupyter_client").KernelManager
        pytest.importorskip("ipykernel", reason="needs ipykernel")
        self.kernel = manager(kernel_name="python3")
        source = str(Path(textmill.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
        self.kernel.start_kernel(cwd=str(folder), env=environment)
        self.client = self.kernel.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, while_running: Callable[[Cell], None] = lambda cell: None) -> Cell:
        """Run a cell; `while_running` is called whenever something is printed."""
        request, cell = self.client.execute(code), Cell()
        while True:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=60)
            content = message["content"]
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                cell.text[content["name"]] += content["text"]
                while_running(cell)
            elif message["msg_type"] == "error":
                cell.error = content["ename"]
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return cell

    def close(self) -> None:
        self.client.stop_channels()
        self.kernel.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    (tmp_path / "book.txt").write_text("once upon a time there was a mill\n" * 100)
    opened = Notebook(tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize("interrupts", [1, 2])
def test_the_stop_button(interrupts: int, notebook: Notebook, tmp_path: Path) -> None:
    """Once: the cell says that it saves, and ends with a model. Twice: it ends at once. The kernel lives on."""
    sent: list[float] = []

    def stop(cell: Cell) -> None:
        if not sent and "output " in cell.text["stdout"]:  # the last line before the first step
            sent.append(time.monotonic())
            notebook.kernel.interrupt_kernel()
        elif len(sent) == 1 and interrupts == 2 and "saving" in cell.text["stderr"]:
            time.sleep(0.5)  # sooner it would be the same key press
            sent.append(time.monotonic())
            notebook.kernel.interrupt_kernel()

    cell = notebook.run(CELL, stop)
    assert len(sent) == interrupts and cell.error == "KeyboardInterrupt"
    assert "stopping and saving; a second interrupt ends at once\n" in cell.text["stderr"]
    assert ("stopped by Ctrl-C" in cell.text["stdout"]) == (interrupts == 1)
    assert notebook.run("print(6 * 7)").text["stdout"] == "42\n"
    if interrupts == 1:
        assert (tmp_path / "run" / "final" / "model.safetensors").exists()
        assert read_status(tmp_path / "run")["resumable"] is True

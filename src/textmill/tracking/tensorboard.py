"""Report to TensorBoard: event files in a folder."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textmill.imports import require
from textmill.tracking.metric_table import tagged


class TensorBoard:
    """Writes event files into `folder`: `tensorboard --logdir FOLDER` shows them.

    A resumed run writes a new file, whose header makes TensorBoard forget what was reported after the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def start(self, run_info: Mapping[str, Any]) -> None:
        """Open the folder. Raises MissingExtraError without the tensorboard package."""
        require("tensorboard", "reporting to TensorBoard", "track")
        from torch.utils.tensorboard import SummaryWriter

        step = run_info["step"]
        self._writer = SummaryWriter(str(self.folder), purge_step=step + 1 if step else None)
        if not step:
            self._writer.add_text("config", f"```json\n{json.dumps(run_info['config'], indent=2, default=str)}\n```")

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Add each number of the row to its curve."""
        for name, value in tagged(row).items():
            self._writer.add_scalar(name, value, step)

    def text(self, name: str, text: str, step: int) -> None:
        """Show the text in the text tab, unformatted."""
        fence = "`" * (max(map(len, re.findall("``+", text)), default=2) + 1)
        self._writer.add_text(name, f"{fence}\n{text}\n{fence}", step)

    def finish(self, status: str) -> None:
        """Write everything to the files."""
        self._writer.close()

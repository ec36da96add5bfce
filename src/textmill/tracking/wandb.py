"""Report to Weights & Biases, or to a local folder for `wandb sync`."""

import html
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textmill.files import read_text, write_text
from textmill.imports import optional
from textmill.tracking.metric_table import tagged


class WandB:
    """One W&B run, kept across resumes: its id is in `log_dir/wandb_run_id`.

    W&B's own step is the optimizer step, and it takes each step once: what a resumed run reports again, up to where the
    interrupted one had come, is ignored there, being the same. Where W&B cannot be reached or nobody is logged in, the
    run is recorded offline below `log_dir/wandb`, and `say` is told how to send it.
    """

    def __init__(self, log_dir: Path, project: str, say: Callable[[str], None]) -> None:
        self.log_dir = log_dir
        self.project = project
        self.say = say
        self._run: Any = None

    def start(self, run_info: Mapping[str, Any]) -> None:
        """Open the run. Raises MissingExtraError without the wandb package."""
        wandb = optional("wandb", "reporting to Weights & Biases", "track")
        arguments: dict[str, Any] = {
            "project": self.project,
            "name": run_info["name"],
            "config": run_info["config"],
            "dir": str(self.log_dir),
            "id": self._run_id(fresh=not run_info["step"]),
            "resume": "allow",
            "settings": wandb.Settings(silent=True, console="off"),
        }
        try:
            self._run = wandb.init(**arguments)
        except (wandb.Error, OSError) as error:
            self.say(f"Weights & Biases cannot be used online: {(str(error).splitlines() or [''])[0]}")
            wandb.teardown()  # the failed attempt would keep the run's id
            self._run = wandb.init(**arguments, mode="offline")
        if self._run.offline:
            self.say(f"Weights & Biases records offline; send it with: wandb sync {Path(self._run.dir).parent}")
        else:
            self.say(f"Weights & Biases shows the run at {self._run.url}")

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Add each number of the row to its curve."""
        self._run.log(tagged(row), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        """Show the text as it is, in its own panel."""
        wandb = optional("wandb", "reporting to Weights & Biases", "track")
        self._run.log({name: wandb.Html(f"<pre>{html.escape(text)}</pre>", inject=False)}, step=step)

    def finish(self, status: str) -> None:
        """Mark the run as finished or failed; wait until everything is sent or on the disk."""
        self._run.finish(exit_code=0 if status == "finished" else 1)

    def _run_id(self, *, fresh: bool) -> str:
        path = self.log_dir / "wandb_run_id"
        if not fresh and path.is_file():
            return read_text(path).strip()
        run_id = uuid.uuid4().hex[:12]
        write_text(path, run_id + "\n")
        return run_id

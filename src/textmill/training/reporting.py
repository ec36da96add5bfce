"""Where the results of a run go: the screen, the logs, the trackers, and advice about what they show."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textmill.console.screen import Screen
from textmill.runs import layout
from textmill.runs.log_file import Log
from textmill.runs.read_run import read_measurements
from textmill.tracking.tracker import Trackers
from textmill.training.advice import Advice, Setting

LOG_FILES = {"metrics": layout.METRICS, "steps": layout.STEPS, "samples": layout.SAMPLES}


@dataclass
class Reporting:
    """Reports rows and texts to everything that takes them.

    logs: open in the first process only, by name. setting: what advice depends on besides the rows.
    """

    screen: Screen
    trackers: Trackers
    advice: Advice
    setting: Setting = field(init=False)
    logs: dict[str, Log] = field(default_factory=dict)

    def open_logs(self, folder: Path, sizes: dict[str, int]) -> None:
        """Open the log files in `folder`, cut to `sizes` (by name); give advice about what they do not yet show.

        What a session wrote after the checkpoint that it is resumed from is written again.
        """
        self.screen.open_log(folder / layout.TRAIN_LOG, sizes.get(layout.TRAIN_LOG))
        for name, file_name in LOG_FILES.items():
            self.logs[name] = Log(folder / file_name, say=self.screen.say)
        self.cut_logs(sizes)
        reports, evaluations = (
            read_measurements(folder / LOG_FILES[name], self.screen.say) for name in ("steps", "metrics")
        )
        self.advice.recall(reports, evaluations, self.setting)

    def cut_logs(self, sizes: dict[str, int]) -> None:
        """Cut the tables of the run to `sizes` (by name): the steps after that are taken, and reported, again."""
        for name, log in self.logs.items():
            log.truncate(sizes.get(name, 0))

    def close_logs(self) -> None:
        """Close the log files."""
        for log in self.logs.values():
            log.close()

    def log_sizes(self, *, on_disk: bool = False) -> dict[str, int]:
        """Return the size of every log by name, for `open_logs`; with `on_disk` after a flush to the disk."""
        sizes = {name: log.sync() if on_disk else log.offset for name, log in self.logs.items()}
        return sizes | {layout.TRAIN_LOG: self.screen.log_size()}

    def training(self, row: dict[str, Any], seconds_left: float | None) -> None:
        """Report what was measured of the last steps."""
        self._log("steps", row)
        self.screen.training(row, self.setting.total_steps, seconds_left)
        self.advice.report(row, self.setting)

    def evaluation(self, row: dict[str, Any], *, improved: bool) -> None:
        """Report an evaluation."""
        self._log("metrics", row)
        self.screen.evaluation(row, improved=improved)
        self.advice.evaluation(row, self.setting)

    def sample(self, text: str, step: int) -> None:
        """Report text that the model wrote."""
        if self.logs:
            self.logs["samples"].append({"step": step, "text": text})
            self.trackers.text("sample", text, step)
        self.screen.sample(text, step)

    def _log(self, name: str, row: dict[str, Any]) -> None:
        if self.logs:
            self.logs[name].append(row)
            self.trackers.log(row, row["step"])

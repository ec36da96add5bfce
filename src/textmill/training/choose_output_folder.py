"""The run folder: where it is, whether it may be used, and the small files that describe the run."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from textmill import files
from textmill.errors import ConfigError, MissingInputError, RunExistsError
from textmill.runs.layout import CHECKPOINTS, CONFIG, RUN_FILES, STATUS, is_run
from textmill.runs.read_run import read_environment


@dataclass(frozen=True)
class Output:
    """A run folder that this process may use, and what to do in it.

    resume_from: name or path of the checkpoint to continue from (`last` for --resume), or None for a run that starts
        at step 0. fork: the checkpoint belongs to another run, which is left unchanged. fresh: the run is a new one.
    """

    folder: Path
    resume_from: str | None = None
    fork: bool = False
    fresh: bool = True

    @property
    def checkpoints(self) -> Path:
        return self.folder / CHECKPOINTS


def open_output(
    output_dir: str | None,
    *,
    run_name: str | None = None,
    resume: bool | str = False,
    resume_from: str | None = None,
    overwrite: bool = False,
) -> Output:
    """Return the run folder that the settings mean. Nothing is created or deleted yet.

    Without `output_dir` it is `runs/<run_name>`, or the next free `runs/experiment_N`; when `resume` or `resume_from`
    is given, the run that they mean. `resume="auto"` also accepts a folder without a run.

    Raises:
        RunExistsError: the folder contains a run and neither resuming nor overwriting was asked for.
        MissingInputError: there is no run to resume.
    """
    if resume and overwrite:
        raise ConfigError(
            "--resume and --overwrite contradict each other: continue the run, or delete it and start again"
        )
    if resume_from is not None:
        return _open_for_checkpoint(resume_from, output_dir, run_name, overwrite)
    if output_dir is None and run_name is None and resume:
        folder = newest_run()
        if folder is None:
            raise MissingInputError("there is no run under runs/ to resume; name one with --output-dir")
    else:
        folder = _folder(output_dir, run_name)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; --output-dir needs a folder")
    if not is_run(folder):
        if resume is True:
            raise MissingInputError(f"{folder} contains no run to resume; leave out --resume, or use --resume auto")
        if not overwrite:
            refuse_run(folder)
        return Output(folder)
    if resume:
        return Output(folder, resume_from="last", fresh=False)
    if not overwrite:
        refuse_run(folder)
    return Output(folder)


def refuse_run(folder: Path) -> None:
    """Raises RunExistsError if `folder` contains a run, or another program's files where a run would write its own."""
    if is_run(folder):
        raise RunExistsError(
            f"{folder} already contains a run; continue it with --resume, replace it with --overwrite, "
            "or choose another --output-dir"
        )
    if "textmill" in read_environment(folder):  # left by a start that was killed
        return
    for name in RUN_FILES:
        if (folder / name).exists():
            raise RunExistsError(
                f"{folder} contains {name}, which is not of a run and would be replaced; "
                "choose another --output-dir, or delete it with --overwrite"
            )


def _open_for_checkpoint(resume_from: str, output_dir: str | None, run_name: str | None, overwrite: bool) -> Output:
    """Resume the run when `resume_from` is inside the output folder; start a new one from it when it is elsewhere."""
    named = run_of(resume_from)
    if named is not None and not is_run(named) and Path(resume_from).parts[0] == CHECKPOINTS:
        # `checkpoints/...` outside a run: in the run that is meant, else the newest
        named = newest_run() if output_dir is None and run_name is None else _folder(output_dir, run_name)
        if named is None:
            raise MissingInputError(f"{resume_from} does not exist, and there is no run under runs/")
        resume_from = str(named / resume_from)
    if output_dir is None and run_name is None:
        if named is None:
            raise ConfigError(f"resume_from: {resume_from!r} needs --output-dir, the run that it belongs to")
        return Output(named, resume_from=resume_from, fresh=False)
    folder = _folder(output_dir, run_name)
    if named is None or named.resolve() == folder.resolve():
        if not is_run(folder):
            raise MissingInputError(f"{folder} contains no run to resume from {resume_from!r}")
        return Output(folder, resume_from=resume_from, fresh=False)
    if not overwrite:
        refuse_run(folder)
    return Output(folder, resume_from=resume_from, fork=True)


def run_of(checkpoint: str) -> Path | None:
    """Return the folder of the run that a checkpoint's path belongs to, or None for a name such as `best`."""
    path = Path(checkpoint)
    if len(path.parts) < 2 and not path.is_dir():
        return None
    for folder in (path, *path.parents):
        if is_run(folder):
            return folder
        if folder.name == CHECKPOINTS:
            return folder.parent
    return path.parent


def _folder(output_dir: str | None, run_name: str | None) -> Path:
    if output_dir is not None:
        return Path(output_dir)
    return Path("runs") / run_name if run_name else next_free_run()


def next_free_run(kind: str = "experiment") -> Path:
    """Return `runs/KIND_N` with the smallest N above every one that exists."""
    ends = [entry.name.removeprefix(f"{kind}_") for entry in Path("runs").glob(f"{kind}_*")]
    return Path("runs") / f"{kind}_{max((int(end) for end in ends if end.isdecimal()), default=0) + 1}"


def newest_run(parent: Path = Path("runs")) -> Path | None:
    """Return the run under `parent` that wrote its status last, or None."""
    runs = [entry for entry in parent.glob("*") if is_run(entry)]
    return max(runs, key=lambda run: run.stat().st_mtime, default=None)


def clear_run(folder: Path) -> None:
    """Delete an earlier run from `folder`, and no other files. Raises CannotWriteError."""
    for name in RUN_FILES:
        path = folder / name
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
        except OSError as error:
            raise files.cannot_write(path, error) from error


def write_config(folder: Path, values: dict[str, Any]) -> None:
    """Write the resolved configuration to config.yaml, which is itself a valid `--config`."""
    header = "# The resolved configuration of this run; `textmill train --config` with this file repeats it.\n"
    files.write_text(folder / CONFIG, header + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def write_status(folder: Path, state: str, *, exit_code: int | None, reason: str, resumable: bool, step: int) -> None:
    """Write status.json: `running`, `finished`, `interrupted` or `failed`, and why."""
    files.write_json(
        folder / STATUS,
        {
            "state": state,
            "exit_code": exit_code,
            "reason": reason,
            "resumable": resumable,
            "step": step,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )

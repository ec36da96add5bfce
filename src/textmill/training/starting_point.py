"""Which folder a run is in and which checkpoint it starts from: decided once, by the first process, for all."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from textmill import files
from textmill.checkpoint.find_model import newest_checkpoint, resolve_checkpoint
from textmill.config import Config
from textmill.console.screen import Screen
from textmill.engine.world import World
from textmill.errors import ConfigError, MissingInputError, RunExistsError
from textmill.runs.foreign_links import refuse_foreign_links, refuse_links
from textmill.runs.layout import CHECKPOINTS, CONFIG, ENVIRONMENT, LOCK, RUN_FILES, STATE, TOKENIZER, is_run
from textmill.runs.read_run import read_environment
from textmill.runs.recorded_files import LOGS, damage
from textmill.runs.run_lock import run_lock
from textmill.training.resume import Continued, merge_with_saved


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

    @property
    def continued(self) -> Path | None:
        """The folder of the run that goes on, None for one that begins."""
        return None if self.fresh or self.fork else self.folder


def choose_output(config: Config, world: World) -> Output:
    """Return the run folder, as the first process sees it: when another looks, it may already contain a run.

    Nothing is created or deleted yet. Without `output_dir` it is `runs/<run_name>`, or the next free
    `runs/experiment_N`; when `resume` or `resume_from` is given, the run that they mean. `resume="auto"` also accepts a
    folder without a run.

    Raises:
        RunExistsError: the folder contains a run and neither resuming nor overwriting was asked for.
        MissingInputError: there is no run to resume.
    """

    def chosen() -> dict[str, Any]:
        output = files.retry_stale(lambda: _open_output(config))
        return {**asdict(output), "folder": str(output.folder)}

    found = world.from_first(chosen)
    return Output(**{**found, "folder": Path(found["folder"])})


def _open_output(config: Config) -> Output:
    settings, run_name = config.training, config.tracking.run_name
    output_dir, resume, overwrite = settings.output_dir, settings.resume, settings.overwrite
    if resume and overwrite:
        raise ConfigError(
            "--resume and --overwrite contradict each other: continue the run, or delete it and start again"
        )
    if settings.resume_from is not None:
        return _open_for_checkpoint(settings.resume_from, output_dir, run_name, overwrite)
    if output_dir is None and run_name is None and resume:
        folder = _newest_run()
        if folder is None:
            raise MissingInputError("there is no run under runs/ to resume; name one with --output-dir")
    else:
        folder = _folder(output_dir, run_name)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; --output-dir needs a folder")
    if resume and folder.is_dir() and not is_run(folder):
        files.look_anew(folder)  # another machine may have begun the run a moment ago
    if not is_run(folder):
        if resume is True:
            raise MissingInputError(f"{folder} contains no run to resume; leave out --resume, or use --resume auto")
        if not overwrite:
            _refuse_run(folder)
        return Output(folder)
    if resume:
        return Output(folder, resume_from="last", fresh=False)
    if not overwrite:
        _refuse_run(folder)
    return Output(folder)


def _refuse_run(folder: Path) -> None:
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
    named = _run_of(resume_from)
    if named is not None and not is_run(named) and Path(resume_from).parts[0] == CHECKPOINTS:
        # `checkpoints/...` outside a run: in the run that is meant, else the newest
        named = _newest_run() if output_dir is None and run_name is None else _folder(output_dir, run_name)
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
        _refuse_run(folder)
    return Output(folder, resume_from=resume_from, fork=True)


def _run_of(checkpoint: str) -> Path | None:
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


def _newest_run() -> Path | None:
    """Return the run under runs/ that wrote its status last, or None."""
    runs = [entry for entry in Path("runs").glob("*") if is_run(entry)]
    return max(runs, key=lambda run: run.stat().st_mtime, default=None)


def _clear_run(folder: Path) -> None:
    """Delete an earlier run from `folder`, and no other files. Raises CannotWriteError."""
    for name in RUN_FILES:
        path = folder / name
        try:
            if path.is_dir() and not path.is_symlink():
                files.remove_directory(path)
            elif path.exists() or path.is_symlink():
                path.unlink()
        except OSError as error:
            raise files.cannot_write(path, error) from error


@contextmanager
def claim(
    output: Output, world: World, screen: Screen, *, overwrite: bool = False, trust: bool = False
) -> Iterator[None]:
    """Lock the run folder for the block; first delete what an overwritten run, or a process that died, left in it.

    trust: see `refuse_foreign_links`.

    Raises RunExistsError if another process has made a run there since the folder was chosen, unless `overwrite`.
    """

    def refuse() -> None:
        if output.fresh:
            refuse_links(output.folder, [LOCK])
        else:
            refuse_foreign_links(output.folder, trust=trust, say=screen.say)

    with ExitStack() as stack:
        with world.together():
            if world.is_first:
                files.make_directory(output.folder)
                files.retry_stale(refuse)
                stack.enter_context(run_lock(output.folder, say=screen.say))
                if output.fresh:
                    if not overwrite:
                        files.retry_stale(lambda: _refuse_run(output.folder))
                    files.retry_stale(lambda: _clear_run(output.folder))
                for folder in (output.folder, output.checkpoints, output.folder / TOKENIZER):
                    files.retry_stale(lambda folder=folder: files.remove_temporaries(folder))
        yield


def find_start(config: Config, output: Output, world: World, screen: Screen) -> tuple[Continued, Path | None]:
    """Return the configuration to run with and the checkpoint to start from, or None for step 0."""
    if output.resume_from is None:
        return Continued(config, {}), None

    def found() -> str | None:
        assert output.resume_from is not None
        if output.fork:
            return str(resolve_checkpoint(output.resume_from, say=screen.say))
        if output.resume_from != "last":
            return str(resolve_checkpoint(output.resume_from, output.folder, say=screen.say))
        start = newest_checkpoint(output.folder, screen.say)  # reads and hashes: once for all processes
        if start is None:
            screen.say(f"{output.folder} has no checkpoint yet: the run starts at step 0")
        return None if start is None else str(start)

    name = world.from_first(found)
    start = None if name is None else Path(name)
    with world.together():
        source = _run_of(name) if output.fork and name is not None else output.folder
        assert source is not None
        _say_damage(source, screen, own=not output.fork)
        if start is not None:
            files.wait_until_seen(start / STATE)
        return merge_with_saved(config, source, start, screen.say), start


def _say_damage(run: Path, screen: Screen, *, own: bool) -> None:
    """Say which files of the run have changed since it wrote them, and what becomes of them: from now on they count.

    own: the run goes on. A run that only starts from a checkpoint of it reads of these files only how it was made.
    """
    for name, sentence in damage(run).items():
        if name in LOGS and own:
            screen.say(f"{sentence}: what it contains is kept as it is, and no result depends on it")
        elif name != CONFIG and (own or name == ENVIRONMENT):  # what becomes of config.yaml is said where it is read
            screen.say(f"{sentence}: it is not used{', and written again' if own else ''}")

"""Which folder a run is in and which checkpoint it starts from: decided once, by the first process, for all."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textmill import files
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.find_model import resolve_checkpoint
from textmill.config import Config
from textmill.console.screen import Screen
from textmill.engine.world import World
from textmill.runs.run_lock import RunLock
from textmill.training.choose_output_folder import Output, clear_run, open_output, refuse_run, run_of
from textmill.training.resume import merge_with_saved


def choose_output(config: Config, world: World) -> Output:
    """Return the run folder, as the first process sees it: when another looks, it may already contain a run."""
    settings = config.training

    def chosen() -> dict[str, Any]:
        output = open_output(
            settings.output_dir,
            run_name=config.tracking.run_name,
            resume=settings.resume,
            resume_from=settings.resume_from,
            overwrite=settings.overwrite,
        )
        return {**asdict(output), "folder": str(output.folder)}

    found = world.from_first(chosen)
    return Output(**{**found, "folder": Path(found["folder"])})


@contextmanager
def claim(output: Output, world: World, screen: Screen, *, overwrite: bool = False) -> Iterator[None]:
    """Lock the run folder for the block; first delete what an overwritten run, or a process that died, left in it.

    Raises RunExistsError if another process has made a run there since the folder was chosen, unless `overwrite`.
    """
    with ExitStack() as stack:
        with world.together():
            if world.is_first:
                files.make_directory(output.folder)
                stack.enter_context(RunLock(output.folder, say=screen.say))
                if output.fresh:
                    if not overwrite:
                        refuse_run(output.folder)
                    clear_run(output.folder)
                files.remove_temporaries(output.folder)
                CheckpointStore(output.checkpoints, say=screen.say).repair()
        yield


def find_start(config: Config, output: Output, world: World, screen: Screen) -> tuple[Config, Path | None]:
    """Return the configuration to run with and the checkpoint to start from, or None for step 0."""
    if output.resume_from is None:
        return config, None

    def found() -> str | None:
        assert output.resume_from is not None
        if output.fork:
            return str(resolve_checkpoint(output.resume_from))
        if output.resume_from != "last":
            return str(resolve_checkpoint(output.resume_from, output.folder))
        start = CheckpointStore(output.checkpoints, say=screen.say).latest()  # reads and hashes: once for all processes
        if start is None:
            screen.say(f"{output.folder} has no checkpoint yet: the run starts at step 0")
        return None if start is None else str(start)

    name = world.from_first(found)
    start = None if name is None else Path(name)
    with world.together():
        source = run_of(name) if output.fork and name is not None else output.folder
        assert source is not None
        return merge_with_saved(config, source, screen.say), start

"""Which folder a run is in and which checkpoint it goes on from: decided once, by the first process, for all."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textmill import files
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.find_model import resolve_checkpoint
from textmill.checkpoint.run_lock import RunLock
from textmill.config import Config
from textmill.console.screen import Screen
from textmill.engine.world import World
from textmill.training import output_folder as outputs
from textmill.training import resume


def open_output(config: Config, world: World) -> outputs.Output:
    """Return the run directory, as the first process sees it: by the time another looks, there may be a run in it."""
    settings = config.training

    def opened() -> dict[str, Any]:
        output = outputs.open_output(
            settings.output_dir,
            run_name=config.tracking.run_name,
            resume=settings.resume,
            resume_from=settings.resume_from,
            overwrite=settings.overwrite,
        )
        return {**asdict(output), "folder": str(output.folder)}

    found = world.from_first(opened)
    return outputs.Output(**{**found, "folder": Path(found["folder"])})


def claim(output: outputs.Output, world: World, stack: ExitStack, screen: Screen) -> None:
    """No other process uses the run's folder until the end, and nothing half-done or of an overwritten run is in it."""
    with world.together():
        if world.is_first:
            files.make_directory(output.folder)
            stack.enter_context(RunLock(output.folder, say=screen.say))
            if output.fresh:
                outputs.clear_run(output.folder)
            files.remove_temporaries(output.folder)
            CheckpointStore(output.checkpoints, say=screen.say).repair()


def find_start(config: Config, output: outputs.Output, world: World, screen: Screen) -> tuple[Config, Path | None]:
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
        source = outputs.run_of(name) if output.fork and name is not None else output.folder
        assert source is not None
        return resume.merge_with_saved(config, source, screen.say), start

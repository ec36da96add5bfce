"""A checkpoint that all processes write: the first one creates and names the folder, each writes its own files.

Under FSDP the model is never gathered as a whole: tensors are made whole one at a time, and each is kept by the process
that writes its file until the file is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from textmill.checkpoint.checkpoint_store import CheckpointStore, rename_in_errors
from textmill.checkpoint.manifest import fsync_and_hash
from textmill.checkpoint.safetensors_files import save_tensors
from textmill.checkpoint.sharded_tensors import plan_files, write_index
from textmill.engine.engine import Engine
from textmill.engine.world import World
from textmill.files import cannot_write, wait_until_seen
from textmill.training.progress import Progress


@contextmanager
def new_checkpoint(
    store: CheckpointStore, engine: Engine, progress: Progress, *, keep: Callable[[int], bool], expected_bytes: int
) -> Iterator[SharedFolder]:
    """Yield the unfinished folder of the checkpoint of `progress.step`; make it a durable checkpoint afterwards.

    All processes call it and write to the folder. An error in any of them ends it for all: nothing of the attempt is
    left, older checkpoints are untouched. Raises WriteFailedError, CannotWriteError, and what the block raises.

    keep: whether the checkpoint of a step stays however old it is; the best one does too.
    """
    step, world = progress.step, engine.world
    listed: dict[str, dict[str, Any]] = {}
    with ExitStack() as saving:

        def begin() -> str:
            protect = [other for other in store.steps() if other == progress.best_step or keep(other)]
            context = store.saving(step, listed=listed, protect=protect, expected_bytes=expected_bytes)
            return str(saving.enter_context(context))

        path = Path(world.from_first(begin))
        with world.watched(), rename_in_errors(store.path(step), path):
            with world.together():
                if world.rank < engine.writers:
                    wait_until_seen(path)
            yield SharedFolder(path, world, engine, listed)
        with world.together():
            saving.close()  # the first process writes the manifest and renames the folder


@dataclass
class SharedFolder:
    """The unfinished folder `path` that the processes of `world` write to together.

    listed: size and hash of the complete files by name, whichever process wrote them.
    """

    path: Path
    world: World
    engine: Engine
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write_tensors(self, stem: str, tensors: Mapping[str, Tensor]) -> None:
        """Write the `tensors` of the engine's snapshot, each whole, durably; all processes call it.

        Each of the engine's writers writes a share of them, in files of its own. No process has more of them in memory
        than one such file (`sharded.FILE_BYTES`) and the tensor that is being made whole.
        """
        sizes = {name: tensor.nbytes for name, tensor in tensors.items()}
        plan = plan_files(stem, sizes, self.engine.writers)
        files = list(plan.items())
        for first in range(0, len(files), self.engine.writers):
            self._write_one_each(files[first : first + self.engine.writers], tensors)
        with self.together():
            if self.world.is_first:
                write_index(self.path, stem, plan, sizes)

    @contextmanager
    def together(self) -> Iterator[None]:
        """As `World.together`; an OSError inside is raised in all processes as CannotWriteError."""
        with self.world.together():
            try:
                yield
            except OSError as error:
                raise cannot_write(self.path, error) from error

    def _write_one_each(self, files: list[tuple[str, list[str]]], tensors: Mapping[str, Tensor]) -> None:
        """Write the files at the same time, the first by the first process, and so on."""
        mine = {}
        for writer, (_, names) in enumerate(files):
            for name in names:
                whole = self.engine.whole(tensors[name])
                if writer == self.world.rank:
                    mine[name] = whole.detach().to("cpu")
        listed = {}
        with self.together():
            if self.world.rank < len(files):
                name, _ = files[self.world.rank]
                save_tensors(self.path / name, mine)
                if self.engine.writers > 1:  # a single one leaves it to the manifest, which has threads for it
                    listed = {name: fsync_and_hash(self.path / name)}
        for entries in self.world.gather(listed):
            self.listed.update(entries)

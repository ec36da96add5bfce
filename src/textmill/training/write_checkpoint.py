"""A checkpoint that all processes write: the first one makes the folder and names it, each fills it with its files.

Under FSDP nothing is ever gathered as a whole: tensors are put together one at a time, and each stays with the process
that writes its file, until the file is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from textmill.checkpoint.checkpoint_store import speaking_of
from textmill.checkpoint.manifest import seal
from textmill.checkpoint.sharded import plan_files, write_index
from textmill.checkpoint.tensors import save_tensors
from textmill.engine.engine import Engine
from textmill.engine.world import World
from textmill.files import cannot_write
from textmill.training.progress import Progress

if TYPE_CHECKING:
    from textmill.training.run import Run


@contextmanager
def new_checkpoint(run: Run, progress: Progress, *, expected_bytes: int) -> Iterator[SharedFolder]:
    """Yield the unfinished folder of the checkpoint of `progress.step`; afterwards the checkpoint exists, durably.

    All processes call it, and fill the folder. An error of any of them ends it for all: nothing of the attempt is left,
    the older checkpoints are as they were. Raises WriteFailedError, CannotWriteError, and what the block raises.
    """
    step, world = progress.step, run.world
    sealed: dict[str, dict[str, Any]] = {}
    protect = [progress.best_step] if progress.best_step is not None else []
    with ExitStack() as saving:

        def begin() -> str:
            context = run.checkpoints.saving(step, sealed=sealed, protect=protect, expected_bytes=expected_bytes)
            return str(saving.enter_context(context))

        path = Path(world.from_first(begin))
        with world.watched(), speaking_of(run.checkpoints.path(step), path):
            yield SharedFolder(path, world, run.engine, sealed)
        with world.together():
            saving.close()  # in the first process: the manifest is written, and the folder gets its name


@dataclass
class SharedFolder:
    """The unfinished folder `path` that the processes of `world` fill together.

    sealed: size and hash of files that are complete, whoever wrote them.
    """

    path: Path
    world: World
    engine: Engine
    sealed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write_tensors(self, stem: str, tensors: Mapping[str, Tensor]) -> None:
        """The `tensors`, of the engine's snapshot, are in the folder, whole and on the disk; all processes call it.

        Each of the engine's writers has written a part of them, in files of its own. No process held more of them at
        once than one such file (`spread.FILE_BYTES`) and the tensor that was being put together.
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
        """As `World.together`; what the operating system refuses inside is one error in all: CannotWriteError."""
        with self.world.together():
            try:
                yield
            except OSError as error:
                raise cannot_write(self.path, error) from error

    def _write_one_each(self, files: list[tuple[str, list[str]]], tensors: Mapping[str, Tensor]) -> None:
        """The files, the first of which is the first process's, are written at the same time."""
        mine = {}
        for writer, (_, names) in enumerate(files):
            for name in names:
                whole = self.engine.whole(tensors[name])
                if writer == self.world.rank:
                    mine[name] = whole.detach().to("cpu")
        sealed = {}
        with self.together():
            if self.world.rank < len(files):
                name, _ = files[self.world.rank]
                save_tensors(self.path / name, mine)
                if self.engine.writers > 1:  # a single one leaves it to the manifest, which has threads for it
                    sealed = {name: seal(self.path / name)}
        for entries in self.world.gather(sealed):
            self.sealed.update(entries)

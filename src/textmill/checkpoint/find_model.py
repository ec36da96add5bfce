"""From the name of a model to its folder: a run, `RUN/best`, `RUN/step-500`, the file names of other tools."""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.manifest import manifest_problems
from textmill.config.field_types import closest_beside
from textmill.errors import DataError, MissingInputError
from textmill.files import expand_home, listed_problems, moved_aside, read_json, report_damage
from textmill.runs.layout import (
    BEST_MODEL,
    CHECKPOINTS,
    FINAL,
    MANIFEST,
    STATE,
    checkpoint_step,
    is_checkpoint,
    is_model,
    is_run,
)

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
"""Endings of files that can run code when they are loaded; none of them is ever opened."""

_ENDINGS = (*PICKLES, ".safetensors")
_WORDS = {
    "best": ("best", "best_model", "best_checkpoint", "best-model"),
    "final": ("final", "final_model", "final_checkpoint"),
    "last": ("last", "latest", "last_checkpoint", "latest_checkpoint"),
}
_STEP = re.compile(r"(?:(?:checkpoint|model|ckpt)[-_])?(?:step|iter)[-_]?(\d+)|(?:checkpoint|ckpt)[-_](\d+)")
_EPOCH = re.compile(r"(?:(?:checkpoint|model|ckpt)[-_])?epoch[-_]?(\d+)")

_MOST_EPOCHS = 10**12

Say = Callable[[str], None]


def resolve_model(name: str | Path, *, say: Say | None = None) -> Path:
    """Return the folder of the model that `name` means, with its config.json and weights.

    `name` is a model folder; a run (its best model, else its final one, else its last checkpoint); or, within a run,
    `best`, `final`, `last`, `step-500` or `epoch-3`, written `RUN/best` or as the file that other tools would have
    written there (`RUN/checkpoints/checkpoint_epoch_3.pt`, `RUN/best.pt`, ...). Whatever textmill wrote is verified,
    however it is named. `say` is told which damaged checkpoints were skipped; without it, that is a warning.

    Raises:
        MissingInputError: there is no such model; the message lists those that exist.
        DataError: it is a file that may run code when loaded, or a damaged checkpoint or model.
    """
    path = _path(name)
    if path.is_file():
        return _folder_of_file(path)
    if not path.is_dir():
        run, word = _split(path)
        if (found := _find(run, word, say)) is None:
            raise MissingInputError(f"{run} has no model {word!r}: {_inventory(run)}")
        return found
    if is_model(path):
        return _verified(path)
    run = path.parent if path.name == CHECKPOINTS else path
    for word in ("last",) if path.name == CHECKPOINTS else ("best", "final", "last"):
        if (found := _find(run, word, say)) is not None:
            return found
    raise MissingInputError(
        f"{path} contains no model: expected a run, or a folder with config.json and model.safetensors"
        f"{_pickle_hint(path)}"
    )


def resolve_checkpoint(name: str | Path, run: Path | None = None, *, say: Say | None = None) -> Path:
    """Return the folder of the checkpoint, with the state of the training, that `name` means.

    `name` is a checkpoint folder, a run (its last checkpoint), or one of the names that `resolve_model` accepts, within
    the run before the slash or, where there is none, within `run`. `best` is the checkpoint of the best
    model, and `final` the last one. `say`: see `resolve_model`.

    Raises:
        MissingInputError, DataError: as `resolve_model`.
    """
    path = _path(name)
    if is_checkpoint(path):
        return _verified(path)
    word = "last"
    if run is not None and len(path.parts) == 1 and not path.exists():
        word = _canonical(path.name)
    elif path.name in (BEST_MODEL, FINAL) or not path.is_dir():
        run, word = _split(path)
    else:
        run = path.parent if path.name == CHECKPOINTS else path
    store = _store(run)
    if word == "best":
        best = _best_step(store)
        if best is not None:
            return _verified(store.path(best))
        raise MissingInputError(f"{run} no longer has the checkpoint of its best model; use last")
    found = _find(run, "last" if word == "final" else word, say)
    if found is None:
        raise MissingInputError(f"{run} has no checkpoint {path.name}: {_inventory(run)}")
    return found


def _path(name: str | Path) -> Path:
    """Return the path; one written on Windows may have backslashes."""
    path = expand_home(name)
    return path if path.exists() or "\\" not in str(name) else expand_home(str(name).replace("\\", "/"))


def _folder_of_file(path: Path) -> Path:
    if path.suffix in PICKLES:
        raise DataError(
            f"{path} is a pickle, which can run any code when it is loaded, so it is not opened: "
            "convert it to a folder with config.json and model.safetensors with the tool that wrote it"
        )
    if is_model(path.parent) and path.suffix in (".json", ".safetensors"):
        return _verified(path.parent)
    raise DataError(f"{path} is not a model: give a run, or a folder with config.json and model.safetensors")


def _split(path: Path) -> tuple[Path, str]:
    """Return the run and the canonical word for a path that does not exist. Raises MissingInputError."""
    run = path.parent
    if run.name == CHECKPOINTS and not is_run(run):
        run = run.parent
    if not is_run(run):
        hint = closest_beside(path)
        raise MissingInputError(f"there is no model at {path}: neither a folder nor a checkpoint of a run{hint}")
    return run, _canonical(path.name)


def _canonical(name: str) -> str:
    """Return best, final, last, step-N or epoch-N for any of the usual spellings of a checkpoint, else `name`."""
    stem = Path(name).stem if Path(name).suffix in _ENDINGS else name
    for word, spellings in _WORDS.items():
        if stem in spellings:
            return word
    if step := _STEP.fullmatch(stem):
        return f"step-{int(step[1] or step[2])}"
    if epoch := _EPOCH.fullmatch(stem):
        return f"epoch-{int(epoch[1])}"
    return name


def _find(run: Path, word: str, say: Say | None = None) -> Path | None:
    """Return the folder that a canonical word names in `run`, or None. Raises DataError for a damaged checkpoint."""
    if word in ("best", "final"):
        folder = run / (BEST_MODEL if word == "best" else FINAL)
        if not is_model(folder):  # the run may be replacing it at this moment
            folder = moved_aside(folder) or folder
        return _verified(folder) if is_model(folder) else None
    store = _store(run, say)
    if word == "last":
        return store.latest()
    kind, _, number = word.partition("-")
    if kind not in ("step", "epoch") or not number.isdigit():
        return None
    step = int(number) if kind == "step" else _step_of_epoch(run, int(number))
    return _verified(store.path(step)) if step is not None and step in store.steps() else None


def _verified(folder: Path) -> Path:
    """Return a folder of a checkpoint or a model. Raises DataError unless its files are as its manifest lists them.

    A model without a manifest is another tool's; files may be added to one that has a manifest.
    """
    if is_checkpoint(folder):
        if problems := manifest_problems(folder, checkpoint_step(folder)):
            raise DataError(f"the checkpoint {folder} is damaged: {'; '.join(problems)}")
    elif (folder / MANIFEST).exists() and (problems := manifest_problems(folder, more_allowed=True)):
        raise DataError(
            f"the model in {folder} is damaged: {'; '.join(problems)}. If you changed it yourself, delete {MANIFEST}"
        )
    return folder


def _store(run: Path, say: Say | None = None) -> CheckpointStore:
    return CheckpointStore(run / CHECKPOINTS, say=say or warnings.warn)


def _epochs_per_step(run: Path) -> float | None:
    """Return what share of an epoch one step is, as an undamaged checkpoint says, or None without one."""
    store = _store(run)
    for step in reversed(store.steps()):
        try:
            epoch = _state(store.path(step))["epoch"]
        except (DataError, KeyError):
            continue
        if isinstance(epoch, int | float) and 0 < epoch < _MOST_EPOCHS and 0 < step < 1e18:
            return epoch / step
    return None


def _step_of_epoch(run: Path, epoch: int) -> int | None:
    """Return the first step at which `epoch` epochs are complete."""
    share = _epochs_per_step(run)
    return math.ceil(epoch / share - 1e-6) if share is not None and epoch < _MOST_EPOCHS else None


def _best_step(store: CheckpointStore) -> int | None:
    """Return the step of the lowest validation loss, as the newest checkpoint records it, if its checkpoint is kept.

    Raises DataError if the newest checkpoint does not say it any more.
    """
    steps = store.steps()
    if not steps:
        return None
    folder = store.path(steps[-1])
    with report_damage(folder / STATE, "name another checkpoint, such as step-500"):
        best = _state(folder)["progress"]["best_step"]
    return best if best in steps else None


def _state(checkpoint: Path) -> dict[str, Any]:
    """Return the state of a checkpoint, without looking at its other files. Raises DataError if it is damaged."""
    if not (checkpoint / MANIFEST).is_file():
        problems = [f"{MANIFEST} is missing"]
    else:
        problems = listed_problems(checkpoint, [STATE])
    if problems:
        raise DataError(f"the checkpoint {checkpoint} is damaged: {'; '.join(problems)}")
    return read_json(checkpoint / STATE)


def _inventory(run: Path) -> str:
    """Return the list of models that a run has, for an error message."""
    share = _epochs_per_step(run)
    names = [name for name, folder in (("best", BEST_MODEL), ("final", FINAL)) if (run / folder).is_dir()]
    for step in _store(run).steps():
        names.append(f"step-{step}" + (f" (epoch {step * share:.2f})" if share else ""))
    return f"it has {', '.join(names)}" if names else "it has none yet"


def _pickle_hint(folder: Path) -> str:
    if any(entry.suffix in PICKLES for entry in folder.iterdir()):
        return "; files such as .pt and .bin are pickles, which can run code, and are not opened"
    return ""

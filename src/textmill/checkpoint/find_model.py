"""From the name of a model to its folder: a run, `RUN/best`, `RUN/step-500`, the file names of other tools."""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.manifest import manifest_problems
from textmill.checkpoint.recorded_best import best_step, read_state, recorded_best
from textmill.config.field_types import closest_beside
from textmill.console.command_line import program, quoted, resume_command
from textmill.errors import DataError, MissingInputError
from textmill.files import expand_home, moved_aside, without_manifest
from textmill.runs.layout import (
    BEST_MODEL,
    CHECKPOINTS,
    CONFIG,
    FINAL,
    MANIFEST,
    checkpoint_step,
    is_checkpoint,
    is_model,
    is_run,
)
from textmill.runs.recorded_files import config_changed

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
    written there (`RUN/checkpoints/checkpoint_epoch_3.pt`, `RUN/best.pt`, ...). Where best_model/ is lost, `best` is
    the checkpoint of the best step. Whatever textmill wrote is verified, however it is named. `say` is told what is
    used in place of a lost model, and which damaged checkpoints were skipped; without it, that is a warning.

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
            lost = recorded_best(_store(run)) if word == "best" else None
            why = f"{BEST_MODEL} is missing, and {lost.problem}; " if lost is not None else ""
            raise MissingInputError(f"{run} has no model {word!r}: {why}{_inventory(run)}")
        return found
    if is_model(path):
        return _verified(path)
    found = _find(path.parent, "last", say) if path.name == CHECKPOINTS else _model_of_run(path, say)
    if found is not None:
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
        steps = store.steps()
        best = best_step(store, steps[-1]) if steps else None
        if best in steps:
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
    if word == "final":
        return _model_folder(run / FINAL)
    if word == "best":
        return _model_folder(run / BEST_MODEL) or _checkpoint_of_best(run, say)
    if word == "last":
        return newest_checkpoint(run, say)
    store = _store(run, say)
    kind, _, number = word.partition("-")
    if kind not in ("step", "epoch") or not number.isdigit():
        return None
    step = int(number) if kind == "step" else _step_of_epoch(run, int(number))
    return _verified(store.path(step)) if step is not None and step in store.steps() else None


def _model_of_run(run: Path, say: Say | None) -> Path | None:
    """Return the best model of a run, else its final one, else its last checkpoint; say so if the best one is lost."""
    if (found := _find(run, "best", say)) is not None:
        return found
    lost = recorded_best(_store(run))
    if (found := _find(run, "final", say) or _find(run, "last", say)) is not None and lost is not None:
        (say or warnings.warn)(f"{run / BEST_MODEL} is missing, and {lost.problem}: {found} is used")
    return found


def _model_folder(folder: Path) -> Path | None:
    """Return best_model/ or final/, None if there is none. Raises DataError if it is damaged."""
    if not _is_left(folder):  # the run may be replacing it at this moment
        folder = moved_aside(folder) or folder
    return _verified(folder) if _is_left(folder) else None


def _is_left(folder: Path) -> bool:
    """Whether anything is left of a model that textmill wrote: without its config.json it is damaged, not missing."""
    return is_model(folder) or (folder / MANIFEST).is_file()


def _checkpoint_of_best(run: Path, say: Say | None) -> Path | None:
    """Return the checkpoint of the best step, which has the same model, and say that best_model/ is missing."""
    best = recorded_best(_store(run))
    if best is None or best.checkpoint is None:
        return None
    instead = f"the checkpoint of the best step, {best.checkpoint}, is used"
    (say or warnings.warn)(f"{run / BEST_MODEL} is missing: {instead}")
    return best.checkpoint


def newest_checkpoint(run: Path, say: Say | None = None) -> Path | None:
    """Return the newest undamaged checkpoint of a run, None if it has none at all.

    Raises DataError if all are damaged; the message names the command that makes use of a model that is not.
    """
    try:
        return _store(run, say).latest()
    except DataError as error:
        folders = (run / BEST_MODEL, run / FINAL)
        whole = next((one for one in folders if is_model(one) and not manifest_problems(one, more_allowed=True)), None)
        if whole is not None:
            unchanged = (run / CONFIG).is_file() and config_changed(run / CONFIG) is False
            settings = f"--config {quoted(run / CONFIG)} " if unchanged else "TEXT "
            model, output = quoted(whole), quoted(f"{run}-2")
            command = f"{program()} train {settings}--init-from {model} --output-dir {output}"
            error.args = (f"{error}. A new run can start from the undamaged model in {whole}: {command}",)
        raise


def _verified(folder: Path) -> Path:
    """Return a folder of a checkpoint or a model. Raises DataError unless its files are as its manifest lists them.

    A model without a manifest is another tool's; files may be added to one that has a manifest.
    """
    if is_checkpoint(folder):
        if problems := manifest_problems(folder, checkpoint_step(folder)):
            raise DataError(f"the checkpoint {folder} is damaged: {'; '.join(problems)}")
    elif (folder / MANIFEST).exists() and (problems := manifest_problems(folder, more_allowed=True)):
        raise DataError(f"the model in {folder} is damaged: {'; '.join(problems)}. {_ways_out(folder, problems)}")
    return folder


def _ways_out(folder: Path, problems: list[str]) -> str:
    """Return what to do about a damaged model: what else its run has, and how to load it all the same."""
    unchecked = without_manifest(problems)
    if folder.name not in (BEST_MODEL, FINAL):
        return unchecked
    run = folder.parent
    store = _store(run)
    newest = next((store.path(step) for step in reversed(store.steps()) if not store.verify(step)), None)
    best = recorded_best(store) if folder.name == BEST_MODEL else None
    same = newest if folder.name == FINAL else best.checkpoint if best is not None else None
    if same is not None:
        anew = f"{resume_command(run)} writes {folder.name} anew from it"
        return f"The checkpoint {same} has the same model; {anew}. {unchecked}"
    if newest is not None:
        return f"Another model of the run is {run / 'last'}, of the checkpoint {newest.name}. {unchecked}"
    return unchecked


def _store(run: Path, say: Say | None = None) -> CheckpointStore:
    return CheckpointStore(run / CHECKPOINTS, say=say or warnings.warn)


def _epochs_per_step(run: Path) -> float | None:
    """Return what share of an epoch one step is, as an undamaged checkpoint says, or None without one."""
    store = _store(run)
    for step in reversed(store.steps()):
        try:
            epoch = read_state(store.path(step))["epoch"]
        except (DataError, KeyError):
            continue
        if isinstance(epoch, int | float) and 0 < epoch < _MOST_EPOCHS and 0 < step < 1e18:
            return epoch / step
    return None


def _step_of_epoch(run: Path, epoch: int) -> int | None:
    """Return the first step at which `epoch` epochs are complete."""
    share = _epochs_per_step(run)
    return math.ceil(epoch / share - 1e-6) if share is not None and epoch < _MOST_EPOCHS else None


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

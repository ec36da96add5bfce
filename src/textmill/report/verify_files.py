"""Check that the files of a run are as they were written: reads every byte of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.config import load_config
from textmill.config.field_types import closest_beside
from textmill.console.command_line import resume_command
from textmill.data.sources.one_time_texts import was_kept
from textmill.data.store.corpus import corpus_problems, open_corpus
from textmill.data.store.corpus_files import remedy
from textmill.errors import ConfigError, DataError, MissingInputError
from textmill.files import moved_aside, parse_json, read_bytes, read_json, read_rows
from textmill.report.run_record import Record
from textmill.runs import layout
from textmill.runs.recorded_files import changed_files, config_changed, has_own_hash
from textmill.tokenizers import load_tokenizer


@dataclass(frozen=True)
class Finding:
    """The state of one part. `problems` is empty when it is intact. absent: it is missing, which is allowed.

    note: what follows from its absence.
    """

    name: str
    problems: list[str]
    absent: bool = False
    note: str = ""


def verify(folder: Path) -> Iterator[Finding]:
    """Yield a finding for each part of the run, the prepared corpus, the checkpoint or the model in `folder`.

    Raises MissingInputError when `folder` is none of these.
    """
    kind = layout.folder_kind(folder)
    if kind == "corpus":
        yield _corpus(folder, None)
    elif kind == "checkpoint":
        yield _checkpoint(CheckpointStore(folder.parent, say=_nothing), folder)
    elif kind == "model":
        yield _guarded(folder.name, _model, folder)
    elif kind == "run":
        yield from _run(Record(folder))
    else:
        hint = closest_beside(folder)
        raise MissingInputError(f"{folder} is not a run, a checkpoint, a model or a prepared corpus{hint}")


def _run(record: Record) -> Iterator[Finding]:
    folder = record.folder
    identity = record.environment.get("identity", {})
    store = CheckpointStore(folder / layout.CHECKPOINTS, say=_nothing)
    changed = dict(changed_files(folder, record.recorded_files))
    yield _guarded(layout.CONFIG, _config, folder / layout.CONFIG, store)
    yield _guarded(layout.STATUS, _status, folder / layout.STATUS)
    yield _guarded(layout.ENVIRONMENT, _description, folder / layout.ENVIRONMENT, changed.pop(layout.ENVIRONMENT, None))
    changed.pop(layout.CONFIG, None)  # which has a hash of its own
    for step in store.steps():
        yield _checkpoint(store, store.path(step))
    for name in (layout.BEST_MODEL, layout.FINAL):
        if (folder / name).exists():
            yield _guarded(name, _model, folder / name, identity.get("model"))
        elif name == layout.BEST_MODEL:
            yield from _lost_best_model(record, store)
    for name in (layout.METRICS, layout.STEPS, layout.SAMPLES):
        if (folder / name).exists():
            yield _guarded(name, _log, folder / name, changed.pop(name, None))
    if identity.get("tokenizer"):
        yield _guarded("tokenizer", _tokenizer, folder / layout.TOKENIZER, identity["tokenizer"], changed)
    for name, problem in changed.items():
        yield Finding(name, [f"{folder / name} {problem}"])
    store_folder = record.environment.get("store")
    if store_folder:
        yield _corpus(Path(store_folder), identity.get("data"), lost=any(map(was_kept, _texts(record))))


def _lost_best_model(record: Record, store: CheckpointStore) -> Iterator[Finding]:
    """Yield a finding if best_model/ is missing, though the run recorded a best step; none while it is replaced."""
    from textmill.checkpoint.recorded_best import recorded_best

    folder, best = record.folder / layout.BEST_MODEL, recorded_best(store)
    if best is None or moved_aside(folder) is not None:
        return
    if best.checkpoint is None:
        yield Finding(folder.name, [f"{folder} is missing, and {best.problem}"])
        return
    newest = store.path(store.steps()[-1])
    if best.checkpoint == newest and record.state in ("running", "killed"):  # the moment between the two
        yield Finding(folder.name, [], absent=True, note=f"not made yet from {newest.name}, the newest checkpoint")
        return
    same = f"the checkpoint of the best step, {best.checkpoint}, has the same model"
    yield Finding(folder.name, [f"{folder} is missing: {same}; {resume_command(record.folder)} writes it anew"])


def _texts(record: Record) -> list[str]:
    """Return what the run was trained and measured on, as its config.yaml lists it."""
    lists = [record.values.get(name) for name in ("data", "val_data")]
    return [item for one in lists if isinstance(one, list) for item in one if isinstance(item, str)]


def _guarded(name: str, look: Callable[..., object], *arguments: Any) -> Finding:
    """Return the finding of `look`, which raises DataError, MissingInputError, OSError or ValueError for a problem."""
    try:
        look(*arguments)
    except (DataError, MissingInputError, OSError, ValueError) as error:
        return Finding(name, [str(error)])
    return Finding(name, [])


def _checkpoint(store: CheckpointStore, folder: Path) -> Finding:
    return Finding(f"{layout.CHECKPOINTS}/{folder.name}", store.verify(folder))


def _model(folder: Path, own: str | None = None) -> None:
    """Read the weights.

    own: the class of a model that was given from Python, of which textmill knows nothing more.

    Raises DataError when they are not finite, do not fit the configuration beside them, or have changed.
    """
    from textmill.checkpoint.find_model import resolve_model
    from textmill.checkpoint.model_folder import load_model, refuse_damaged_weights
    from textmill.checkpoint.sharded_tensors import load_sharded

    resolve_model(folder)
    if read_json(folder / layout.MODEL_CONFIG).get("model_type") == "unknown" or own is not None:
        refuse_damaged_weights(load_sharded(folder, layout.MODEL_WEIGHTS), folder)
    else:
        load_model(folder)


def _config(path: Path, store: CheckpointStore) -> None:
    """Raise DataError unless config.yaml is what the run wrote; name the settings that the newest checkpoint has."""
    from textmill.checkpoint.saved_settings import differences, settings_in

    try:
        written, changed = load_config(path), config_changed(path)
    except ConfigError as error:
        raise DataError(f"{path} is damaged or was changed, and cannot be read ({error})") from error
    newest = next((store.path(step) for step in reversed(store.steps()) if not store.verify(step)), None)
    saved = settings_in(newest, path) if newest is not None else None
    if changed or (changed is None and saved is not None):
        names = list(differences(saved, written)) if saved is not None else []
        verb = "differs" if len(names) == 1 else "differ"
        differing = f": {', '.join(names)} {verb} from the newest checkpoint" if names else ""
        raise DataError(f"{path} has changed since the run wrote it{differing}")


def _status(path: Path) -> None:
    if has_own_hash(read_json(path)) is False:
        raise DataError(f"{path} has changed since the run wrote it (its SHA-256 differs)")


def _description(path: Path, changed: str | None) -> None:
    parse_json(read_bytes(path))
    if changed is not None:
        raise DataError(f"{path} {changed}")


def _log(path: Path, changed: str | None) -> None:
    """Raise DataError for a line that is not a row, or a log that has changed since the run ended."""
    for _ in read_rows(path):
        pass
    if changed is not None:
        raise DataError(f"{path} {changed}")


def _tokenizer(folder: Path, fingerprint: str, changed: dict[str, str]) -> None:
    """Raise DataError unless it is the run's; take the files of the tokenizer out of `changed`."""
    names = [name for name in changed if name.startswith(f"{layout.TOKENIZER}/")]
    problems = [f"{folder.parent / name} {changed.pop(name)}" for name in names]
    if load_tokenizer(folder).fingerprint != fingerprint:
        problems.append(f"{folder} is not the tokenizer that the run was trained with (the fingerprints differ)")
    if problems:
        raise DataError("; ".join(problems))


def _corpus(folder: Path, fingerprint: str | None, *, lost: bool = False) -> Finding:
    """Check every file against its hash, and the ids against those that the run was trained on.

    lost: the text, which a program or a pipe gave once, is gone.
    """
    name = f"token store {folder}"
    if not folder.is_dir():
        again = (
            "its text, which a program or a pipe gave once, is gone too; give it again to resume or evaluate the run"
        )
        return Finding(name, [], absent=True, note=again if lost else "prepared again when it is needed")

    def look() -> None:
        if problems := corpus_problems(folder):
            raise DataError(f"{'; '.join(problems)}: {remedy(folder)}")
        if fingerprint not in (None, open_corpus(folder).fingerprint):
            raise DataError(f"{folder} contains other data than the run was trained on (the fingerprints differ)")

    return _guarded(name, look)


def _nothing(sentence: str) -> None:
    """Say nothing: damage is a finding here."""

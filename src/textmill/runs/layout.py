"""The names of the files that textmill writes, and what a folder is: a run, a checkpoint, a model, a prepared corpus.

OUT/config.yaml, environment.json, status.json, run.lock    what the run is, and how it stands
OUT/metrics.jsonl, steps.jsonl, samples.jsonl, train.log    what it measured and printed
OUT/tokenizer/, logs/, training_curves.png, report.html
OUT/checkpoints/step-0000500/                               a model, and the state of its training
OUT/best_model/, final/                                     models
"""

import os
import re
from pathlib import Path
from typing import Literal

from textmill.config.config_files import CONFIG_FILE
from textmill.files.manifest import MANIFEST

CONFIG = CONFIG_FILE
STATUS = "status.json"
ENVIRONMENT = "environment.json"
LOCK = "run.lock"

METRICS, STEPS, SAMPLES = "metrics.jsonl", "steps.jsonl", "samples.jsonl"
"""The run's tables: one row per evaluation, per logged step, per sample."""

TRAIN_LOG = "train.log"
TOKENIZER = "tokenizer"
TENSORBOARD = "logs"
CURVES = "training_curves.png"
REPORT = "report.html"

CHECKPOINTS, BEST_MODEL, FINAL = "checkpoints", "best_model", "final"
"""The folders of a run that contain models."""

MODEL_CONFIG, MODEL_WEIGHTS = "config.json", "model"
"""A model's configuration, and how the names of the files with its weights begin."""

STATE, OPTIMIZER = "state.json", "optimizer"
"""What a checkpoint has besides its model and MANIFEST; OPTIMIZER is how the names of the optimizer's files begin."""

PREPARED, CORPUS_REPORT = "prepared.json", "REPORT.md"
"""A prepared corpus: its description, and the page about what was left out of it."""

TOKENS = "shards.json"
"""The description of the token ids of one side of a prepared corpus, which the folder of that side contains."""

FURTHER = "further"
"""Folder, in a prepared corpus, of the further validation sets, each under its name."""

RUN_MARKERS = (CONFIG, STATUS, CHECKPOINTS, FINAL, BEST_MODEL)
"""Files and folders by which a run is recognized, even one that has lost the others. CONFIG is the first to be written,
after all else that resuming needs: a start that was killed before left no run.
"""

RUN_FILES = (*RUN_MARKERS, ENVIRONMENT, METRICS, STEPS, SAMPLES, TRAIN_LOG, TOKENIZER, TENSORBOARD, CURVES, REPORT)
"""All that a run writes; `--overwrite` deletes these and nothing else."""

FolderKind = Literal["run", "checkpoint", "model", "corpus"]

_CHECKPOINT = re.compile(r"step-(\d{7,})")


def folder_kind(folder: Path) -> FolderKind | None:
    """Return what `folder` is, or None when it is nothing that textmill writes or reads as a whole.

    A checkpoint, which is also a model, is a "checkpoint". Only names are looked at: the content may be damaged.
    """
    if is_prepared(folder):
        return "corpus"
    if is_checkpoint(folder):
        return "checkpoint"
    if is_model(folder):
        return "model"
    return "run" if is_run(folder) else None


def is_prepared(folder: Path) -> bool:
    """Whether `folder` is a prepared corpus."""
    return os.path.isfile(folder / PREPARED)  # noqa: PTH113 (pathlib raises for a name that is too long)


def is_checkpoint(folder: Path) -> bool:
    """Whether `folder` is a checkpoint, perhaps with files missing.

    A data set saved by Hugging Face has a state.json too, but no model; final/, best_model/ and a tokenizer alone have
    a manifest too.
    """
    if is_model(folder):
        return (folder / STATE).is_file() or ((folder / MANIFEST).is_file() and checkpoint_step(folder) is not None)
    is_tokenizer = (folder / "tokenizer.json").is_file() and not (folder / STATE).is_file()
    return (folder / MANIFEST).is_file() and (checkpoint_step(folder) is not None or not is_tokenizer)


def is_model(folder: Path) -> bool:
    """Whether `folder` is a model in the form of Hugging Face; a checkpoint is one."""
    return (folder / MODEL_CONFIG).is_file()


def is_run(folder: Path) -> bool:
    """Whether `folder` contains anything that a run writes, so that writing another run there would mix the two."""
    return any((folder / name).exists() for name in RUN_MARKERS)


def is_clearly_run(folder: Path) -> bool:
    """Whether `folder` is a run beyond doubt: people's own folders may well be called `final` or `checkpoints`."""
    return (folder / CONFIG).is_file() and any((folder / name).exists() for name in RUN_MARKERS if name != CONFIG)


def run_of(model: Path) -> Path | None:
    """Return the run to which a model's folder belongs, or None when it stands alone.

    A run that has lost its config.yaml is recognized by its checkpoints, which contain the settings too.
    """

    def recognized(folder: Path) -> bool:
        return (folder / CONFIG).is_file() or any(map(checkpoint_of_run, (folder / CHECKPOINTS).glob("step-*")))

    def checkpoint_of_run(folder: Path) -> bool:
        return checkpoint_step(folder) is not None and (folder / STATE).is_file()

    return next((folder for folder in list(model.absolute().parents)[:2] if recognized(folder)), None)


def checkpoint_name(step: int) -> str:
    """Return the name of the folder that contains the checkpoint of `step`."""
    return f"step-{step:07d}"


def checkpoint_step(folder: Path) -> int | None:
    """Return the step of a checkpoint's folder, by its name; None when it is not called as one."""
    match = _CHECKPOINT.fullmatch(folder.name)
    return int(match[1]) if match else None

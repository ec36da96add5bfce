"""best_model/ and final/: the part of a checkpoint that other tools load, under a fixed name."""

from pathlib import Path

from textmill.checkpoint.manifest import list_files, write_manifest
from textmill.files import link_or_copy, new_directory, read_manifest
from textmill.runs.layout import MANIFEST, OPTIMIZER, STATE, checkpoint_step

TRAINING_ONLY = (f"{OPTIMIZER}.", f"{OPTIMIZER}-", STATE, MANIFEST)
"""How the names of the checkpoint's files begin that a model folder does not need."""


def is_linked(source_checkpoint: Path, target: Path) -> bool:
    """Whether `target` is the model of the checkpoint already, by the hashes that the manifests of the two list.

    Then it stays: the files of the checkpoint may have been damaged since.
    """
    try:
        source, listed = read_manifest(source_checkpoint)["files"], read_manifest(target)["files"]
    except (OSError, ValueError):
        return False
    return bool(listed) and listed.items() <= source.items()


def link_model(source_checkpoint: Path, target: Path) -> None:
    """Make `target` a durable folder of the files of `source_checkpoint`, all but TRAINING_ONLY, and their manifest.

    Large files are hard links where the file system supports them: they cost no space and outlive the checkpoint.
    `target` is replaced as a whole; a process that dies at any moment leaves the old folder or the new one, perhaps
    under a temporary name from which `files.remove_temporaries` on the parent moves it back. Raises CannotWriteError
    when `target` cannot be written; it is then unchanged.
    """
    try:
        source = read_manifest(source_checkpoint)
    except (OSError, ValueError):  # damaged: what the files are now is all that can be listed
        source = {"step": checkpoint_step(source_checkpoint), "files": {}}
    names = [name for name in list_files(source_checkpoint) if not name.startswith(TRAINING_ONLY)]
    with new_directory(target) as temporary:
        for name in names:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source_checkpoint / name, temporary / name)
        listed = {name: source["files"][name] for name in names if name in source["files"]}
        write_manifest(temporary, source["step"], listed)

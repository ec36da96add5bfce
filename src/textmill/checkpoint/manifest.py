"""The manifest of a checkpoint or of a model taken from one: what its files must be, to the byte.

MANIFEST.json lists every other file with its size and SHA-256 and contains the hash of its own content, so a flipped
bit anywhere in the folder, the manifest included, is noticed before a weight is used.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from textmill.files import (
    cannot_read,
    disk_is_lost,
    file_entry,
    file_problem,
    fsync_file,
    is_still_open,
    read_manifest,
    render_manifest,
    walk,
)
from textmill.runs.layout import MANIFEST

_THREADS = 4  # hashing releases the interpreter lock and overlaps with flushing to the disk


def fsync_and_hash(path: Path) -> dict[str, Any]:
    """Flush the file to the disk; return its size and SHA-256, as the manifest lists them. Raises OSError."""
    entry = file_entry(path)
    fsync_file(path)
    return entry


def write_manifest(folder: Path, step: int, listed: Mapping[str, dict[str, Any]] | None = None) -> None:
    """Flush every file below `folder` to the disk and list it in `folder/MANIFEST.json`. Raises OSError.

    listed: what `fsync_and_hash` returned for files of other processes, by name; they are not read again.
    """
    entries = dict(listed or {})
    names = [name for name in list_files(folder) if name not in entries]
    with ThreadPoolExecutor(_THREADS) as pool:
        entries |= zip(names, pool.map(fsync_and_hash, [folder / name for name in names]))
    with (folder / MANIFEST).open("wb") as file:
        file.write(render_manifest(step, entries))


def manifest_problems(folder: Path, step: int | None = None, *, more_allowed: bool = False) -> list[str]:
    """Return what is wrong with the files in `folder`, one phrase per file; an empty list means that they are complete
    and unchanged. Raises WriteFailedError if the file system is gone: the files may be whole.

    step: the step that the manifest must be written for, if given: a renamed folder is an error.
    more_allowed: files that the manifest does not list are no problem, and links to files are followed, of which the
        cache of the Hugging Face hub is made.
    """
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        return [f"{MANIFEST} is missing"]
    except OSError as error:
        if disk_is_lost(error):
            raise cannot_read(folder / MANIFEST, error) from error
        return [f"{MANIFEST} cannot be read ({error.strerror or error})"]
    except ValueError as error:
        return [f"{MANIFEST} is damaged ({error})"]
    if step is not None and manifest["step"] != step:
        return [f"{MANIFEST} belongs to step {manifest['step']}"]
    listed: dict[str, dict[str, Any]] = manifest["files"]
    try:
        present = set(list_files(folder))
    except OSError as error:
        if disk_is_lost(error):
            raise cannot_read(folder, error) from error
        return [f"{folder.name} cannot be listed ({error.strerror or error})"]
    problems = [f"{name} is missing" for name in listed if name not in present]
    if not more_allowed:
        problems += [f"{name} is not in the manifest" for name in sorted(present - listed.keys())]
    common = [name for name in listed if name in present]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda name: _problem(folder / name, listed[name], follow=more_allowed), common)
        problems += [f"{name} {problem}" for name, problem in zip(common, found) if problem]
    return problems


def list_files(folder: Path) -> list[str]:
    """Return the relative paths of everything below `folder` that is not a directory, sorted.

    The manifest is left out, and what NFS keeps of deleted files that are still open. Raises OSError.
    """
    found = (parent / name for parent, names in walk(folder) for name in names)
    paths = (path for path in found if not is_still_open(path))
    return sorted(name for name in (path.relative_to(folder).as_posix() for path in paths) if name != MANIFEST)


def _problem(path: Path, entry: dict[str, Any], *, follow: bool) -> str | None:
    return "is not a regular file" if path.is_symlink() and not follow else file_problem(path, entry)

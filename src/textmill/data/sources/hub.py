"""Hugging Face datasets: from the hub, from a local dataset folder, and as `save_to_disk` writes them.

In every case the library `datasets` finds, downloads and converts, and a dataset becomes a list of Arrow files on disk,
read like any other corpus.
"""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from textmill.errors import ConfigError, DataError, MissingInputError, listed, one_line
from textmill.files import expand_home, parse_json, read_bytes
from textmill.hub_access import hub_client
from textmill.imports import optional

HUB_PREFIX = "hf:"

DEFAULT_VALIDATION = "validation"


def dataset_item(name: str, config: str | None = None) -> str:
    """Return how `data` names a dataset: `hf:NAME`, or `hf:NAME:CONFIG`."""
    return f"{HUB_PREFIX}{name}" + (f":{config}" if config else "")


def is_dataset(item: str | Path) -> bool:
    """Whether `item` names a dataset, not files: `hf:NAME`, or a folder that `save_to_disk` wrote."""
    return str(item).startswith(HUB_PREFIX) or is_saved(expand_home(item))


def is_saved(folder: Path) -> bool:
    """Whether `folder` was written by a dataset's `save_to_disk`."""
    # os.path, because pathlib raises for a name that is too long
    names = ("dataset_dict.json", "state.json", "dataset_info.json")
    whole, state, about = (os.path.isfile(folder / name) for name in names)  # noqa: PTH113
    return whole or (state and about)


def split_files(item: str | Path, split: str) -> list[Path]:
    """Return the Arrow files of one split of the dataset `item`; fetch it if necessary.

    `hf:NAME`, `hf:NAME/CONFIG` and `hf:NAME:CONFIG` name datasets of the hub, or a local folder of Parquet, JSON or CSV
    files in the layout of the hub. Raises ConfigError for an unknown split or configuration, MissingInputError for an
    unknown dataset and without network, MissingExtraError without the library `datasets`.
    """
    splits = dataset_splits(item)
    if split not in splits:
        raise ConfigError(f"{item} has no split {split!r}, it has {listed(splits)}: name one of them")
    return splits[split]


def dataset_splits(item: str | Path) -> dict[str, list[Path]]:
    """Return the Arrow files of every split of the dataset `item`; see `split_files`."""
    named = str(item).removeprefix(HUB_PREFIX)
    if is_saved(local := expand_home(named)):
        return _saved_splits(local)
    return {split: _files(dataset, item, split) for split, dataset in _load(named).items()}


def _load(named: str) -> Any:
    """Return the DatasetDict of `NAME`, `NAME:CONFIG` or `NAME/CONFIG`, by the library `datasets`."""
    datasets = optional("datasets", f"the dataset {HUB_PREFIX}{named}")
    missing = Exception()
    for name, config in _readings(named):
        fetched = Path(datasets.config.HF_DATASETS_CACHE).glob(f"*{name.replace('/', '___')}*")
        known = Path(name).is_dir() or any(fetched)  # then the library needs no hub
        try:
            with nullcontext() if known else hub_client(datasets.config.HF_ENDPOINT):
                return datasets.load_dataset(name, config)
        except datasets.exceptions.DatasetNotFoundError as error:
            missing = error
        except (ConnectionError, TimeoutError) as error:
            raise MissingInputError(
                f"cannot fetch the dataset {HUB_PREFIX}{named} ({one_line(error)}): check the network, or give local "
                f"files, or a folder as {HUB_PREFIX}FOLDER"
            ) from error
        except Exception as error:  # the library's builders share no error class
            text = one_line(error)
            if "config name is missing" in text.lower() or "BuilderConfig" in text:
                how = f"write it as {HUB_PREFIX}{named.split(':')[0]}:CONFIG"
                raise ConfigError(f"{HUB_PREFIX}{named}: {text}; {how}") from error
            raise DataError(f"{HUB_PREFIX}{named} cannot be used: {text}") from error
    raise MissingInputError(f"there is no dataset {HUB_PREFIX}{named}: {one_line(missing)}") from missing


def _readings(named: str) -> list[tuple[str, str | None]]:
    """Return what (name, configuration) `named` may mean, most likely first: `a/b` is owner/name, else name/config."""
    if ":" in named:
        name, _, config = named.partition(":")
        return [(name, config)]
    path = expand_home(named)
    if path.is_dir():
        return [(str(path), None)]
    if path.parent.is_dir() and path.is_absolute():
        return [(str(path.parent), path.name)]
    parts = named.split("/")
    if len(parts) == 3:
        return [("/".join(parts[:2]), parts[2])]
    return [(named, None), (parts[0], parts[1])] if len(parts) == 2 else [(named, None)]


def _files(dataset: Any, item: str | Path, split: str) -> list[Path]:
    files = [Path(entry["filename"]) for entry in dataset.cache_files]
    if not files:
        raise DataError(f"{item}: the split {split!r} is not stored in files: save it as .parquet and give that file")
    return files


def _saved_splits(folder: Path) -> dict[str, list[Path]]:
    """Return the splits that `save_to_disk` wrote; a single dataset is the split "train"."""
    listing = folder / "dataset_dict.json"
    try:
        if not listing.is_file():
            return {"train": _saved_files(folder)}
        return {split: _saved_files(folder / split) for split in parse_json(read_bytes(listing))["splits"]}
    except OSError as error:
        raise MissingInputError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} is a damaged dataset: save it again with save_to_disk") from error


def _saved_files(folder: Path) -> list[Path]:
    state = parse_json(read_bytes(folder / "state.json"))
    return [folder / Path(entry["filename"]).name for entry in state["_data_files"]]

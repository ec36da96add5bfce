"""Which files train and which validate, from what people write as `data` and `val_data`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from textmill.data.hub import DEFAULT_VALIDATION, HUB_PREFIX, dataset_item, dataset_splits, is_dataset
from textmill.data.named import CORPORA, is_named
from textmill.data.sources import default_corpus, list_files
from textmill.data.standard_input import STANDARD_INPUT
from textmill.errors import ConfigError

Paths = Sequence[str | Path] | str | Path
Say = Callable[[str], None]

_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.+)")


@dataclass(frozen=True)
class Files:
    """The files of a corpus.

    Attributes:
        train: the files to learn from.
        validation: the files to measure on; None means: split some text off `train`.
        further: more sets to measure on, by name, each by itself.
        main: the name of `validation`, where it has one.
        sources: what people should read as the origin of the text.
    """

    train: Sequence[Path]
    validation: Sequence[Path] | None = None
    further: dict[str, Sequence[Path]] = field(default_factory=dict)
    main: str | None = None
    sources: list[str] = field(default_factory=list)

    def every(self) -> list[Path]:
        """Return all files, training files first."""
        return [*self.train, *(self.validation or []), *(path for paths in self.further.values() for path in paths)]


def select_files(
    data: Paths | None,
    val_data: Paths | None = None,
    *,
    dataset_split: str = "train",
    validation_split: str | None = DEFAULT_VALIDATION,
    cache_dir: str | Path | None = None,
    say: Say = lambda sentence: None,
) -> Files:
    """Return the files that `data` and `val_data` name; see `list_files` for what an item may be.

    Validation files may come as several named sets, `news=news.txt`; the first set is the main one. Where the data are
    datasets or named corpora with a split for validation, and no `val_data` is given, that split validates. Raises what
    `list_files` raises.
    """
    if data is None:
        train, sources = default_corpus(), []
    else:
        items = [data] if isinstance(data, str | Path) else list(data)
        train = list_files(items, say, split=dataset_split, cache_dir=cache_dir)
        sources = [str(item) for item in items] if any(_has_splits(item) for item in items) else []
    sources = sources or [str(path.absolute()) for path in train]
    if not val_data:
        validation = _split_of_datasets(data, dataset_split, validation_split, cache_dir, say)
        return Files(train, validation, sources=sources)
    sets: dict[str, list[str | Path]] = {}
    for item in [val_data] if isinstance(val_data, str | Path) else val_data:
        name, path = named_set(item)
        sets.setdefault(name, []).append(path)
    split = validation_split or DEFAULT_VALIDATION
    found = {name: list_files(items, say, split=split, cache_dir=cache_dir) for name, items in sets.items()}
    main = next(iter(found))
    return Files(train, found.pop(main), dict(found), main or None, sources)


def named_set(item: str | Path) -> tuple[str, str | Path]:
    """Return the name and the files of one item of `val_data`: `news=news.txt`, or a plain path, whose name is "".

    A file that is really called so is a plain path.
    """
    match = _NAMED.fullmatch(str(item))
    if match is None or Path(item).exists():
        return "", item
    return match[1], match[2]


def data_or_dataset(
    data: Sequence[str] | None, dataset_name: str | None, dataset_config: str | None
) -> Sequence[str] | None:
    """Return `data`, or the dataset of that name and configuration as an item of `data`."""
    return data if dataset_name is None else [dataset_item(dataset_name, dataset_config)]


def absolute(item: str) -> str:
    """Return the item so that it means the same from every folder; datasets, names and standard input as they are."""
    name, path = named_set(item)
    if str(path).startswith(HUB_PREFIX):
        local = Path(str(path).removeprefix(HUB_PREFIX)).expanduser()
        path = f"{HUB_PREFIX}{local.absolute()}" if local.is_dir() else path
    elif not is_named(path) and str(path) != STANDARD_INPUT:
        path = Path(path).expanduser().absolute()
    return f"{name}={path}" if name else str(path)


def _has_splits(item: str | Path) -> bool:
    return is_dataset(item) or is_named(item)


def _split_of_datasets(
    data: Paths | None, dataset_split: str, validation_split: str | None, cache_dir: str | Path | None, say: Say
) -> list[Path] | None:
    """Return the files of the validation splits of `data`, None where it has none."""
    items = [] if data is None else [data] if isinstance(data, str | Path) else list(data)
    if not items or validation_split is None or not all(_has_splits(item) for item in items):
        return None
    if validation_split == dataset_split:
        raise ConfigError(f"dataset_split and validation_split are both {dataset_split!r}: validate on another split")
    without = []
    for item in items:
        if is_named(item):
            if CORPORA[str(item)].validation is None:
                without.append(item)
        elif validation_split not in (splits := dataset_splits(item)):
            if validation_split != DEFAULT_VALIDATION:
                names = ", ".join(map(repr, splits))
                raise ConfigError(f"{item} has no split {validation_split!r}, it has {names}: name one of them")
            without.append(item)
    if without:
        if is_dataset(without[0]):
            say(f"{without[0]} has no split called {validation_split}: a share of its text validates")
        return None
    return list_files(items, say, split=validation_split, cache_dir=cache_dir)

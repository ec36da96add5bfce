"""Decide which files train and which validate, from what is given as `data` and `val_data`."""

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from textmill.data.sources.file_listing import Listing, default_corpus, find_files, list_files
from textmill.data.sources.file_lists import LIST_PREFIX, is_list, list_of
from textmill.data.sources.file_rules import FileRules, FolderSearch
from textmill.data.sources.hub import DEFAULT_VALIDATION, HUB_PREFIX, dataset_item, dataset_splits, is_dataset
from textmill.data.sources.named_corpora import is_named, named_corpora
from textmill.data.sources.one_time_texts import is_given_once
from textmill.data.sources.skipped_files import SkippedFiles
from textmill.errors import ConfigError, listed
from textmill.files import expand_home

Paths = Sequence[str | Path] | str | Path
Say = Callable[[str], None]

_WEIGHTED = re.compile(r"(.+)=([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)", re.DOTALL)
_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.+)")


@dataclass(frozen=True)
class Files:
    """The files of a corpus.

    Attributes:
        train: the files to learn from.
        validation: the files to measure on; None means: split some text off `train`.
        further: more sets to measure on, by name, each by itself.
        main: the name of `validation`, where it has one.
        sources: the origin of the text, for people.
        weights: name, weight and number of files of each corpus of a mixture, in the order of `train`.
        within: those of all these files that a folder or a pattern contains, and nobody named.
        skipped: what else these contain, by reason.
    """

    train: Sequence[Path]
    validation: Sequence[Path] | None = None
    further: dict[str, Sequence[Path]] = field(default_factory=dict)
    main: str | None = None
    sources: list[str] = field(default_factory=list)
    weights: list[tuple[str, float, int]] = field(default_factory=list)
    within: set[Path] = field(default_factory=set)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)

    def every(self) -> list[Path]:
        """Return all files, training files first."""
        return [*self.train, *(self.validation or []), *(path for paths in self.further.values() for path in paths)]

    def corpus_of(self, number: int) -> int:
        """Return the number of the corpus of a mixture that the training file of that number is from."""
        return bisect_right(self._ends_of_corpora, number)

    @cached_property
    def _ends_of_corpora(self) -> list[int]:
        return list(accumulate(count for *_, count in self.weights))


def select_files(
    data: Paths | None,
    val_data: Paths | None = None,
    *,
    dataset_split: str = "train",
    validation_split: str | None = DEFAULT_VALIDATION,
    cache_dir: str | Path | None = None,
    rules: FileRules | None = None,
    say: Say = lambda sentence: None,
) -> Files:
    """Return the files that `data` and `val_data` name; see `list_files` for what an item may be.

    An item of `data` may have a weight, `book.txt=0.7`; then all of them have. Validation files may come as several
    named sets, `news=news.txt`; the first set is the main one. `rules` say what is read of
    folders and patterns. Datasets and named corpora with a validation split are
    validated on it, if no `val_data` is given. Raises ConfigError for an item with a weight and no file of its own, and
    what `list_files` and `weighted_items` raise.
    """
    items, weights = weighted_items(data)
    within, search = set[Path](), FolderSearch(rules or FileRules())

    def find(items: Paths, split: str) -> Listing:
        nonlocal within
        listing = find_files(items, search, say, split=split, cache_dir=cache_dir)
        within |= listing.within
        return listing

    found = Listing(default_corpus()) if items is None else find(items, dataset_split)
    train = found.paths
    speaking = bool(weights) or any(_has_splits(item) for item in items or ())
    sources = [str(item) for item in items or ()] if speaking else [str(path.absolute()) for path in train]
    mixed = [(str(item), weight, count) for item, weight, count in zip(items or (), weights, found.counts)]
    for item, _, count in mixed:
        if not count:
            raise ConfigError(f"data: {item} has a weight, and all its files belong to an earlier item: leave it out")
    validation, held_out, main = None, dict[str, list[Path]](), None
    if not val_data:
        validation = _split_of_datasets(items, dataset_split, validation_split, cache_dir, say)
    else:
        sets: dict[str, list[str | Path]] = {}
        for item in [val_data] if isinstance(val_data, str | Path) else val_data:
            name, path = named_set(item)
            sets.setdefault(name, []).append(path)
        split = validation_split or DEFAULT_VALIDATION
        held_out = {name: find(items, split).paths for name, items in sets.items()}
        main = next(iter(held_out))
        validation = held_out.pop(main)
    for sentence in search.sentences():
        say(sentence)
    return Files(train, validation, dict(held_out), main or None, sources, mixed, within, search.skipped)


def weighted_items(data: Paths | None) -> tuple[list[str | Path] | None, list[float]]:
    """Return the items of `data` without their weights, and the weights; none where no item has one.

    Raises ConfigError when only some items have a weight, or one is not above zero.
    """
    if data is None:
        return None, []
    pairs = [_weighted(item) for item in ([data] if isinstance(data, str | Path) else data)]
    weights = [weight for _, weight in pairs if weight is not None]
    if weights and len(weights) < len(pairs):
        plain = next(item for item, weight in pairs if weight is None)
        raise ConfigError(f"data: {plain} has no weight, but others have: write it as {plain}=0.5")
    if any(weight <= 0 for weight in weights):
        raise ConfigError("data: a weight must be above zero: to leave a text out, do not name it")
    return [item for item, _ in pairs], weights


def _weighted(item: str | Path) -> tuple[str | Path, float | None]:
    match = _WEIGHTED.fullmatch(str(item))
    if match is None or os.path.exists(item):  # noqa: PTH110 (pathlib raises for a name that is too long)
        return item, None
    return match[1], float(match[2])


def named_set(item: str | Path) -> tuple[str, str | Path]:
    """Return the name and the files of one item of `val_data`: `news=news.txt`, or a plain path, whose name is "".

    A file that is really called so is a plain path.
    """
    match = _NAMED.fullmatch(str(item))
    if match is None or os.path.exists(item):  # noqa: PTH110
        return "", item
    return match[1], match[2]


def data_or_dataset(
    data: Sequence[str] | None, dataset_name: str | None, dataset_config: str | None
) -> Sequence[str] | None:
    """Return `data`, or the dataset of that name and configuration as an item of `data`."""
    return data if dataset_name is None else [dataset_item(dataset_name, dataset_config)]


def absolute_data(item: str) -> str:
    """Return an item of `data` that means the same in every folder, with its weight."""
    path, weight = _weighted(item)
    return absolute(path) if weight is None else f"{absolute(path)}={weight:g}"


def absolute_set(item: str) -> str:
    """Return an item of `val_data` that means the same in every folder, with its name."""
    name, path = named_set(item)
    return f"{name}={absolute(path)}" if name else absolute(path)


def absolute(path: str | Path) -> str:
    """Return `path` made absolute; datasets, names, objects and standard input stay as they are."""
    if str(path).startswith(HUB_PREFIX):
        local = expand_home(str(path).removeprefix(HUB_PREFIX))
        path = f"{HUB_PREFIX}{local.absolute()}" if local.is_dir() else path
    elif is_list(path):
        path = f"{LIST_PREFIX}{list_of(path).absolute()}"
    elif not is_named(path) and not is_given_once(path):
        path = expand_home(path).absolute()
    return str(path)


def _has_splits(item: str | Path) -> bool:
    return is_dataset(item) or is_named(item)


def _split_of_datasets(
    items: Sequence[str | Path] | None,
    dataset_split: str,
    validation_split: str | None,
    cache_dir: str | Path | None,
    say: Say,
) -> list[Path] | None:
    """Return the files of the validation splits of `data`, None where it has none."""
    if not items or validation_split is None or not all(_has_splits(item) for item in items):
        return None
    if validation_split == dataset_split:
        raise ConfigError(f"dataset_split and validation_split are both {dataset_split!r}: validate on another split")
    without = [item for item in items if validation_split not in _splits(item)]
    if without and validation_split != DEFAULT_VALIDATION:
        raise ConfigError(
            f"{without[0]} has no split {validation_split!r}, it has {listed(_splits(without[0]))}: name one of them"
        )
    if without:
        if is_dataset(without[0]):
            say(f"{without[0]} has no split called {validation_split}: a share of its text is used for validation")
        return None
    return list_files(items, say, split=validation_split, cache_dir=cache_dir)


def _splits(item: str | Path) -> Sequence[str]:
    """Return the names of the splits of a dataset or a named corpus."""
    if not is_named(item):
        return list(dataset_splits(item))
    return ["train", DEFAULT_VALIDATION] if named_corpora()[str(item)].validation else ["train"]

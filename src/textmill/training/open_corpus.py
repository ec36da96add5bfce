"""The text of a run: the files it comes from, the preset that fits it, and the corpus that it is prepared to."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from textmill.config import Config, load_config
from textmill.config.presets import apply_auto_preset
from textmill.console.screen import Screen
from textmill.data.batches.dataset import TextDataset
from textmill.data.batches.text_size import corpus_size_bytes
from textmill.data.prepare import prepare_corpus
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.sources.file_selection import absolute_data, absolute_set, weighted_items
from textmill.data.sources.one_time_texts import STANDARD_INPUT, Keeper, are_paths, is_given_once, is_kept
from textmill.data.store.corpus import Corpus
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.files import expand_home
from textmill.runs.layout import CONFIG
from textmill.tokenizers.existing_tokenizers import is_missing_folder


def settle_data(
    config: Config,
    given: tuple[Any, Any],
    world: World,
    screen: Screen,
    *,
    continued: Path | None,
    interrupted: Callable[[], None],
) -> tuple[Any, Any]:
    """Put the files of the text into `config.data`, so that the run's config.yaml repeats the run from anywhere.

    given: `data` and `validation` as a caller passes them. TextDatasets and a Corpus are returned, all else is kept as
        files; the first process reads it.
    continued: the folder of a run that is resumed. Text that it kept is used, and not read again.

    Raises what `Keeper.keep` raises.
    """
    data, validation = given
    live = isinstance(data, TextDataset | Corpus)
    values = config.data
    if data is not None and not live and values.dataset_name is not None:
        raise ConfigError("data and dataset_name both name the text to train on: leave one out")
    keeper = Keeper(values.text_column, values.cache_dir, screen.say, interrupted, values.format, values.encoding)

    def kept(setting: str, given: Any) -> list[str]:
        once = not are_paths(given) or any(map(is_given_once, given))
        earlier = getattr(load_config(continued / CONFIG).data, setting) if continued and once else None
        if earlier and all(map(is_kept, earlier)):
            screen.say(
                f"{setting}: the run continues with the text kept in {earlier[0]}; what is given now is not read"
            )
            return earlier
        if world.size > 1 and are_paths(given) and STANDARD_INPUT in given:
            raise ConfigError("several processes cannot share standard input: prepare the text first, or name a file")
        return [str(item) for item in keeper.keep(given, setting) or []]

    for setting, passed, absolute in (("data", data, absolute_data), ("val_data", validation, absolute_set)):
        items: Any = getattr(values, setting) if live or passed is None else passed
        if items is not None and not live:
            items = [items] if isinstance(items, str | Path) else items
            items = world.from_first(partial(kept, setting, items))
        if items is not None:
            setattr(values, setting, [absolute(str(item)) for item in items])
    if values.dataset_name is not None and Path(values.dataset_name).is_dir():
        values.dataset_name = str(Path(values.dataset_name).absolute())
    return given if live else (None, None)


def settle_preset(config: Config, device_type: str) -> str | None:
    """Set what nobody chose to the preset that fits device and corpus; return the sentence about it.

    Does nothing, and returns None, when a preset was named.
    """
    if config.training.preset != "auto":
        return None
    settings = PrepareSettings.of(config)
    items, _ = weighted_items(settings.data)
    num_bytes = corpus_size_bytes(items, split=settings.dataset_split, cache_dir=settings.cache_dir)
    return apply_auto_preset(config, device_type, num_bytes)


def settle_paths(config: Config, say: Callable[[str], None]) -> None:
    """Make the paths of a tokenizer and of `init_from` absolute; choose BPE if a tokenizer is missing, and say so.

    Only what is plainly a folder's path may be missing, so that a misspelled name stays an error.
    """
    if config.training.init_from is not None:
        config.training.init_from = str(Path(config.training.init_from).expanduser().absolute())
    settings = config.tokenizer
    path = expand_home(settings.tokenizer)
    if settings.tokenizer in ("char", "byte", "bpe") or settings.tokenizer.startswith("hf:"):
        return
    if path.exists():
        settings.tokenizer = str(path.absolute())
    elif is_missing_folder(settings.tokenizer):
        say(f"there is no tokenizer in {path}: one is trained on the text and saved in the run folder")
        settings.derive("tokenizer", "bpe", force=True)


def open_corpus(
    config: Config,
    data: Any,
    validation: Any,
    world: World,
    screen: Screen,
    interrupted: Callable[[], None],
) -> Corpus:
    """Return the corpus of the run: `data` where it was given by hand, else what the configuration names.

    The first process reads and tokenises; the others wait and find the finished stores.
    """
    if isinstance(data, Corpus):
        return data
    if isinstance(data, TextDataset):
        with world.together():
            return _from_datasets(data, validation)
    corpus = None
    with world.together():
        if world.is_first:
            corpus = _prepare(config, screen, interrupted)
    with world.together():
        return _prepare(config, screen, interrupted) if corpus is None else corpus


def _prepare(config: Config, screen: Screen, interrupted: Callable[[], None]) -> Corpus:
    settings = PrepareSettings.of(config)
    return prepare_corpus(settings, say=screen.say, progress=screen.preparing, interrupted=interrupted)


def _from_datasets(training: TextDataset, validation: Any) -> Corpus:
    """Return one corpus from a training and a validation dataset."""
    if validation is None:
        return training.corpus
    if not isinstance(validation, TextDataset):
        raise ConfigError(f"validation: {type(validation).__name__} is not a TextDataset")
    held_out = validation.corpus
    digest = hashlib.sha256(f"{training.corpus.fingerprint} {held_out.fingerprint}".encode()).hexdigest()
    return replace(training.corpus, validation=held_out.train, fingerprint=digest)

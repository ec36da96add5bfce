"""The text of a run: the files it comes from, the preset that fits it, and the corpus that it is prepared to."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from textmill.checkpoint.saved_settings import read_settings_of_model
from textmill.config import Config
from textmill.config.tokenizer_kinds import NEW_KINDS
from textmill.console.screen import Screen
from textmill.data.batches.dataset import TextDataset
from textmill.data.batches.text_size import corpus_size_bytes
from textmill.data.prepare import prepare_corpus, refuse_other_form
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.sources.file_selection import absolute_data, absolute_set, named_set, weighted_items
from textmill.data.sources.one_time_texts import (
    PIPED_LIST,
    STANDARD_INPUT,
    Keeper,
    are_paths,
    is_given_once,
    is_kept,
    refuse_lost,
)
from textmill.data.store.corpus import Corpus
from textmill.data.store.joined_corpus import join
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.files import expand_home
from textmill.planning.fit_memory import Hardware, settle_auto_preset
from textmill.runs.layout import TRAIN_LOG
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

    given: `data` and `validation` as a caller passes them. A TextDataset or Corpus is returned, None in place of it if
        it is anything else, which is kept as files; the first process reads it.
    continued: the folder of a run that is resumed. Text that it kept is used, and not read again.

    Raises what `Keeper.keep` raises.
    """
    data, validation = given
    values = config.data
    if continued is not None:
        screen.recall(continued / TRAIN_LOG)
    if data is not None and values.dataset_name is not None:
        raise ConfigError("data and dataset_name both name the text to train on: leave one out")
    keeper = Keeper(values.text_column, values.cache_dir, screen.say, interrupted, values.format, values.encoding)
    before = read_settings_of_model(continued, lambda sentence: None) if continued else None

    def kept(setting: str, given: Any) -> list[str]:
        once = not are_paths(given) or any(map(is_given_once, given))
        if continued is not None and not once:
            refuse_lost(given, "Give it again: resume the run from the program")
        earlier = getattr(before.data, setting) if before and once else None
        if earlier and all(map(is_kept, earlier)):
            screen.say(
                f"{setting}: the run continues with the text kept in {earlier[0]}; what is given now is not read"
            )
            return earlier
        if world.size > 1 and are_paths(given) and {STANDARD_INPUT, PIPED_LIST}.intersection(map(str, given)):
            raise ConfigError("several processes cannot share standard input: prepare the text first, or name a file")
        return [str(item) for item in keeper.keep(given, setting) or []]

    for setting, passed, absolute in (("data", data, absolute_data), ("val_data", validation, absolute_set)):
        items: Any = getattr(values, setting) if passed is None else passed
        if isinstance(items, TextDataset | Corpus):
            setattr(values, setting, None)
        elif items is not None:
            items = [items] if isinstance(items, str | Path) else items
            items = world.from_first(partial(kept, setting, items))
            setattr(values, setting, [absolute(str(item)) for item in items])
    if values.dataset_name is not None and Path(values.dataset_name).is_dir():
        values.dataset_name = str(Path(values.dataset_name).absolute())
    live = [part if isinstance(part, TextDataset | Corpus) else None for part in given]
    return live[0], live[1]


def settle_preset(config: Config, hardware: Hardware, data: TextDataset | Corpus | None = None) -> str | None:
    """Set what nobody chose to the preset that fits device, memory and corpus; return the sentence about it.

    data: the text, where it is an object. Does nothing, and returns None, when a preset was named.
    """
    if config.training.preset != "auto":
        return None
    if data is not None:
        corpus = _corpus_of(data)
        stores = [store for store in (corpus.train, corpus.validation) if store is not None]
        num_bytes = sum(store.num_bytes or store.num_tokens * store.dtype.itemsize for store in stores)
        return settle_auto_preset(config, hardware, num_bytes)
    settings = PrepareSettings.of(config)
    items, _ = weighted_items(settings.data)
    num_bytes = corpus_size_bytes(
        items, split=settings.dataset_split, cache_dir=settings.cache_dir, rules=settings.rules
    )
    return settle_auto_preset(config, hardware, num_bytes)


def settle_paths(config: Config, say: Callable[[str], None]) -> None:
    """Make the paths of a tokenizer and of `init_from` absolute; choose BPE if a tokenizer is missing, and say so.

    Only what is plainly a folder's path may be missing, so that a misspelled name stays an error.
    """
    if config.training.init_from is not None:
        config.training.init_from = str(Path(config.training.init_from).expanduser().absolute())
    settings = config.tokenizer
    path = expand_home(settings.tokenizer)
    if settings.tokenizer in NEW_KINDS or settings.tokenizer.startswith("hf:"):
        return
    if path.exists():
        settings.tokenizer = str(path.absolute())
    elif is_missing_folder(settings.tokenizer):
        say(f"there is no tokenizer in {path}: one is trained on the text and saved in the run folder")
        settings.derive("tokenizer", "bpe", force=True)


def open_corpus(
    config: Config,
    data: TextDataset | Corpus | None,
    validation: TextDataset | Corpus | None,
    world: World,
    screen: Screen,
    interrupted: Callable[[], None],
) -> Corpus:
    """Return the corpus of the run: the objects that were given, else what the configuration names.

    A corpus of objects is named in the configuration by its folder, so that the run can be resumed, evaluated and
    repeated without them. The first process reads and tokenises; the others wait and find the finished stores.
    """
    corpus = None
    with world.together():
        if world.is_first:
            corpus = _open(config, data, validation, screen, interrupted)
    with world.together():
        corpus = _open(config, data, validation, screen, interrupted) if corpus is None else corpus
    if data is not None or validation is not None:
        config.data.data, config.data.val_data = [str(corpus.folder.absolute())], None
    return corpus


def _open(
    config: Config,
    data: TextDataset | Corpus | None,
    validation: TextDataset | Corpus | None,
    screen: Screen,
    interrupted: Callable[[], None],
) -> Corpus:
    def prepared(**others: Any) -> Corpus:
        settings = PrepareSettings.of(config, **others)
        return prepare_corpus(settings, say=screen.note, progress=screen.preparing, interrupted=interrupted)

    if data is None and validation is None:
        return prepared()
    if data is not None:
        refuse_other_form(_corpus_of(data), config.tokenizer.normalize)
    corpus, name = prepared(val_data=None, val_split=0.0) if data is None else _corpus_of(data), ""
    if validation is not None:
        held_out = _corpus_of(validation)
    elif config.data.val_data:
        names, texts = zip(*map(named_set, config.data.val_data), strict=True)
        if len(set(names)) > 1:
            raise ConfigError(
                "val_data: several sets need a text to train on that is files, not an object: name the files of the "
                "text as data, or give one set"
            )
        name, tokenizer = names[0], corpus.tokenizer or config.tokenizer.tokenizer
        others = {"val_data": None, "val_split": 0.0, "tokenizer": tokenizer, "extend_vocab": False}
        held_out = prepared(data=[str(text) for text in texts], **others)
    else:
        return corpus
    return join(corpus, held_out, name or None, cache_dir=config.data.cache_dir, say=screen.say)


def _corpus_of(given: TextDataset | Corpus) -> Corpus:
    return given.corpus if isinstance(given, TextDataset) else given

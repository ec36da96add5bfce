"""The text of a run as files: text that is given once is kept, and every path means the same from every folder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from textmill.config import Config, load_config
from textmill.console.screen import Screen
from textmill.data.batches.dataset import TextDataset
from textmill.data.sources.file_selection import absolute_data, absolute_set
from textmill.data.sources.one_time_texts import STANDARD_INPUT, Keeper, are_paths, is_given_once, is_kept
from textmill.data.store.corpus import Corpus
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.runs.layout import CONFIG


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

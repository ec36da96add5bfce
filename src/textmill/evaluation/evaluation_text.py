"""The token ids that a stored model is evaluated on: the validation text of its run, or any text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from textmill import files
from textmill.checkpoint.model_folder import Loaded
from textmill.config import load_config
from textmill.data.prepare import prepare_corpus
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.tokenizer_choice import LEARNED
from textmill.data.reading.document import Reading
from textmill.data.sources.given_once import Keeper
from textmill.data.store.corpus import Corpus, open_corpus
from textmill.data.store.shards import TokenStore
from textmill.errors import ConfigError, DataError
from textmill.runs import layout
from textmill.runs.layout import is_prepared, run_of


@dataclass(frozen=True)
class TextReader:
    """Reads text with the tokenizer of `loaded`.

    say: is told each thing worth knowing. progress: is told (bytes, bytes in all) while text is turned into ids.
    """

    loaded: Loaded
    reading: Reading
    cache_dir: str | Path | None
    say: Callable[[str], None]
    progress: Callable[[int, int], None] | None

    def all_of(self, data: Any) -> list[TokenStore]:
        """Return the ids of all text of `data`. Raises ConfigError, DataError, MissingInputError."""
        loaded = self.loaded
        items = Keeper(self.reading.text_column, self.cache_dir, self.say).keep(data) or []
        if loaded.tokenizer is None and not _are_ids(items):
            raise ConfigError(f"the model in {loaded.path} has no tokenizer: evaluate it on ids (.npy)")
        tokenizer = loaded.tokenizer or "byte"
        settings = PrepareSettings(
            data=items, val_split=0.0, tokenizer=tokenizer, reading=self.reading, cache_dir=self.cache_dir
        )
        corpus = prepare_corpus(settings, say=self.say, progress=self.progress)
        _refuse_other_tokenizer(corpus, loaded)
        return [corpus.train] + ([corpus.validation] if corpus.validation is not None else [])

    def validation_of_run(self) -> TokenStore:
        """Return the validation ids of the model's run, from its token store or, if that is gone, from its text.

        Raises:
            ConfigError: the model belongs to no run, or the run has no validation text.
            DataError: the data have changed since the run.
        """
        run = run_of(self.loaded.path)
        if run is None:
            raise ConfigError(f"{self.loaded.path} is not part of a run, so it has no validation text: name the data")
        made_with = files.read_json(run / layout.ENVIRONMENT)
        store = Path(str(made_with.get("store", "")))
        if made_with.get("store") and is_prepared(store):
            corpus = open_corpus(store)
        else:
            self.say("the token store of the run is gone: preparing its text again")
            corpus = self._prepare_again(run)
        fingerprint = made_with.get("identity", {}).get("data")
        if fingerprint is not None and corpus.fingerprint != fingerprint:
            raise DataError(f"the data of {run} have changed since it was trained: name the data to evaluate on")
        _refuse_other_tokenizer(corpus, self.loaded)
        if corpus.validation is None:
            raise ConfigError(f"{run} has no validation text: name the data to evaluate on")
        return corpus.validation

    def _prepare_again(self, run: Path) -> Corpus:
        settings, made = PrepareSettings.of(load_config(run)), self.loaded.tokenizer
        if made is not None and not (settings.tokenizer in LEARNED and settings.tokenizer == made.kind):
            settings = replace(settings, tokenizer=made, special_tokens=())  # the folder in config.yaml may be gone
        return prepare_corpus(settings, say=self.say, progress=self.progress)


def _are_ids(items: Iterable[str | Path]) -> bool:
    return all(str(item).lower().endswith(".npy") or is_prepared(Path(item)) for item in items)


def _refuse_other_tokenizer(corpus: Corpus, loaded: Loaded) -> None:
    """Raises DataError when the ids of the corpus were made with another tokenizer than the model's."""
    if corpus.tokenizer is None or loaded.tokenizer is None:
        return
    if corpus.tokenizer.fingerprint != loaded.tokenizer.fingerprint:
        raise DataError(f"{corpus.folder} was prepared with another tokenizer than that of the model in {loaded.path}")

"""What decides what a prepared corpus is: one value, whether flags, a run's config.yaml or Python's keywords say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from textmill.config import Config, DataConfig
from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.split import DEFAULT_SHARE
from textmill.data.preparing.split_groups import FIELD, SPLIT_BY
from textmill.data.preparing.unknown_text import DEFAULT_MAX_UNKNOWN
from textmill.data.reading.document import Reading
from textmill.data.sources.file_rules import FileRules
from textmill.data.sources.file_selection import data_or_dataset
from textmill.data.sources.hub import DEFAULT_VALIDATION
from textmill.errors import ConfigError
from textmill.files import expand_home
from textmill.runs.layout import is_prepared
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.normal_forms import NORMAL_FORMS


def reading_of(data: DataConfig) -> Reading:
    """Return how the files of a run's configuration are read."""
    return Reading(
        text_column=data.text_column,
        encoding_errors=data.encoding_errors,
        min_length=data.min_length,
        format=data.format,
        encoding=data.encoding,
        document_separator=data.document_separator,
        newlines=data.newlines,
    )


def rules_of(data: DataConfig) -> FileRules:
    """Return what a run's configuration reads of folders."""
    return FileRules(
        include=tuple(data.include),
        exclude=tuple(data.exclude),
        gitignore=data.gitignore,
        source_code=data.source_code,
        keep_files=tuple(data.keep_files),
        max_file_size=data.max_file_size,
        max_line_length=data.max_line_length,
        max_non_text=data.max_non_text,
    )


@dataclass(frozen=True)
class PrepareSettings:
    """What to prepare and how. Equal settings on equal files have one cache key, wherever the settings come from.

    Attributes:
        data, val_data: what people write; see `prepare`.
        val_split: the share of the text for validation. None is DEFAULT_SHARE and the same as giving that number.
        split_by: what the split does not part: "folder", "repo", "near" or "field:NAME"; see `Groups`.
        tokenizer: "char", "byte", "bpe", "unigram", a Tokenizer, or what `load_tokenizer` takes.
        vocab_size: for BPE and Unigram the size to learn, for others an upper bound to check.
        special_tokens, split_pattern: for a new tokenizer.
        normalize: the normal form of Unicode that the tokenizer brings text into; None for none, or its own.
        max_unknown: the largest share of characters that the tokenizer may not know; it changes no result.
        extend_vocab: whether the characters of the text that an existing tokenizer does not know are added to it.
        reading: how files become documents.
        rules: what is read of folders and patterns.
        dataset_split, validation_split: the splits of datasets to train and to validate on.
        cleaning: what is repaired and left out.
        cache_dir, workers: where corpora are kept, and threads that encode; these two change no result.
        fim: whether the tokenizer has the tokens of fill-in-the-middle; a new one, or one that is extended, gets them.
        eos_token: follows every document, in place of the token that the tokenizer declares.
        ends_documents: whether it does; None to decide by the training text, of which one document needs no end.
    """

    data: Any = None
    val_data: Any = None
    val_split: float | None = None
    split_by: str | None = None
    tokenizer: str | Path | Tokenizer = "bpe"
    vocab_size: int | None = None
    special_tokens: Sequence[str] = ()
    split_pattern: str | None = None
    normalize: str | None = None
    max_unknown: float = DEFAULT_MAX_UNKNOWN
    extend_vocab: bool = False
    fim: bool = False
    reading: Reading = field(default_factory=Reading)
    rules: FileRules = field(default_factory=FileRules)
    dataset_split: str = "train"
    validation_split: str | None = DEFAULT_VALIDATION
    cleaning: Cleaning = field(default_factory=Cleaning)
    cache_dir: str | Path | None = None
    workers: int | None = None
    eos_token: str | None = None
    ends_documents: bool | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for a value that means nothing, such as an empty list of data."""
        if self.val_split is not None and not 0 <= self.val_split < 1:
            raise ConfigError(f"val_split is {self.val_split}: give a share from 0 up to, not including, 1")
        # One value for one meaning: a saved configuration spells the default out, and 0 is 0.0.
        share = None if self.val_split in (None, DEFAULT_SHARE) else float(self.val_split)
        object.__setattr__(self, "val_split", share)
        if share == 0:
            object.__setattr__(self, "split_by", None)
        by = self.split_by or ""
        if by and by not in SPLIT_BY and not by.startswith(FIELD):
            raise ConfigError(f"split_by is {by!r}: choose {', '.join(SPLIT_BY)} or {FIELD}NAME")
        if (column := by.removeprefix(FIELD) if by.startswith(FIELD) else None) != self.reading.group_column:
            object.__setattr__(self, "reading", replace(self.reading, group_column=column))
        if self.normalize is not None and self.normalize not in NORMAL_FORMS:
            raise ConfigError(f"normalize is {self.normalize!r}: choose {', '.join(NORMAL_FORMS)} or none")
        if not 0 <= self.max_unknown <= 1:
            raise ConfigError(f"max_unknown is {self.max_unknown}: give a share from 0 to 1")
        if isinstance(self.data, list | tuple) and not self.data:
            raise ConfigError("data is an empty list: name files, or leave it out for the default corpus")

    @classmethod
    def of(cls, config: Config, **others: Any) -> PrepareSettings:
        """Return the settings of a run's configuration, with `others` over them."""
        data = config.data
        settings = cls(
            data=data_or_dataset(data.data, data.dataset_name, data.dataset_config),
            val_data=data.val_data,
            val_split=data.val_split,
            split_by=data.split_by,
            tokenizer=config.tokenizer.tokenizer,
            vocab_size=config.model.asked("vocab_size"),
            special_tokens=config.tokenizer.special_tokens,
            split_pattern=config.tokenizer.split_pattern,
            normalize=config.tokenizer.normalize,
            max_unknown=config.tokenizer.max_unknown,
            extend_vocab=config.tokenizer.extend_vocab,
            fim=data.fim_rate > 0,
            eos_token=config.tokenizer.eos_token,
            reading=reading_of(data),
            rules=rules_of(data),
            dataset_split=data.dataset_split,
            validation_split=data.validation_split,
            cache_dir=data.cache_dir,
            workers=data.preprocessing_num_workers,
        )
        return replace(settings, **others)

    @property
    def prepared_folder(self) -> Path | None:
        """The prepared corpus that `data` names, None for text."""
        items = [self.data] if isinstance(self.data, str | Path) else self.data
        if not isinstance(items, list | tuple) or len(items) != 1:
            return None
        folder = expand_home(items[0])
        return folder if is_prepared(folder) else None

    @property
    def compares(self) -> bool:
        """Whether near-copies are looked for."""
        return self.cleaning.dedup == "near" or self.split_by == "near"

    @property
    def share(self) -> float:
        """The share of the text for validation, as a number."""
        return DEFAULT_SHARE if self.val_split is None else self.val_split

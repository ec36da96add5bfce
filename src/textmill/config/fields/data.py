"""The section `data`: what the model learns from."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from textmill.config.field_types import (
    MOST_THREADS,
    Fields,
    MaybePlace,
    MaybePlaces,
    MaybeText,
    MaybeWhole,
    Number,
    Switch,
    Text,
    Whole,
    comma_separated,
    one_of,
    places,
    show,
    text,
)

EncodingErrors = Literal["strict", "replace"]
Packing = Literal["concat", "greedy", "first_fit", "best_fit"]
Augmentation = Literal["case", "punctuation", "whitespace"]


def _split_name(value: Any) -> str | None:
    """Return the name of a dataset's split; a number there was meant for val_split."""
    if value is None or str(value).strip().lower() in {"none", "null"}:
        return None
    if isinstance(value, int | float) or re.fullmatch(r"[0-9.]+", str(value)):
        raise ValueError(f"is the name of a dataset's split, not {show(value)}; a share of the data is val_split")
    return text(value)


def _named_sets(value: Any) -> list[str] | None:
    """Return validation texts as a list; a mapping gives them names: {news: news.txt} is news=news.txt."""
    if isinstance(value, Mapping):
        return [f"{text(name)}={path}" for name, paths in value.items() for path in places(paths)]
    return None if value is None else places(value)


class DataFields(Fields):
    """Where the text is, what is kept of it, and how it is cut into rows."""

    data: MaybePlaces = None
    """Text to train on: files, folders, globs, hf:NAME, shakespeare, - or a prepared folder. Unset: Python's source."""
    val_data: Annotated[list[str] | None, BeforeValidator(_named_sets)] = None
    """Text to validate on, instead of a share of the data; several sets as NAME=FILE."""
    val_split: Number = Field(default=0.1, ge=0, lt=1)
    """Share of the text kept for validation; 0 for none."""
    text_column: Text = "text"
    """Field that holds the text in JSON Lines, CSV and Parquet."""
    dataset_name: MaybeText = None
    """Dataset of the Hugging Face hub, such as wikitext, or a dataset's folder."""
    dataset_config: MaybeText = None
    """Configuration of that dataset, such as wikitext-2-raw-v1."""
    dataset_split: Text = "train"
    """Split of datasets to train on."""
    validation_split: Annotated[str | None, BeforeValidator(_split_name)] = "validation"
    """Split of datasets to validate on; none for a share of the training split."""
    min_length: Whole = Field(default=0, ge=0)
    """Shorter documents are left out, in characters."""
    encoding_errors: Annotated[EncodingErrors, BeforeValidator(one_of(EncodingErrors))] = "strict"
    """What to do with bytes that are not UTF-8: refuse the file, or replace them."""
    pack_sequences: Switch = True
    """Fill rows with several documents; false gives every document rows of its own."""
    packing_strategy: Annotated[Packing, BeforeValidator(one_of(Packing))] = "concat"
    """How documents share rows: one stream cut anywhere, or whole documents placed by greedy, first or best fit."""
    mask_documents: Switch = False
    """Hide the other documents of a row from each other."""
    augmentation: Annotated[list[Augmentation], BeforeValidator(comma_separated(one_of(Augmentation)))] = Field(
        default_factory=list
    )
    """Random changes of the training text: case, punctuation, whitespace."""
    augmentation_prob: Number = Field(default=0.1, ge=0, le=1)
    """Probability of each change."""
    num_workers: Whole = Field(default=0, ge=0, le=MOST_THREADS)
    """Steps whose batches are read ahead by threads, at least one where a GPU computes. Changes no result."""
    preprocessing_num_workers: MaybeWhole = Field(default=None, ge=1, le=MOST_THREADS)
    """Processes that read and tokenize. Unset: chosen from the machine."""
    cache_dir: MaybePlace = None
    """Folder of tokenized data. Unset: the user's cache folder."""

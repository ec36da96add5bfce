"""The sections `data` and `tokenizer`: what the model learns from, and how it becomes token ids."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from textmill.config.field_types import (
    MOST_THREADS,
    Fields,
    MaybeCount,
    MaybeNumber,
    MaybePath,
    MaybePaths,
    MaybeSwitch,
    MaybeText,
    MaybeWhole,
    Number,
    PathText,
    Switch,
    Text,
    Texts,
    Whole,
    comma_separated,
    one_of,
    or_none,
    paths,
    show,
    text,
)

EncodingErrors = Literal["strict", "replace"]
Newlines = Literal["lf", "keep"]
Format = Literal[
    "text",
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "arrow",
    "html",
    "mhtml",
    "pdf",
    "epub",
    "srt",
    "vtt",
    "tmx",
    "ipynb",
    "npy",
    "bin",
]
Packing = Literal["concat", "greedy", "first_fit", "best_fit"]
Augmentation = Literal["case", "punctuation", "whitespace"]
FimFormat = Literal["psm", "spm", "both"]
KeptFiles = Literal["generated", "minified", "vendored"]
Normalize = Literal["nfc", "nfd", "nfkc"]


def _split_by(value: Any) -> str:
    """Return what the split keeps together: folder, repo, near, or `field:NAME`."""
    result = text(value)
    if result not in ("folder", "repo", "near") and not re.match("field:.", result):
        raise ValueError(f"must be folder, repo, near or field:NAME, not {show(value)}")
    return result


def _split_name(value: Any) -> str:
    """Return the name of a dataset split; refuse a number, which was meant for val_split."""
    if isinstance(value, int | float) or re.fullmatch(r"[0-9.]+", str(value)):
        raise ValueError(f"is the name of a dataset split, not {show(value)}; a share of the data is val_split")
    return text(value)


def _named_sets(value: Any) -> list[str]:
    """Return validation texts as a list; a mapping gives them names: {news: news.txt} is news=news.txt."""
    if isinstance(value, Mapping):
        return [f"{text(name)}={path}" for name, files in value.items() for path in paths(files)]
    return paths(value)


class DataFields(Fields):
    """Where the text is, which of it is used, and how it is cut into rows."""

    data: MaybePaths = None
    """Text to train on: files, folders, globs, hf:NAME, module:name, - or a prepared folder. Unset: Python's source."""
    val_data: Annotated[list[str] | None, BeforeValidator(or_none(_named_sets))] = None
    """Validation text, instead of a share of the data; several validation sets as NAME=FILE."""
    include: Texts = Field(default_factory=list)
    """Of folders and patterns, read only what matches one of these, such as '*.{py,md}' or 'docs/**'."""
    exclude: Texts = Field(default_factory=list)
    """Of folders and patterns, leave out what matches one of these, such as 'tests/' or '*.csv'."""
    gitignore: Switch = True
    """Leave out what the .gitignore files of a git repository list."""
    source_code: MaybeSwitch = None
    """Folders are source code: every file that is text is read, but no generated code. Unset: told by their files."""
    keep_files: Annotated[list[KeptFiles], BeforeValidator(comma_separated(one_of(KeptFiles)))] = Field(
        default_factory=list
    )
    """In folders of source code, read these too: generated, minified, vendored."""
    max_file_size: MaybeCount = Field(default=None, ge=0)
    """In folders, skip plain text of more bytes, such as 5M; 0 for no limit. Unset: 1 MB in source code."""
    max_line_length: MaybeCount = Field(default=None, ge=0)
    """In folders, skip plain text with a longer line, in bytes; 0 for no limit. Unset: 10,000 in source code."""
    max_non_text: MaybeNumber = Field(default=None, ge=0, le=1)
    """In folders, skip files with a larger share of bytes that are not text. Unset: 0.1 in source code."""
    val_split: Number = Field(default=0.1, ge=0, lt=1)
    """Share of the text used for validation; 0 for none."""
    split_by: Annotated[str | None, BeforeValidator(or_none(_split_by))] = None
    """What the split keeps together: a folder, a repo (repository), near (near-copies), or rows by field:NAME."""
    text_column: Text = "text"
    """Field with the text in JSON Lines, CSV and Parquet: a name, a number, or a template such as '{title}: {body}'."""
    dataset_name: MaybeText = None
    """Hugging Face dataset, such as wikitext, or a dataset folder."""
    dataset_config: MaybeText = None
    """Configuration of the dataset, such as wikitext-2-raw-v1."""
    dataset_split: Text = "train"
    """Dataset split to train on."""
    validation_split: Annotated[str | None, BeforeValidator(or_none(_split_name))] = "validation"
    """Dataset split to validate on; none to use a share of the training split."""
    min_length: Whole = Field(default=0, ge=0)
    """Skip documents with fewer characters than this."""
    format: Annotated[Format | None, BeforeValidator(or_none(one_of(Format)))] = None
    """What the files are, whatever their names: text, jsonl, json, csv, tsv, parquet ... Unset: by extension."""
    encoding: Text = "utf-8"
    """Encoding of plain text, JSON, tables and subtitles, such as latin-1, cp1252 or utf-16."""
    encoding_errors: Annotated[EncodingErrors, BeforeValidator(one_of(EncodingErrors))] = "strict"
    """Bytes that are not in the encoding: refuse the file (strict) or replace them."""
    newlines: Annotated[Newlines, BeforeValidator(one_of(Newlines))] = "lf"
    """Windows line ends (CR LF) of plain text: read them as line feeds (lf) or keep them."""
    document_separator: Annotated[str | None, BeforeValidator(or_none(text))] = "auto"
    """What ends a document in plain text, such as ---; auto: lines <|endoftext|>; none: a file is one document."""
    pack_sequences: Switch = True
    """Fill each row with several documents; false starts a new row for every document."""
    packing_strategy: Annotated[Packing, BeforeValidator(one_of(Packing))] = "concat"
    """How documents share rows: concat cuts one stream anywhere, the others pack whole documents."""
    mask_documents: Switch = False
    """Mask attention between the documents in a row."""
    augmentation: Annotated[list[Augmentation], BeforeValidator(comma_separated(one_of(Augmentation)))] = Field(
        default_factory=list
    )
    """Random changes to the training text: case, punctuation, whitespace."""
    augmentation_prob: Number = Field(default=0.1, ge=0, le=1)
    """Probability of each change."""
    fim_rate: Number = Field(default=0.0, ge=0, le=1)
    """Share of documents that become prefix, suffix, middle in training (fill-in-the-middle), such as 0.5."""
    fim_format: Annotated[FimFormat, BeforeValidator(one_of(FimFormat))] = "psm"
    """Order of the parts: prefix, suffix, middle (psm), suffix, prefix, middle (spm), or half of each (both)."""
    num_workers: Whole = Field(default=0, ge=0, le=MOST_THREADS)
    """Steps whose batches are read ahead in threads, at least one on a GPU. Does not change results."""
    preprocessing_num_workers: MaybeWhole = Field(default=None, ge=1, le=MOST_THREADS)
    """Processes that read and tokenize. Unset: chosen for the machine."""
    cache_dir: MaybePath = None
    """Cache folder for prepared text. Unset: the user's cache folder."""


class TokenizerFields(Fields):
    """How text becomes token ids."""

    tokenizer: PathText = "bpe"
    """char, byte, bpe or unigram (trained on the data), the path of a saved tokenizer, or hf:NAME."""
    eos_token: MaybeText = None
    """Token that follows every document, such as </s>. Unset: the one that the tokenizer declares."""
    special_tokens: Texts = Field(default_factory=list)
    """Additional tokens that are never split, such as <|user|>."""
    split_pattern: MaybeText = None
    """How text is cut into words before BPE or Unigram: gpt2, gpt4o or a regular expression. Unset: by the script."""
    normalize: Annotated[Normalize | None, BeforeValidator(or_none(one_of(Normalize)))] = None
    """Normal form of Unicode that all text, prompts too, is brought into first: nfc, nfd, nfkc or none."""
    max_unknown: Number = Field(default=0.01, ge=0, le=1)
    """Largest share of a text's characters that the tokenizer may not know; more is refused."""
    extend_vocab: Switch = False
    """Add the text's characters that an existing tokenizer (of --init-from, or a path) does not know to it."""

"""A prepared corpus: a folder of token ids with the tokenizer that made them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from textmill import files
from textmill.data.store.corpus_files import (
    Listed,
    list_corpus_files,
    list_earlier_files,
    problems_of_files,
    refuse_damaged,
    remedy,
)
from textmill.data.store.mixture import Mixture, Part
from textmill.data.store.token_shards import DOCUMENTS, TokenStore
from textmill.errors import DataError, MissingInputError
from textmill.runs.layout import FURTHER, PREPARED, TOKENIZER
from textmill.tokenizers import Tokenizer, load_tokenizer

FORMAT = 4


@dataclass(frozen=True)
class Corpus:
    """What training reads.

    Attributes:
        folder: where it is stored.
        tokenizer: made the ids; None if ids were given without one.
        train: the ids to train on, a Mixture if corpora have weights.
        validation: the ids to validate on, or None.
        fingerprint: a hash of ids and tokenizer, hexadecimal: equal exactly when training would see the same.
        vocab_size: the tokenizer's, or the highest id plus one.
        sources: the files it was made from.
        notes: what people should know about them.
        key: a hash of the files' content and of the settings they were prepared with.
        main: the name of the validation text, if it was given one.
        further: more validation sets, by name.
        report: set -> how many documents it had, how many were left out and why; empty for ids.
    """

    folder: Path
    tokenizer: Tokenizer | None
    train: TokenStore
    validation: TokenStore | None
    fingerprint: str
    vocab_size: int
    sources: list[str]
    notes: list[str]
    key: str
    main: str | None = None
    further: dict[str, TokenStore] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What describes a new corpus besides its stores; the fields are those of Corpus.

    tokenizer: its fingerprint. skipped: reason -> the files of folders and patterns that were not read.
    """

    tokenizer: str | None
    sources: list[str]
    main: str | None
    further: list[str]
    report: dict[str, Any]
    mixture: list[Part]
    notes: list[str]
    skipped: dict[str, list[str]] = field(default_factory=dict)


def describe(folder: Path, key: str, settings: dict[str, Any], made: Made) -> None:
    """Make `folder`, which contains the stores and the tokenizer, a prepared corpus."""
    described = asdict(made)
    if not made.skipped:  # as before there were any
        del described["skipped"]
    write_description(folder, {"format": FORMAT, "key": key, "settings": settings, **described})


def write_description(folder: Path, described: dict[str, Any]) -> None:
    """Write the description of a corpus, complete but for the hashes of its files."""
    files.write_json(folder / PREPARED, files.with_own_hash({**described, "files": list_corpus_files(folder)}))


def corpus_problems(folder: Path) -> list[str]:
    """Return what is wrong with the files of a corpus, one phrase each; every byte of them is read.

    Raises MissingInputError and DataError for a description that is missing or damaged.
    """
    return problems_of_files(folder, _listed(folder, _description(folder)), everything=True)


def _description(folder: Path) -> dict[str, Any]:
    """Return the description of the corpus in `folder`. Raises MissingInputError and DataError."""
    path = folder / PREPARED
    try:
        content = files.read_bytes(path)
    except OSError as error:
        raise MissingInputError(f"there is no prepared corpus in {folder}: {error.strerror}") from error
    with files.report_damage(path, remedy(folder)):
        described = files.parse_json(content)
        if not isinstance(described, dict):
            raise TypeError("it is not a JSON object")
        if _has_hashes(described) and files.with_own_hash(described) != described:
            raise ValueError("its own SHA-256 differs")
    return described


def sources_of(folder: Path) -> list[str]:
    """Return the files that the corpus in `folder` was made from; [] if it is unfinished or its description damaged."""
    try:
        sources = _description(folder).get("sources")
    except (DataError, MissingInputError):
        return []
    return list(map(str, sources)) if isinstance(sources, list) else []


def _has_hashes(described: dict[str, Any]) -> bool:
    """Whether the description has hashes: earlier versions wrote none. Either key is enough: one may be damaged."""
    return "files" in described or "sha256" in described


def _listed(folder: Path, described: dict[str, Any]) -> Listed:
    """Return the files to check. Raises DataError."""
    if not _has_hashes(described):
        return list_earlier_files(folder)
    with files.report_damage(folder / PREPARED, remedy(folder)):
        return dict(described["files"])


def open_corpus(folder: Path, *, say: Callable[[str], None] = lambda sentence: None) -> Corpus:
    """Return the prepared corpus in `folder`, its files checked for damage.

    say: told that a large corpus is read once for that.

    Raises MissingInputError and DataError naming the file at fault.
    """
    path = folder / PREPARED
    described = _description(folder)
    with files.report_damage(path, remedy(folder)):
        version, key, made_by = described["format"], described["key"], described["tokenizer"]
        sources, notes = list(map(str, described["sources"])), list(map(str, described["notes"]))
        main, report = described["main"], dict(described["report"])
        further_folders = {name: folder / FURTHER / name for name in described["further"]}
        parts = [Part(**part) for part in described["mixture"]]
    if version != FORMAT:
        raise DataError(f"{path} has format {version}, this version reads {FORMAT}: prepare the corpus again")
    listed = _listed(folder, described)
    refuse_damaged(folder, problems_of_files(folder, listed, say=say))
    if not _has_hashes(described):
        notes.append(
            f"{folder} was prepared by an earlier version: of its files only the ids are checked for damage; "
            "delete it and prepare the corpus again to have all of them checked"
        )
    tokenizer = load_tokenizer(folder / TOKENIZER) if made_by is not None else None
    if tokenizer is not None and tokenizer.fingerprint != made_by:
        raise DataError(f"the tokenizer in {folder} is not the one that made its ids: prepare the corpus again")
    train = TokenStore.open(folder / "train")
    if parts:
        with files.report_damage(path, remedy(folder)):
            train = Mixture(train, parts)
    validation = TokenStore.open(folder / "validation") if f"validation/{DOCUMENTS}" in listed else None
    further = {name: TokenStore.open(store) for name, store in further_folders.items()}
    highest = max(store.max_id for store in (train, validation, *further.values()) if store is not None)
    if tokenizer is not None and highest >= tokenizer.vocab_size:
        raise DataError(
            f"{folder} contains the id {highest}, its tokenizer has {tokenizer.vocab_size}: prepare it again"
        )
    identity = [train.fingerprint, validation.fingerprint if validation is not None else None, made_by]
    return Corpus(
        folder=folder,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        fingerprint=files.json_sha256(identity),
        vocab_size=tokenizer.vocab_size if tokenizer is not None else highest + 1,
        sources=sources,
        notes=notes,
        key=key,
        main=main,
        further=further,
        report=report,
    )

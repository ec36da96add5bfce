"""textmill tokenizer: train one, use it, look into it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from textmill.cli.help_pages import CacheDir, Encoding, FileFormat, Json, Output, TextColumn
from textmill.cli.setting_flags import takes_settings
from textmill.config.field_types import whole
from textmill.config.merge_layers import from_layers
from textmill.config.setting_lookup import Setting
from textmill.config.tokenizer_kinds import NEW_KINDS, WITH_VOCAB_SIZE
from textmill.console.number_format import count, plural, size
from textmill.console.screen import Screen
from textmill.console.standard_streams import field, note, read_input, write, write_json, write_text
from textmill.errors import ConfigError, DataError

if TYPE_CHECKING:
    from textmill.data.reading.document import Reading
    from textmill.data.sources.file_rules import FileRules
    from textmill.data.sources.file_selection import Files
    from textmill.tokenizers import Tokenizer

app = App(name="tokenizer", help="Train, use and inspect tokenizers.")

DEFAULT_VOCAB_SIZE = 8192

TokenizerPath = Annotated[
    str | Path, Parameter(name="TOKENIZER", help="Folder of a tokenizer, a model or a run; or hf:NAME.")
]


@app.command(sort_key=0)
@takes_settings(
    *(
        "data",
        "files_from",
        "include",
        "exclude",
        "gitignore",
        *("source_code", "keep_files", "max_file_size", "max_line_length", "max_non_text"),
        "tokenizer",
        "vocab_size",
        "special_tokens",
        "split_pattern",
        "normalize",
        "text_column",
    ),
    *("format", "encoding", "encoding_errors", "document_separator", "newlines"),
    *("dataset_name", "dataset_config", "dataset_split", "cache_dir"),
)
def train(*, output: Output, settings: list[Setting]) -> None:
    """Train a tokenizer on text and write it in Hugging Face's format.

    textmill train takes it with --tokenizer OUTPUT. Unless --vocab-size is given, a BPE or Unigram
    tokenizer has 8,192 tokens, or as many as the text supports.

    Parameters
    ----------
    output
        Folder to write tokenizer.json and tokenizer_config.json to.

    Examples
    --------
    textmill tokenizer train corpus/ --vocab-size 8000 --output tok/
    """
    from textmill.data.preparing.kind_by_script import settle_kind
    from textmill.data.preparing.learning_text import text_of_files
    from textmill.data.preparing.prepare_settings import reading_of, rules_of
    from textmill.data.preparing.tokenizer_choice import TokenizerChoice
    from textmill.data.sources.file_selection import data_or_dataset
    from textmill.data.sources.findings import Notes

    config = from_layers([settings])
    settle_kind(config, note)
    kind, data = config.tokenizer.tokenizer, config.data
    if kind not in NEW_KINDS:
        raise ConfigError(f"--tokenizer: must be {', '.join(NEW_KINDS)} to be trained, not {kind!r}")
    wanted = config.model.vocab_size or (DEFAULT_VOCAB_SIZE if kind in WITH_VOCAB_SIZE else None)
    asked = config.tokenizer
    cut = {"split_pattern": asked.split_pattern, "normalize": asked.normalize}
    choice = TokenizerChoice(kind, wanted, asked.special_tokens, for_ids=False, **cut)
    named = data_or_dataset(data.data, data.dataset_name, data.dataset_config)
    notes, reading = Notes(), reading_of(data)
    files = _files(named, reading, data.cache_dir, data.dataset_split, rules_of(data))
    mixed = bool(files.weights) and kind in WITH_VOCAB_SIZE
    if files.weights and not mixed:
        note(f"the weights have no effect: a {kind} tokenizer is the same in whatever proportion it sees the text")
    with _progress(files.train, passes=1 + mixed) as tick:
        made = choice.make(text_of_files(files, reading, notes, tick, mixed=mixed), note)
    for sentence in notes.sentences():
        note(sentence)
    made.save_alone(output)
    write(f"{made.kind} tokenizer with {plural(made.vocab_size, 'token')} in {output}")


def _files(
    data: Any,
    reading: Reading,
    cache_dir: str | Path | None,
    dataset_split: str = "train",
    rules: FileRules | None = None,
) -> Files:
    from textmill.data.sources.file_selection import select_files
    from textmill.data.sources.one_time_texts import Keeper

    keeper = Keeper(reading.text_column, cache_dir, note, format=reading.format, encoding=reading.encoding)
    kept = keeper.keep(data)
    return select_files(
        kept, validation_split=None, dataset_split=dataset_split, cache_dir=cache_dir, rules=rules, say=note
    )


@contextmanager
def _progress(files: Sequence[Path], passes: int = 1) -> Iterator[Callable[[int], None]]:
    """Yield what counts the bytes read of `files`, which is done so often, and show how far it is."""
    from textmill.data.preparing.reading_progress import ReadProgress

    screen = Screen(stream=sys.stderr)
    yield ReadProgress(files, passes, screen.reading, None).tick
    screen.end()


@app.command(sort_key=2)
def encode(
    tokenizer: TokenizerPath,
    text: Annotated[str | None, Parameter(name="TEXT")] = None,
    /,
    *,
    json: Json = False,
) -> None:
    """Print the token ids of a text.

    Parameters
    ----------
    text
        The text; without it, standard input.

    Examples
    --------
    textmill tokenizer encode tok/ "Once, a king"
    """
    from textmill.tokenizers import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    ids = loaded.encode(read_input("TEXT") if text is None else text).tolist()
    write(str(ids) if json else " ".join(map(str, ids)))


@app.command(sort_key=3)
def decode(tokenizer: TokenizerPath, /, *ids: Annotated[str, Parameter(name="IDS")]) -> None:
    """Print the text of token ids, special tokens included.

    Parameters
    ----------
    ids
        The ids; without them, standard input.

    Examples
    --------
    textmill tokenizer decode tok/ 99 97 102
    """
    from textmill.tokenizers import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    words = ids or read_input("IDS").replace(",", " ").strip("[] ").split()
    try:
        numbers = [whole(word.strip(",")) for word in words]
    except ValueError as error:
        raise ConfigError(f"IDS: {error}") from None
    if unknown := [number for number in numbers if not 0 <= number < loaded.vocab_size]:
        raise ConfigError(
            f"IDS: {unknown[0]} is not an id of this tokenizer, which accepts 0 to {loaded.vocab_size - 1}"
        )
    write_text(loaded.decode(numbers, skip_special_tokens=False))


@app.command(sort_key=1)
def inspect(
    tokenizer: TokenizerPath,
    text: Annotated[str | None, Parameter(name="TEXT")] = None,
    /,
    *,
    data: Annotated[list[str | Path] | None, Parameter(negative="")] = None,
    text_column: TextColumn = "text",
    format: FileFormat = None,
    encoding: Encoding = "utf-8",
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Describe a tokenizer, show how it splits a text, or measure it on data.

    Parameters
    ----------
    text
        Text to split into tokens.
    data
        File, folder, pattern or dataset to measure on (may be repeated): bytes per token, entries that never occur,
        entries that occur most, and the first tokens.

    Examples
    --------
    textmill tokenizer inspect tok/
    textmill tokenizer inspect runs/book "Once, a king"
    textmill tokenizer inspect tok/ --data book.txt
    """
    from textmill.data.reading.document import Reading
    from textmill.tokenizers import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    described = {name: getattr(loaded, name) for name in _DESCRIBED}
    tokens: list[int] = []
    split: dict[str, Any] = {}
    if text is not None:
        tokens = loaded.encode(text).tolist()
        split["tokens"] = [{"id": token, "text": loaded.token_text(token)} for token in tokens]
        split["bytes_per_token"] = len(text.encode()) / len(tokens) if tokens else None
    use = _use(loaded, data, Reading(text_column, format=format, encoding=encoding), cache_dir) if data else {}
    if json:
        write_json(described | split | ({"data": use} if use else {}))
        return
    for name, value in described.items():
        field(name, "none" if value is None else str(value))
    for token in tokens:
        write(f"{token:>12} {loaded.token_text(token)!r}")
    if tokens:
        write(f"{plural(len(tokens), 'token')}, {split['bytes_per_token']:.2f} bytes per token")
    if use:
        _print_use(use, loaded.vocab_size)


_DESCRIBED = ("kind", "vocab_size", "eos_id", "unk_id", "normal_form", "fingerprint")
_EXAMPLES = 8


def _use(tokenizer: Tokenizer, data: list[str | Path], reading: Reading, cache_dir: Path | None) -> dict[str, Any]:
    """Return what the tokenizer makes of `data`, as plain values."""
    from textmill.data.preparing.tokenizer_statistics import tokenizer_statistics
    from textmill.data.reading.odd_files import BrokenFarInsideError, OddFiles

    found = _files(data, reading, cache_dir)
    files, odd, use = found.train, OddFiles(found.within), None
    while use is None:
        with _progress(files) as tick, suppress(BrokenFarInsideError):  # it is left out from the beginning, then
            use = tokenizer_statistics(tokenizer, files, reading, tick, odd)
    if (skipped := odd.sentence()) is not None:
        note(skipped)
    if not use.tokens:
        raise DataError(f"there is no text in {files[0]}{' and the other files' if len(files) > 1 else ''}")
    unused = use.unused(tokenizer)
    return {
        "documents": use.documents,
        "skipped": {str(path): reason for path, reason in odd.reasons.items()},
        "bytes": use.num_bytes,
        "tokens": use.tokens,
        "bytes_per_token": use.num_bytes / use.tokens,
        "characters_per_token": use.characters / use.tokens,
        "unused": len(unused),
        "unused_examples": [tokenizer.token_text(number) for number in unused[-_EXAMPLES:]],
        "most_used": [
            {"text": tokenizer.token_text(number), "share": int(use.counts[number]) / use.tokens}
            for number in use.most_used(_EXAMPLES)
        ],
        "sample": [tokenizer.token_text(number) for number in use.sample],
    }


def _print_use(use: dict[str, Any], vocab_size: int) -> None:
    unused = f"{use['unused']:,} of {vocab_size:,} entries never occur ({use['unused'] / vocab_size:.1%})"
    if use["unused"]:
        unused += f", such as {', '.join(map(repr, use['unused_examples']))}"
    field("text", f"{size(use['bytes'])} in {plural(use['documents'], 'document')}, {count(use['tokens'])} tokens")
    field("compression", f"{use['bytes_per_token']:.2f} bytes, {use['characters_per_token']:.2f} characters per token")
    field("unused", unused)
    field("most used", ", ".join(f"{token['text']!r} {token['share']:.1%}" for token in use["most_used"]))
    field("begins", repr("|".join(use["sample"])))

"""textmill data: what a corpus is, before anything is learned from it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from textmill.cli.help_pages import Json
from textmill.cli.setting_flags import takes_settings
from textmill.config.merge_layers import from_layers
from textmill.config.setting_lookup import Setting
from textmill.console.number_format import count, plural, size
from textmill.console.screen import Screen
from textmill.console.standard_streams import field, note, table, write, write_json, write_lines
from textmill.errors import ConfigError

_MOST = 6  # scripts and languages that are shown

All = Annotated[bool, Parameter(name="--all", negative=(), show_default=False, help="Read all of a large corpus.")]


@takes_settings(
    *(
        "data",
        "files_from",
        "include",
        "exclude",
        "gitignore",
        *("source_code", "keep_files", "max_file_size", "max_line_length", "max_non_text"),
        "text_column",
        "format",
        "encoding",
        "encoding_errors",
        "document_separator",
        "newlines",
    ),
    *("dataset_name", "dataset_config", "dataset_split", "cache_dir", "normalize"),
)
def data(*, all: All = False, json: Json = False, settings: list[Setting]) -> None:
    """Look at a corpus before training: documents, lengths, scripts, languages, what is suspicious, tokenizers.

    Each kind of tokenizer is learned from a sample and measured on text that it has not seen: bytes per token, and bits
    per byte of a trigram model of its tokens, which a trained model should fall below. Nothing is written.

    Examples
    --------
    textmill data corpus/
    textmill data posts.jsonl --text-column body --json
    """
    from textmill.data.examine.examine_corpus import examine
    from textmill.data.prepare import contains_ids
    from textmill.data.preparing.prepare_settings import PrepareSettings
    from textmill.data.sources.file_selection import select_files
    from textmill.data.sources.one_time_texts import Keeper

    asked = PrepareSettings.of(from_layers([settings]))
    reading = asked.reading
    if asked.prepared_folder is not None:
        raise ConfigError(f"{asked.prepared_folder} is a prepared corpus: name the text that it was made from")
    kept = Keeper(reading.text_column, asked.cache_dir, note, format=reading.format, encoding=reading.encoding)
    files = select_files(
        kept.keep(asked.data),
        validation_split=None,
        dataset_split=asked.dataset_split,
        cache_dir=asked.cache_dir,
        rules=asked.rules,
        say=note,
    )
    if contains_ids(files, reading):
        raise ConfigError(f"{files.train[0]} contains token ids: there is no text to look at")
    screen = Screen(stream=sys.stderr)
    found = examine(
        files.train,
        reading,
        normalize=asked.normalize,
        everything=all,
        within=files.within,
        say=screen.say,
        progress=screen.reading,
    )
    screen.end()
    if json:
        write_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from textmill.data.preparing.scripts import script_name

    encodings = ", ".join(f"{number:,} {name}" for name, number in found["encodings"].items())
    field("files", f"{found['files']:,}: {encodings}")
    characters = f"{count(found['characters'])} characters, {found['different_characters']:,} different"
    field("text", f"{plural(found['documents'], 'document')}, {characters}, {size(found['bytes'])}")
    if found["documents"] > 1:
        lengths = ", ".join(f"{name} {number:,}" for name, number in found["lengths"].items())
        field("lengths", f"{lengths} characters ({found['longest']})")
    named = {f"{code} ({script_name(code)})": share for code, share in found["scripts"].items()}
    field("scripts", _shares(named) or "no letters")
    languages = found["languages"]
    missing = "not told apart without py3langid: pip install 'textmill[data]'"
    field("languages", missing if languages is None else _shares(languages) or "none")
    if found["tokenizers"]:
        rows = [("tokenizer", "vocabulary", "bytes/token", "characters/token", "unknown", "trigram bits/byte")]
        for one in found["tokenizers"]:
            sizes = f"{one['bytes_per_token']:.2f}", f"{one['characters_per_token']:.2f}", f"{one['unknown']:,}"
            bits = f"{one['trigram_bits_per_byte']:.3f}"
            rows.append((one["tokenizer"], f"{one['vocab_size']:,}", *sizes, bits))
        write("")
        write_lines(table(rows, right={1, 2, 3, 4, 5}))
    write("")
    for one in found["findings"]:
        write(f"{one['number']:>11,} {one['sentence']} (first: {one['first']})")
    if found["mixed_forms"] is not None:
        write(found["mixed_forms"])
    if not found["findings"] and found["mixed_forms"] is None:
        write("nothing suspicious was found")


def _shares(shares: dict[str, float]) -> str:
    some = list(shares.items())[:_MOST]
    shown = [f"{name} {share:.1%}" if share >= 0.0005 else f"{name} less than 0.1%" for name, share in some]
    return ", ".join(shown) + (f" and {len(shares) - _MOST} more" if len(shares) > _MOST else "")

"""textmill prepare: read and tokenize text once."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from textmill.cli.help_pages import Json, Output
from textmill.cli.setting_flags import takes_settings
from textmill.config.merge_layers import from_layers
from textmill.config.setting_lookup import Setting
from textmill.console.command_line import program, quoted
from textmill.console.number_format import count, size
from textmill.console.screen import Screen
from textmill.console.standard_streams import field, write, write_json
from textmill.runs.layout import CORPUS_REPORT

if TYPE_CHECKING:
    from textmill.data.store.corpus import Corpus

Repair = Annotated[
    Literal["ftfy"] | None, Parameter(help="ftfy: repair text that was once decoded with the wrong encoding.")
]
Scripts = Annotated[
    str | None,
    Parameter(help="Leave out documents most letters of which are in other scripts than these, such as Khmr,Latn."),
]
LanguageCodes = Annotated[
    str | None, Parameter(help="Leave out documents in other languages than these, such as en,km. Needs py3langid.")
]
LanguageFunction = Annotated[
    str | None,
    Parameter(help="Function that returns the code of a text's language, as package.module:name; not py3langid then."),
]
Scrub = Annotated[
    str | None,
    Parameter(help="Replace secrets, emails or both by placeholders such as <AWS_KEY_1>; the report says where."),
]
"""The flags that say what is repaired and replaced, and which documents stay by script and language."""


@takes_settings(
    *("data", "files_from", "val_data", "include", "exclude", "gitignore"),
    *("source_code", "keep_files", "max_file_size", "max_line_length", "max_non_text"),
    *("val_split", "split_by", "train_split", "text_column", "min_length"),
    *("format", "encoding", "encoding_errors", "document_separator", "newlines"),
    *("dataset_name", "dataset_config", "dataset_split", "validation_split", "cache_dir"),
    *("tokenizer", "eos_token", "special_tokens", "split_pattern", "normalize", "max_unknown", "vocab_size"),
    *("extend_vocab", "fim_rate"),
)
def prepare(
    *,
    output: Output,
    repair: Repair = None,
    dedup: Literal["exact", "near"] | None = None,
    max_repetition: float | None = None,
    max_symbols: float | None = None,
    min_alphabetic: float | None = None,
    scripts: Scripts = None,
    languages: LanguageCodes = None,
    language_function: LanguageFunction = None,
    scrub: Scrub = None,
    json: Json = False,
    settings: list[Setting],
) -> None:
    """Read and tokenize text once, to train on it many times with textmill train OUTPUT.

    The size of a BPE vocabulary follows from the size of the text unless --vocab-size is given. On request the text is
    filtered on the way; REPORT.md in the folder says what was left out and why.

    Parameters
    ----------
    output
        Folder to write; nothing is left there when something fails.
    dedup
        Leave out copies of documents: exact ones, or near ones too. Validation files win over training files.
    max_repetition
        Leave out documents with a larger share of repeated sequences of words or characters, such as 0.3.
    max_symbols
        Leave out documents with a larger share of symbols, such as 0.1.
    min_alphabetic
        Leave out documents with a smaller share of letters, such as 0.6.

    Examples
    --------
    textmill prepare corpus/ --output prepared --vocab-size 8000
    textmill prepare posts.jsonl --output sorted --dedup exact --min-length 200
    textmill prepare mails/ code/ --output clean --scrub secrets,emails
    """
    from textmill.data.prepare import prepare_corpus
    from textmill.data.preparing.clean import Cleaning
    from textmill.data.preparing.kind_by_script import settle_kind
    from textmill.data.preparing.prepare_settings import PrepareSettings
    from textmill.training.signals import SignalFlag

    config = from_layers([settings])
    screen = Screen(stream=sys.stderr)
    settle_kind(config, screen.say)
    with SignalFlag() as signals:
        origin = _codes(scripts), _codes(languages), language_function
        cleaning = Cleaning(repair, dedup, max_repetition, max_symbols, min_alphabetic, *origin, _codes(scrub))
        corpus = prepare_corpus(
            PrepareSettings.of(config, cleaning=cleaning),
            output=output,
            say=screen.say,
            progress=screen.preparing,
            interrupted=signals.check,
        )
    screen.end()
    _show(corpus, json=json)


def _codes(given: str | None) -> tuple[str, ...] | None:
    """Return the codes of a list such as en,km; None for none."""
    return None if given is None else tuple(filter(None, re.split(r"[,\s]+", given)))


def _as_dict(corpus: Corpus) -> dict[str, Any]:
    return {
        "folder": corpus.folder,
        "tokenizer": corpus.tokenizer.kind if corpus.tokenizer else None,
        "vocab_size": corpus.vocab_size,
        "train_tokens": corpus.train.num_tokens,
        "train_bytes": corpus.train.num_bytes,
        "validation_tokens": corpus.validation.num_tokens if corpus.validation else 0,
        "fingerprint": corpus.fingerprint,
        "report": corpus.report,
    }


def _show(corpus: Corpus, *, json: bool) -> None:
    if json:
        write_json(_as_dict(corpus))
        return
    field("training", f"{count(corpus.train.num_tokens)} tokens of {size(corpus.train.num_bytes or 0)}")
    field("validation", f"{count(corpus.validation.num_tokens)} tokens" if corpus.validation else "none")
    for name, store in corpus.further.items():
        field("", f"{count(store.num_tokens)} tokens more, called {name}")
    kind = f"{corpus.tokenizer.kind}, {corpus.vocab_size:,} tokens" if corpus.tokenizer else "none, ids were given"
    field("tokenizer", kind)
    if corpus.report:
        field("report", str(corpus.folder / CORPUS_REPORT))
    write(f"train on it with: {program()} train {quoted(corpus.folder)}")

"""textmill prepare: read and tokenize text once."""

from __future__ import annotations

import json as json_format
import shlex
import sys
from typing import Literal

from textmill.cli.help_pages import Json, Output
from textmill.cli.setting_flags import takes_settings
from textmill.config.merge_layers import from_layers
from textmill.config.settings import Setting


@takes_settings(
    *("data", "val_data", "val_split", "train_split", "text_column", "min_length", "encoding_errors"),
    *("dataset_name", "dataset_config", "dataset_split", "validation_split", "cache_dir"),
    *("tokenizer", "special_tokens", "vocab_size"),
)
def prepare(
    *,
    output: Output,
    repair: Literal["ftfy"] | None = None,
    dedup: Literal["exact", "near"] | None = None,
    max_repetition: float | None = None,
    max_symbols: float | None = None,
    min_alphabetic: float | None = None,
    json: Json = False,
    settings: list[Setting],
) -> None:
    """Read and tokenize text once, to train on it many times with textmill train OUTPUT.

    A BPE vocabulary is chosen by the size of the text unless --vocab-size is given. On request the text is sorted out
    on the way; REPORT.md in the folder tells what was left out and why.

    Parameters
    ----------
    output
        Folder to write; nothing is left there when something fails.
    repair
        ftfy: mend text that was once decoded with the wrong encoding.
    dedup
        Leave out copies of documents: exact ones, or near ones too. Validation text wins over training text.
    max_repetition
        Leave out documents with a larger share of repeated five-word sequences, such as 0.3.
    max_symbols
        Leave out documents with a larger share of symbols, such as 0.1.
    min_alphabetic
        Leave out documents with a smaller share of letters, such as 0.6.

    Examples
    --------
    textmill prepare corpus/ --output prepared --vocab-size 8000
    textmill prepare posts.jsonl --output sorted --dedup exact --min-length 200
    """
    from textmill.console.screen import Screen, count, program, size
    from textmill.data.prepare import prepare as prepare_corpus
    from textmill.data.preparing.clean import Cleaning
    from textmill.data.sources.selection import data_or_dataset
    from textmill.runs.layout import CORPUS_REPORT
    from textmill.training.signals import SignalFlag

    config = from_layers([settings])
    screen = Screen(stream=sys.stderr)
    with SignalFlag() as signals:
        corpus = prepare_corpus(
            data_or_dataset(config.data.data, config.data.dataset_name, config.data.dataset_config),
            val_data=config.data.val_data,
            val_split=config.data.val_split if config.given("val_split") else None,
            tokenizer=config.tokenizer.tokenizer,
            vocab_size=config.model.vocab_size,
            special_tokens=config.tokenizer.special_tokens,
            text_column=config.data.text_column,
            min_length=config.data.min_length,
            encoding_errors=config.data.encoding_errors,
            dataset_split=config.data.dataset_split,
            validation_split=config.data.validation_split,
            cleaning=Cleaning(repair, dedup, max_repetition, max_symbols, min_alphabetic),
            cache_dir=config.data.cache_dir,
            output=output,
            say=screen.say,
            progress=screen.reading,
            interrupted=signals.check,
        )
    screen.end()
    held_out = corpus.validation
    if json:
        made = {
            "folder": str(corpus.folder),
            "tokenizer": corpus.tokenizer.kind if corpus.tokenizer else None,
            "vocab_size": corpus.vocab_size,
            "train_tokens": corpus.train.num_tokens,
            "train_bytes": corpus.train.num_bytes,
            "validation_tokens": held_out.num_tokens if held_out else 0,
            "fingerprint": corpus.fingerprint,
            "report": corpus.report,
        }
        print(json_format.dumps(made, indent=2))
        return
    kind = f"{corpus.tokenizer.kind}, {corpus.vocab_size:,} tokens" if corpus.tokenizer else "none, ids were given"
    print(f"training    {count(corpus.train.num_tokens)} tokens of {size(corpus.train.num_bytes or 0)}")
    print(f"validation  {count(held_out.num_tokens) + ' tokens' if held_out else 'none'}")
    for name, store in corpus.further.items():
        print(f"            {count(store.num_tokens)} tokens more, called {name}")
    print(f"tokenizer   {kind}")
    if corpus.report:
        print(f"report      {corpus.folder / CORPUS_REPORT}")
    print(f"train on it with: {program()} train {shlex.quote(str(corpus.folder))}")

"""textmill prepare: read and tokenize text once."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path

from textmill.cli.pages import Json
from textmill.cli.settings import takes_settings
from textmill.config.entries import Entry
from textmill.config.load import from_layers


@takes_settings(
    *("data", "val_data", "val_split", "train_split", "text_column", "min_length", "encoding_errors"),
    *("dataset_name", "dataset_config", "dataset_split", "validation_split", "cache_dir"),
    *("tokenizer", "special_tokens", "vocab_size"),
)
def prepare(*, output: Path, json: Json = False, settings: list[Entry]) -> None:
    """Read and tokenize text once, to train on it many times: textmill train OUTPUT.

    Parameters
    ----------
    output
        Folder to write; nothing is left there when something fails.
    """
    from textmill.data.prepare import prepare as prepare_corpus
    from textmill.data.selection import data_or_dataset
    from textmill.training.screen import Screen, count, size
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
            cache_dir=config.data.cache_dir,
            output=output,
            say=screen.say,
            progress=screen.reading,
            interrupted=signals.check,
        )
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
        }
        print(json_format.dumps(made, indent=2))
        return
    kind = f"{corpus.tokenizer.kind}, {corpus.vocab_size:,} tokens" if corpus.tokenizer else "none, ids were given"
    print(f"training    {count(corpus.train.num_tokens)} tokens of {size(corpus.train.num_bytes or 0)}")
    print(f"validation  {count(held_out.num_tokens) + ' tokens' if held_out else 'none'}")
    print(f"tokenizer   {kind}")
    print(f"train on it with: textmill train {corpus.folder}")

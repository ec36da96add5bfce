"""The kind of tokenizer that a text gets where nobody chose one: by its script (docs/decisions.md)."""

from __future__ import annotations

import re
from collections.abc import Callable

from textmill.config import Config
from textmill.data.preparing.learning_text import share_in_files
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.sources.file_extensions import IDS, format_of
from textmill.data.sources.file_selection import select_files, weighted_items
from textmill.data.sources.one_time_texts import is_given_once
from textmill.errors import TextmillError

_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Burmese and Khmer: no spaces between words, and words of letters with marks."""

_MOST = 0.5
_FEWEST_ENTRIES = 512


def share_without_spaces(text: str) -> float:
    """Return the share of characters that are Thai, Lao, Burmese or Khmer, white space not counted."""
    if text.isascii():
        return 0.0
    return len(_WITHOUT_SPACES.findall(text)) / max(1, sum(map(len, text.split())))


def settle_kind(config: Config, say: Callable[[str], None]) -> None:
    """Choose Unigram, and say so, where nobody chose a tokenizer and most of the text is in a script that it suits.

    Text that was tokenized before, or that a program gives once, has no say. What cannot be read is left for the
    preparing to refuse. A vocabulary that somebody gave and that is small for Unigram leaves BPE.
    """
    size = config.model.vocab_size
    if config.given("tokenizer") or config.tokenizer.tokenizer != "bpe":
        return
    if size is not None and config.given("vocab_size") and size < _FEWEST_ENTRIES:
        return
    settings = PrepareSettings.of(config)
    items, _ = weighted_items(settings.data)
    if settings.prepared_folder is not None or any(map(is_given_once, items or ())):
        return
    try:
        files = select_files(
            settings.data,
            validation_split=None,
            dataset_split=settings.dataset_split,
            cache_dir=settings.cache_dir,
            rules=settings.rules,
        )
        if any(format_of(path, settings.reading.format)[0] in IDS for path in files.train):
            return
        share = share_in_files(files, settings.reading, share_without_spaces)
    except (TextmillError, OSError):
        return
    if share > _MOST:
        config.tokenizer.derive("tokenizer", "unigram", force=True)
        say("tokenizer: unigram, because the text puts no spaces between words; --tokenizer bpe learns BPE")

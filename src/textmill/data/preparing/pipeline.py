"""The way of a text into a corpus: Document -> split -> clean -> chunk -> ids -> shard.

Files are read once to filter, once to learn a tokenizer from the training side and once to encode: no text is kept in
memory. Where ids are written, and what was encoded before, is the destination's business.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from textmill.console.number_format import size
from textmill.data.preparing.chunks import Encoding
from textmill.data.preparing.corpus_report import CorpusNotes
from textmill.data.preparing.document_filter import FilterResult
from textmill.data.preparing.encode_in_parallel import encode_and_write
from textmill.data.preparing.learning_text import CorpusTally, LearningText, marks_in_files
from textmill.data.preparing.pipeline_output import Destination
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.reading_progress import ReadProgress
from textmill.data.preparing.split import (
    TRAIN,
    VALIDATION,
    Fragment,
    Split,
    divide,
    everything,
    kept_on,
    leaked_documents,
    plan_split,
    training_bytes,
    whole_documents,
    with_beginnings,
)
from textmill.data.preparing.tokenizer_choice import TokenizerChoice, learn_once
from textmill.data.preparing.train_and_validation import TextSet, close_writers, filter_sets, say_leaks, text_sets
from textmill.data.reading.read_documents import read_documents
from textmill.data.sources.file_selection import Files
from textmill.errors import listed
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.char_and_byte import LONGEST_CHARACTER

_WORTH_TELLING = 10_000_000  # bytes


def prepare_text(
    files: Files,
    settings: PrepareSettings,
    choice: TokenizerChoice,
    destination: Destination,
    progress: ReadProgress,
    notes: CorpusNotes,
) -> tuple[Tokenizer, dict[str, Any], list[list[int]]]:
    """Write the token ids of `files` to `destination`: a store for every side.

    Return the tokenizer that made them; set -> how many documents it had, how many were left out and why; and [tokens,
    bytes] of training text by corpus of a mixture. Raises DataError when the text is unusable or leaves a side with
    less than two tokens.
    """
    sets = text_sets(files, settings.share)
    tally = CorpusTally(files)
    filtered = filter_sets(sets, settings.reading, settings.cleaning, tally, notes.add, progress.tick)
    split = _split(files, settings, filtered[TRAIN], tally.documents, notes.add)

    def fragments(tick: Callable[[int], None]) -> Iterator[Fragment]:
        for text_set in [text_set for text_set in sets if not text_set.split_off]:
            training, result = text_set.side == TRAIN, filtered[text_set.side]
            opened: list[Path] = []
            documents = read_documents(text_set.files, settings.reading, None, tick, opened.append)
            documents = result.note_examples(settings.cleaning.repaired(documents))
            for fragment in divide(documents, split if training else everything(VALIDATION, result.found)):
                corpus = files.corpus_of(len(opened) - 1) if training else 0
                yield fragment._replace(side=max(text_set.side, fragment.side), corpus=corpus, file=opened[-1])

    found = filtered[TRAIN].found
    texts = ((part.corpus, part.text) for part in fragments(progress.tick) if part.side == TRAIN)
    marks, shares = partial(marks_in_files, files, settings.reading), training_bytes(split, found, tally.documents)
    text = LearningText(texts, found.kept_characters, marks, tally.shares(shares))
    tokenizer = learn_once(choice, text, destination, progress, notes.add)
    # A single text needs no EOS token, and one that training never saw must not be in the validation text either.
    several = found.kept_documents > 1 if settings.ends_documents is None else settings.ends_documents
    marked = tokenizer.eos_id is not None or tokenizer.prefix_ids or tokenizer.suffix_ids
    if several and not marked and tokenizer.kind != "char":
        notes.add(_without_eos(tokenizer))
    encoding = Encoding(tokenizer, tokenizer.eos_id if several else None)
    writers = [destination.chunk_writer(text_set.folder, encoding) for text_set in sets]
    # Tokenizing is far behind reading where documents are long, so this pass counts as done when ids are written.
    parts = with_beginnings(fragments(lambda num_bytes: progress.tick(0)))
    whole = parts if tokenizer.exact_in_parts else whole_documents(parts)
    total = sum(result.found.kept_characters for result in filtered.values())
    written = encode_and_write(
        whole, encoding, writers, destination, settings.workers, lambda count: progress.advance(count / total)
    )
    if written.reused >= _WORTH_TELLING:
        notes.say(f"{size(written.reused)} of the text were tokenized before, and are not tokenized again")
    _note_unknown(sets, written.unknown, tokenizer.kind, notes)
    close_writers(sets, writers)
    report = {sets[side].name: result.summary() for side, result in filtered.items()}
    for text_set, writer in zip(sets, writers):
        entry = report.setdefault(text_set.name, {"dropped": {}, "repaired": {"documents": 0}})
        if text_set.side == TRAIN or text_set.split_off:  # these two share the documents that were read
            entry["kept_documents"], entry["kept_characters"] = kept_on(split, found, text_set.side)
        entry["tokens"] = writer.num_tokens
    return tokenizer, report, written.sizes


def _note_unknown(sets: Sequence[TextSet], unknown: Sequence[int], kind: str, notes: CorpusNotes) -> None:
    """Note how many tokens of each set are unknown; a single set, as of an evaluation, is no training text."""
    for text_set, count in zip(sets, unknown):
        if count:
            which = f"{text_set.name} " if len(sets) > 1 else ""
            effect = (
                f"each adds {8 * LONGEST_CHARACTER} bits to bits per byte" if kind == "char" else "no bits per byte"
            )
            what = f"not in the vocabulary, and counted as unknown: {count:,} tokens of the {which}text"
            notes.add(f"{what} ({effect})")


def _without_eos(tokenizer: Tokenizer) -> str:
    such = f" (its special tokens are {listed(tokenizer.special_tokens)})" if tokenizer.special_tokens else ""
    return f"nothing marks where a document ends: the tokenizer declares no EOS token; --eos-token names one{such}"


def _split(
    files: Files,
    settings: PrepareSettings,
    training: FilterResult,
    documents: Sequence[int],
    say: Callable[[str], None],
) -> Split:
    """Return which training documents, or which characters of them, validate; none if there are files for that.

    documents: how many each corpus of a mixture has.
    """
    if files.validation is None:
        split = plan_split(training.found, settings.share, say, documents)
        say_leaks(leaked_documents(training.found, split), say, removed=False, split_off=True)
        return split
    say_leaks(training.leaked, say, removed=settings.cleaning.dedup is not None)
    return everything(TRAIN, training.found)

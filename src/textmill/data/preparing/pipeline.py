"""The way of a text into a corpus: Document -> split -> clean -> chunk -> ids -> shard.

Files are read once to filter, once to learn a tokenizer from the training side and once to encode: no text is kept in
memory. Where ids are written, and what was encoded before, is the destination's business.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from textmill.console.number_format import size
from textmill.data.preparing.chunks import Encoding
from textmill.data.preparing.common_lines import CommonLines
from textmill.data.preparing.corpus_report import CorpusNotes
from textmill.data.preparing.document_filter import DocumentFilter, FilterResult
from textmill.data.preparing.encode_in_parallel import encode_and_write
from textmill.data.preparing.learning_text import CorpusTally, LearningText, marks_in_files
from textmill.data.preparing.mixed_forms import MixedForms
from textmill.data.preparing.pipeline_output import Destination
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.reading_progress import ReadProgress
from textmill.data.preparing.scrub import ScrubReport
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
from textmill.data.preparing.split_groups import Groups, split_by_groups
from textmill.data.preparing.tokenizer_choice import TokenizerChoice, learn_once
from textmill.data.preparing.train_and_validation import (
    Source,
    TextSet,
    close_writers,
    filter_sets,
    say_leaks,
    text_sets,
)
from textmill.data.preparing.unknown_text import UnknownLimit, UnknownText
from textmill.data.reading.odd_files import BrokenFarInsideError, OddFiles
from textmill.data.sources.file_selection import Files
from textmill.errors import listed
from textmill.tokenizers import Tokenizer

_WORTH_TELLING = 10_000_000  # bytes


def prepare_text(
    files: Files,
    settings: PrepareSettings,
    choice: TokenizerChoice,
    destination: Destination,
    progress: ReadProgress,
    notes: CorpusNotes,
) -> tuple[Tokenizer, dict[str, Any], list[list[int]], dict[Path, str]]:
    """Write the token ids of `files` to `destination`: a store for every side.

    Return the tokenizer that made them; set -> how many documents it had, how many were left out and why; [tokens,
    bytes] of training text by corpus of a mixture; and the files that cannot be read, each with the reason. Raises
    DataError when the text is unusable, leaves a side with less than two tokens, or has more than `max_unknown` that a
    tokenizer made for other text does not know.
    """
    sets, source = text_sets(files, settings.share), Source(settings.reading, progress.tick, OddFiles(files.within))
    filtered, tally, forms, groups = _filtered(sets, files, settings, choice, source, notes.add)
    split = _split(files, settings, filtered[TRAIN], tally.documents, groups, notes.add)
    split = replace(split, whole_units=choice.normal_form is not None)
    fragments = partial(_fragments, sets, files, settings, filtered, split, source.odd)
    found = filtered[TRAIN].found
    texts = ((part.corpus, part.text) for part in fragments(progress.tick) if part.side == TRAIN)
    marks, shares = partial(marks_in_files, files, settings.reading), training_bytes(split, found, tally.documents)
    text = LearningText(texts, found.kept_characters, marks, tally.shares(shares))
    tokenizer = learn_once(choice, text, destination, progress, notes.add)
    if (mixed := forms.sentence(tokenizer)) is not None:
        notes.add(mixed)
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
    limit = _limit(sets, settings, choice, filtered, split)
    total = sum(result.found.kept_characters for result in filtered.values())

    def done(count: int, unknown: Sequence[UnknownText]) -> None:
        progress.advance(count / total)
        limit.check(unknown)

    written = encode_and_write(whole, encoding, writers, destination, settings.workers, done)
    limit.check(written.unknown, ended=True)
    if written.reused >= _WORTH_TELLING:
        notes.say(f"{size(written.reused)} of the text were tokenized before, and are not tokenized again")
    for text_set, unknown in zip(sets, written.unknown):
        if unknown.tokens:  # a single set, as of an evaluation, is no training text
            notes.add(unknown.sentence(f"the {text_set.name} text" if len(sets) > 1 else "the text", tokenizer))
    close_writers(sets, writers)
    report = _report(sets, filtered, split, written.unknown, limit)
    for text_set, writer in zip(sets, writers):
        report[text_set.name]["tokens"] = writer.num_tokens
    return tokenizer, report, written.sizes, source.odd.reasons


def _filtered(
    sets: Sequence[TextSet],
    files: Files,
    settings: PrepareSettings,
    choice: TokenizerChoice,
    source: Source,
    say: Callable[[str], None],
) -> tuple[dict[int, FilterResult], CorpusTally, MixedForms, Groups | None]:
    """Read all sets once, again without a file that turned out to be broken far inside; say what was found."""
    splits = settings.split_by is not None and settings.share > 0 and files.validation is None
    while True:
        common = CommonLines(sum(path.stat().st_size for path in files.every()) if settings.compares else 0)
        groups = Groups(settings.split_by, files.train, common) if splits and settings.split_by is not None else None
        forms, tally, said = MixedForms(files.every()), CorpusTally(files), list[str]()
        document_filter = DocumentFilter(settings.cleaning, settings.reading.min_length, choice.normal_form, common)
        try:
            if settings.compares:
                documents = source.documents(files.every())
                common.count(settings.cleaning.cleaned(documents, ScrubReport(), []))
            filtered = filter_sets(sets, source, document_filter, tally, forms.watch, said.append, groups)
        except BrokenFarInsideError:
            continue
        if (skipped := source.odd.sentence()) is not None:
            said.append(skipped)
        for sentence in said:
            say(sentence)
        return filtered, tally, forms, groups


def _fragments(
    sets: Sequence[TextSet],
    files: Files,
    settings: PrepareSettings,
    filtered: Mapping[int, FilterResult],
    split: Split,
    odd: OddFiles,
    tick: Callable[[int], None],
) -> Iterator[Fragment]:
    """Read what stays of all sets, each piece with its side, the corpus of a mixture that it is from, and its file."""
    for text_set in [text_set for text_set in sets if not text_set.split_off]:
        training, result = text_set.side == TRAIN, filtered[text_set.side]
        opened: list[Path] = []
        documents = Source(settings.reading, tick, odd).documents(text_set.files, None, opened.append)
        documents = result.note_examples(settings.cleaning.cleaned(documents, result.scrubbed))
        for fragment in divide(documents, split if training else everything(VALIDATION, result.found)):
            corpus = files.corpus_of(len(opened) - 1) if training else 0
            yield fragment._replace(side=max(text_set.side, fragment.side), corpus=corpus, file=opened[-1])


def _limit(
    sets: Sequence[TextSet],
    settings: PrepareSettings,
    choice: TokenizerChoice,
    filtered: Mapping[int, FilterResult],
    split: Split,
) -> UnknownLimit:
    """Return how much of each set may be unknown: no limit for what is split off the text that is learned from."""
    limited = [text_set for text_set in sets if not (text_set.split_off and choice.learns)]
    names = {text_set.side: text_set.title(alone=len(sets) == 1) for text_set in limited}
    return UnknownLimit(settings.max_unknown, names, {side: _size_of(side, filtered, split)[1] for side in names})


def _size_of(side: int, filtered: Mapping[int, FilterResult], split: Split) -> tuple[int, int]:
    """Return how many documents of a side stay, and their characters; two sides may share the documents of a file."""
    if side == TRAIN or side not in filtered:
        return kept_on(split, filtered[TRAIN].found, side)
    return filtered[side].found.kept_documents, filtered[side].found.kept_characters


def _report(
    sets: Sequence[TextSet],
    filtered: Mapping[int, FilterResult],
    split: Split,
    unknown: Sequence[UnknownText],
    limit: UnknownLimit,
) -> dict[str, Any]:
    """Return set -> how many documents it had, how many were left out and why, and what the tokenizer does not know."""
    report = {sets[side].name: result.summary() for side, result in filtered.items()}
    for text_set in sets:
        entry = report.setdefault(text_set.name, {"dropped": {}, "repaired": {"documents": 0}})
        entry["kept_documents"] = _size_of(text_set.side, filtered, split)[0]
        entry["kept_characters"] = unknown[text_set.side].characters
        if text_set.side in limit.names and unknown[text_set.side].tokens:
            entry["unknown"] = unknown[text_set.side].summary()
    return report


def _without_eos(tokenizer: Tokenizer) -> str:
    such = f" (its special tokens are {listed(tokenizer.special_tokens)})" if tokenizer.special_tokens else ""
    return f"nothing marks where a document ends: the tokenizer declares no EOS token; --eos-token names one{such}"


def _split(
    files: Files,
    settings: PrepareSettings,
    training: FilterResult,
    documents: Sequence[int],
    groups: Groups | None,
    say: Callable[[str], None],
) -> Split:
    """Return which training documents, or which characters of them, validate; none if there are files for that.

    documents: how many each corpus of a mixture has. groups: of documents that are not parted, if they matter.
    """
    if files.validation is None:
        found, share = training.found, settings.share
        if groups is None:
            split = plan_split(found, share, say, documents)
        else:
            split = split_by_groups(found, groups.keys(), share, groups.by, say, documents)
        say_leaks(leaked_documents(training.found, split), say, removed=False, split_off=True)
        return split
    say_leaks(training.leaked, say, removed=settings.cleaning.dedup is not None)
    return everything(TRAIN, training.found)

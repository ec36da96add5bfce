"""The size of a run's text, for its preset and its plan: counted in a prepared corpus, estimated in files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from textmill.config import Config, DataConfig
from textmill.config.tokenizer_kinds import NEW_KINDS, WITH_VOCAB_SIZE
from textmill.console.number_format import size as file_size
from textmill.data.batches.packing import pack
from textmill.data.preparing.character_sample import sample_characters
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.tokenizer_choice import suitable_vocab_size
from textmill.data.reading.formats.token_ids import open_token_ids
from textmill.data.sources.file_extensions import IDS, format_of
from textmill.data.sources.file_listing import default_corpus, list_files
from textmill.data.sources.file_rules import FileRules
from textmill.data.sources.file_selection import named_set, weighted_items
from textmill.data.sources.hub import is_dataset
from textmill.data.sources.one_time_texts import is_given_once
from textmill.data.store.corpus import Corpus, open_corpus
from textmill.errors import ConfigError
from textmill.planning.plan import Text, tokens_of_bytes
from textmill.runs.layout import is_prepared
from textmill.tokenizers import load_tokenizer
from textmill.tokenizers.existing_tokenizers import is_missing_folder
from textmill.tokenizers.fim_tokens import ADDED, with_fim_tokens

_USUAL_CHARACTERS = 100
"""Different characters of a text in English, for a plan of text that cannot be read."""


def corpus_size_bytes(
    data: Sequence[str | Path] | str | Path | None,
    *,
    split: str = "train",
    cache_dir: str | Path | None = None,
    rules: FileRules | None = None,
) -> int:
    """Return the size of all files that `data` names (None: the default corpus) without reading them.

    Of a prepared corpus it is the size of its text. Datasets and named corpora are fetched. Raises what `list_files`
    and `open_corpus` raise.
    """
    items = [data] if isinstance(data, str | Path) else data
    if items is not None and len(items) == 1 and is_prepared(Path(items[0])):
        corpus = open_corpus(Path(items[0]))
        return sum(store.num_bytes for store in (corpus.train, corpus.validation) if store is not None)
    return sum(path.stat().st_size for path in _files_of(items, split, cache_dir, rules))


def _files_of(
    items: Sequence[str | Path] | None, split: str, cache_dir: str | Path | None, rules: FileRules | None
) -> list[Path]:
    return default_corpus() if items is None else list_files(items, split=split, cache_dir=cache_dir, rules=rules)


def size_of(settings: PrepareSettings) -> int:
    """Return the bytes of the files to train on. Raises ConfigError where they are only known once they are read."""
    items, _ = weighted_items(settings.data)
    if any(is_dataset(item) for item in items or ()):
        raise ConfigError("the size of a dataset of the hub is not known here: textmill train --dry-run loads it")
    if once := [item for item in items or () if is_given_once(item)]:
        raise ConfigError(
            f"data {once[0]}: a plan does not read text that is given only once; use textmill train --dry-run"
        )
    where = {"split": settings.dataset_split, "cache_dir": settings.cache_dir}
    return corpus_size_bytes(items, **where, rules=settings.rules)


def names_ids(settings: PrepareSettings) -> bool:
    """Whether the training data are arrays of token ids and not text; of a mixture of both, what its first file is.

    Raises what `list_files` raises.
    """
    items, _ = weighted_items(settings.data)
    if not items or any(is_dataset(item) for item in items) or settings.prepared_folder is not None:
        return False
    where = {"split": settings.dataset_split, "cache_dir": settings.cache_dir}
    files = list_files(items, **where, rules=settings.rules)
    return format_of(files[0], settings.reading.format)[0] in IDS


def is_tokenized(settings: PrepareSettings) -> bool:
    """Whether the data has been tokenized already: it is ids or a prepared corpus. Raises what `list_files` raises."""
    return settings.prepared_folder is not None or names_ids(settings)


def counted_text(config: Config, corpus: Corpus) -> Text:
    """Return the text of a run on `corpus`, counted, packed as the run would."""
    held_out = corpus.validation.num_tokens if corpus.validation is not None else 0
    text = Text(corpus.train.num_tokens, held_out, corpus.vocab_size, learned(config, corpus))
    strategy = packing_of(config.data, corpus)
    if strategy == "concat":
        return text
    targets = pack(corpus.train.document_lengths(), config.model.max_seq_len, strategy).targets
    return replace(text, rows=targets.size, row_tokens=max(1, round(int(targets.sum()) / targets.size)))


def estimated_text(config: Config, num_bytes: int, say: Callable[[str], None] = lambda sentence: None) -> Text:
    """Return the text of a run that has not been read: counted if it is prepared or ids, else estimated.

    num_bytes: its size, from which follow the tokens of text. Its documents are not known, so that rows are those of
    one stream. say: is told of which part of the text the characters were counted.
    """
    settings = PrepareSettings.of(config)
    if settings.prepared_folder is not None:
        return counted_text(config, open_corpus(settings.prepared_folder))
    kind = "bpe" if is_missing_folder(str(settings.tokenizer)) else str(settings.tokenizer)
    items, weights = weighted_items(settings.data)
    sets = [named_set(item)[1] for item in settings.val_data or ()][:1]
    if names_ids(settings):
        return _text_of_ids(settings, kind, *(list_files(given, rules=settings.rules) for given in (items or (), sets)))
    made, vocab_size, bytes_per_character = _vocabulary(settings, kind, num_bytes, say)
    if weights:  # the mixture is as long as its largest part requires
        parts = [corpus_size_bytes(item, cache_dir=settings.cache_dir, rules=settings.rules) for item in items or ()]
        num_bytes = int(max(size * sum(weights) / weight for size, weight in zip(parts, weights)))
    tokens = tokens_of_bytes(num_bytes, made, vocab_size, bytes_per_character)
    if sets:
        num_bytes = corpus_size_bytes(sets, cache_dir=settings.cache_dir, rules=settings.rules)
        held_out = tokens_of_bytes(num_bytes, made, vocab_size, bytes_per_character)
    else:
        held_out = int(tokens * settings.share)
        tokens -= held_out
    return Text(tokens, held_out, vocab_size, learned=kind in WITH_VOCAB_SIZE, estimated=True)


def _vocabulary(
    settings: PrepareSettings, kind: str, num_bytes: int, say: Callable[[str], None]
) -> tuple[str, int, float]:
    """Return the kind of the tokenizer that the run will have, its size, and the bytes of a character of the text.

    kind: the one to learn, or the path of one that exists. A sample of the text is read where characters are tokens or
    are added to the vocabulary.
    """
    known = None if kind in NEW_KINDS else load_tokenizer(kind)
    known = with_fim_tokens(known) if known is not None and settings.fim and settings.extend_vocab else known
    if known is None and kind != "char":
        size = 257 if kind == "byte" else settings.vocab_size or suitable_vocab_size(num_bytes)
        return kind, size + (len(settings.special_tokens) + ADDED * settings.fim if kind == "byte" else 0), 1.0
    if known is not None and known.kind != "char" and not (settings.extend_vocab and known.unk_id is not None):
        return known.kind, known.vocab_size, 1.0
    items, _ = weighted_items(settings.data)
    files = _files_of(items, settings.dataset_split, settings.cache_dir, settings.rules)
    form = settings.normalize if known is None else known.normal_form
    sample = sample_characters(files, settings.reading, form)
    per_character = sample.bytes_per_character
    if known is not None:
        new = len(known.unknown_in(sample.text)) if settings.extend_vocab else 0
        size, found = known.vocab_size + new, f"{known.vocab_size:,} of the tokenizer, {new:,} new characters"
    else:
        new = len(set(sample.text)) or _USUAL_CHARACTERS
        others = len(settings.special_tokens) + (ADDED + 1) * settings.fim  # 1 is the EOS token, below it is <unk>
        size, found = new + 1 + others, f"{new:,} different characters"
    if known is None or new:
        whole = sample.num_bytes >= num_bytes
        most = "all of the text" if whole else f"a sample of {file_size(sample.num_bytes)}, the text may have more"
        say(f"vocabulary: {found} in {most}")
    return "char" if known is None else known.kind, size, per_character


def _text_of_ids(settings: PrepareSettings, kind: str, train: list[Path], validation: list[Path]) -> Text:
    """Return the text that arrays of ids are; they are read if the size of the vocabulary is not given."""
    vocab_size = settings.vocab_size
    arrays, others = (
        [open_token_ids(path, settings.reading, vocab_size) for path in paths] for paths in (train, validation)
    )
    tokens = sum(array.count for array in arrays)
    if kind not in WITH_VOCAB_SIZE:
        vocab_size = 257 if kind == "byte" else load_tokenizer(kind).vocab_size
    elif vocab_size is None:
        vocab_size = 1 + max(array.highest(None, lambda num_bytes: None) for array in (*arrays, *others))
    if others:
        return Text(tokens, sum(array.count for array in others), vocab_size)
    kept = int(tokens * (1 - settings.share))
    return Text(kept, tokens - kept, vocab_size)


def learned(config: Config, corpus: Corpus) -> bool:
    """Whether the vocabulary was learned of `corpus` as the configuration asks, not as whoever prepared it asked."""
    kind = corpus.tokenizer.kind if corpus.tokenizer is not None else None
    return (
        kind == config.tokenizer.tokenizer
        and kind in WITH_VOCAB_SIZE
        and PrepareSettings.of(config).prepared_folder is None
    )


def packing_of(settings: DataConfig, corpus: Corpus) -> str:
    """Return how documents share rows: concat if there is only one, or one of `packing.STRATEGIES`."""
    strategy = settings.packing_strategy if settings.pack_sequences else "alone"
    return strategy if strategy == "concat" or corpus.train.document_lengths().size > 1 else "concat"

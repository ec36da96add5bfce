"""The rows of a run: those that it trains on, packed and augmented, and those that it is evaluated on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from textmill.config import Config
from textmill.data.batches.fill_in_middle import FillInMiddle
from textmill.data.batches.loader import (
    Augment,
    Batch,
    Prefetch,
    Rows,
    TrainLoader,
    eval_batches,
    separates_documents,
)
from textmill.data.batches.packed_rows import PackedRows
from textmill.data.batches.text_augmentation import Augment as ChangedText
from textmill.data.batches.text_size import packing_of
from textmill.data.store.corpus import Corpus
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.planning.logits import evaluation_rows


def training_rows(
    config: Config, corpus: Corpus, *, say: Callable[[str], None], interrupted: Callable[[], None]
) -> tuple[Rows, Augment | None]:
    """Return the rows of the configuration, and what changes their text, None if nothing does.

    Says which settings have no effect on this corpus. Raises ConfigError for what cannot be done with it.
    """
    data, length = config.data, config.model.max_seq_len
    augment = _augment(config, corpus, say)
    mask = data.mask_documents and data.pack_sequences
    strategy = packing_of(data, corpus)
    if strategy == "concat":
        if not data.pack_sequences or data.packing_strategy != "concat":
            name = f"packing_strategy {data.packing_strategy}" if data.pack_sequences else "pack_sequences false"
            say(f"{name} has no effect: the text to train on is a single document, cut into rows")
        return Rows(corpus.train, length, mask_documents=mask), augment

    def tick(done: int, total: int) -> None:
        interrupted()

    return PackedRows(corpus.train, length, strategy, mask_documents=mask, tick=tick), augment


def _augment(config: Config, corpus: Corpus, say: Callable[[str], None]) -> Augment | None:
    """Return what changes the batches: first the letters of their text, then the order of its parts."""
    data, seed, changes = config.data, _data_seed(config), list[Augment]()
    if data.augmentation:
        changes.append(ChangedText(data.augmentation, data.augmentation_prob, corpus.tokenizer, seed))
    if data.fim_rate:
        if corpus.tokenizer is None:
            raise ConfigError("fim_rate needs a tokenizer, and the data is token ids without one: leave it out")
        changes.append(FillInMiddle(data.fim_rate, data.fim_format, corpus.tokenizer, corpus.train.eos_id, seed))
        say(
            f"fill-in-the-middle: {data.fim_rate:.0%} of the documents in a row, {data.fim_format}; the validation "
            "loss is that of plain text"
        )

    def every(batch: Batch, positions: np.ndarray) -> Batch:
        for change in changes:
            batch = change(batch, positions)
        return batch

    return every if len(changes) > 1 else changes[0] if changes else None


@dataclass(frozen=True)
class HeldOut:
    """A text that the run is evaluated on.

    name: of a set that was given one. batches: of this process. num_bytes: UTF-8 bytes of the text that the batches of
    all processes score, None if that is not known.
    """

    name: str | None
    batches: eval_batches
    num_bytes: float | None


def held_out_sets(config: Config, corpus: Corpus, world: World) -> list[HeldOut]:
    """Return the texts that the run is evaluated on, the main one first; none without validation text.

    Their rows are cut from the stream of all documents however training rows are packed: every token but the first is
    scored, so losses of differently packed runs are means over the same targets, and bits per byte count every byte.
    Documents are hidden from each other where training hides them.
    """
    if corpus.validation is None:
        return []
    settings, model = config.training, config.model
    rows_at_once = settings.eval_batch_size or evaluation_rows(
        model, settings.batch_size, model.vocab_size or corpus.vocab_size
    )
    hidden = config.data.mask_documents or not config.data.pack_sequences
    sets = []
    for name, store in [(corpus.main, corpus.validation), *corpus.further.items()]:
        batches = eval_batches(
            Rows(store, model.max_seq_len, mask_documents=hidden and separates_documents(store)),
            rows_at_once,
            world_size=world.size,
            rank=world.rank,
            limit=settings.eval_batches,
            pin=world.device.type == "cuda",
        )
        sets.append(HeldOut(name, batches, store.num_bytes * batches.share or None))
    return sets


def make_loader(config: Config, rows: Rows, augment: Augment | None, world: World) -> TrainLoader | Prefetch:
    """Return the loader of this process's batches; they are read ahead for a GPU, and if num_workers says so."""
    settings, on_gpu = config.training, world.device.type == "cuda"
    loader = TrainLoader(
        rows,
        batch_size=settings.batch_size,
        accumulation=settings.gradient_accumulation_steps,
        world_size=world.size,
        rank=world.rank,
        seed=_data_seed(config),
        augment=augment,
    )
    if not on_gpu and not config.data.num_workers:
        return loader
    return Prefetch(loader, ahead=max(1, config.data.num_workers), pin=on_gpu)


def _data_seed(config: Config) -> int:
    settings = config.training
    return settings.seed if settings.data_seed is None else settings.data_seed


def rows_line(config: Config, rows: Rows) -> str | None:
    """Return how documents share rows and how full these are; None if the text is one stream, as by default."""
    data = config.data
    if isinstance(rows, PackedRows):
        how = f"whole documents by {data.packing_strategy}" if data.pack_sequences else "each document on its own"
    elif rows.mask_documents:
        how = "one stream of documents"
    else:
        return None
    text = f"{len(rows):,} rows of {rows.seq_len}, {how}, {rows.filled:.1%} filled"
    if not data.pack_sequences:
        return text
    if rows.mask_documents:
        return f"{text}; the documents of a row are hidden from each other"
    return f"{text}; the documents of a row see those before them (--mask-documents hides them)"

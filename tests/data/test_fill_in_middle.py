"""Fill-in-the-middle: divided documents put together again are the text, and only seed, epoch and row decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from support.small_corpora import end_document
from textmill.data import Rows, TokenStore, TrainLoader
from textmill.data.batches.fill_in_middle import FillInMiddle
from textmill.data.batches.loader import IGNORED, Batch, Prefetch
from textmill.data.batches.packed_rows import PackedRows
from textmill.data.prepare import prepare
from textmill.data.store.token_shards import ShardWriter
from textmill.errors import ConfigError
from textmill.tokenizers import Tokenizer, make_byte, make_char, train_bpe, train_unigram
from textmill.tokenizers.fim_tokens import NEW, fim_tokens, with_fim_tokens

CODE = "def add(a, b):\n    if a < 0:\n        return b\n    return a + b  # sum of both\n\n\nclass Other:\n    x = 1\n"
BYTE = with_fim_tokens(make_byte())
BPE = with_fim_tokens(train_bpe([CODE * 4], 320))
EVERY = {
    "byte": BYTE,
    "char": with_fim_tokens(make_char([CODE])),
    "bpe": BPE,
    "unigram": with_fim_tokens(train_unigram([CODE * 4], 330)),
}


def written(folder: Path, texts: list[str], tokenizer: Tokenizer = BYTE) -> TokenStore:
    writer = ShardWriter(folder, tokenizer.vocab_size, eos_id=tokenizer.eos_id)
    for text in texts:
        writer.write(tokenizer.encode(text), len(text.encode()))
        end_document(writer)
    writer.close()
    return TokenStore.open(folder)


def divided(rows: Rows, rate: float, form: str, tokenizer: Tokenizer = BYTE, seed: int = 3, first: int = 0) -> Batch:
    return FillInMiddle(rate, form, tokenizer, tokenizer.eos_id, seed)(
        rows.batch(np.arange(len(rows))), np.arange(first, first + len(rows))
    )


def sequence_of(tokens: torch.Tensor, targets: torch.Tensor) -> list[int]:
    """The tokens of a row up to its last target."""
    counted = (targets != IGNORED).nonzero()
    last = int(counted[-1]) if len(counted) else 0
    return [*tokens[: last + 1].tolist(), *targets[last : last + 1].tolist()]


def put_together(ids: list[int], tokenizer: Tokenizer) -> tuple[list[int], int]:
    """Read documents as the paper writes them, one after the other; return the ids in their order and how many were."""
    names = tokenizer.vocabulary()
    assert tokenizer.eos_id is not None
    before, after, between, end = *(names[name] for name in NEW[:3]), tokenizer.eos_id
    found, at, count = [], 0, 0
    while at < len(ids):
        if ids[at] != before:
            found.append(ids[at])
            at += 1
            continue
        stop = ids.index(end, at) + 1
        document, count = ids[at:stop], count + 1
        second, third = document.index(after), document.index(between)
        if second == 1:  # suffix first: prefix and middle are one text
            found += document[third + 1 : -1] + document[2:third] + [end]
        else:
            found += document[1:second] + document[third + 1 : -1] + document[second + 1 : third] + [end]
        at = stop
    return found, count


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text("ab\né", min_size=1, max_size=40), min_size=1, max_size=6),
    length=st.integers(8, 48),
    rate=st.sampled_from([0.4, 1.0]),
    form=st.sampled_from(["psm", "spm", "both"]),
    packing=st.sampled_from([None, "greedy", "best_fit"]),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_row_put_together_again_is_the_row(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], length: int, rate: float, form: str,
    packing: str | None, masked: bool, seed: int,
) -> None:  # fmt: skip
    """Undone, every row is its text, but for at most four tokens per divided document at its end; tokens, targets,
    counts and segments agree with each other."""
    store = written(tmp_path_factory.mktemp("store"), [*texts, "ab"])
    packed: Any = packing
    rows = (
        Rows(store, length, mask_documents=masked)
        if packing is None
        else PackedRows(store, length, packed, mask_documents=masked)
    )
    plain, new = rows.batch(np.arange(len(rows))), divided(rows, rate, form, seed=seed)
    assert new.tokens.shape == plain.tokens.shape and new.num_targets == int((new.targets != IGNORED).sum())
    marks = [BYTE.vocabulary()[name] for name in NEW[:3]]
    assert not torch.isin(new.targets, torch.tensor(marks)).any()
    here, following = new.targets[:, :-1], new.tokens[:, 1:]
    assert ((here == following) | (here == IGNORED) | (new.targets[:, 1:] == IGNORED)).all()
    for number in range(len(rows)):
        whole = sequence_of(plain.tokens[number], plain.targets[number])
        ids, count = put_together(sequence_of(new.tokens[number], new.targets[number]), BYTE)
        ends = [BYTE.eos_id]
        text, expected = ([i for i in part if i not in ends] for part in (ids, whole))
        assert text == expected[: len(text)] and len(expected) - len(text) <= 4 * count
        if not count:
            assert torch.equal(new.tokens[number], plain.tokens[number])
    if masked and new.segments is not None and new.positions is not None:
        begins = new.positions == 0
        assert torch.equal(new.segments, begins.long().cumsum(1) - 1)
        assert (begins | (new.tokens != BYTE.vocabulary()[NEW.prefix])).all()


@pytest.mark.parametrize("kind", EVERY)
def test_the_text_comes_back_with_every_tokenizer(kind: str, tmp_path: Path) -> None:
    """Whether a tokenizer cuts between or within tokens, the parts of a document in their order are its text."""
    tokenizer = EVERY[kind]
    rows = Rows(written(tmp_path, [CODE], tokenizer), 400)
    for epoch in range(20):
        batch = divided(rows, 1.0, "both", tokenizer, first=epoch)
        ids, count = put_together(sequence_of(batch.tokens[0], batch.targets[0]), tokenizer)
        assert (tokenizer.decode(ids), count) == (CODE, 1)


def test_prefixes_of_bpe_end_within_tokens_as_prompts_do(tmp_path: Path) -> None:
    """The prefix in a row is encoded as the same text is as a prompt, wherever it ends."""
    rows = Rows(written(tmp_path, [CODE], BPE), 200)
    marks, inside = fim_tokens(BPE, ""), 0
    whole = {BPE.decode(BPE.encode(CODE)[:cut]) for cut in range(len(BPE.encode(CODE)) + 1)}
    for epoch in range(40):
        ids = divided(rows, 1.0, "psm", BPE, first=epoch).tokens[0].tolist()
        prefix = ids[1 : ids.index(marks.suffix)]
        assert prefix == BPE.encode(BPE.decode(prefix)).tolist()
        inside += BPE.decode(prefix) not in whole
    assert inside > 5


def test_a_share_of_documents_is_divided_at_places_that_are_all_as_likely(tmp_path: Path) -> None:
    """4,000 documents at rate 0.3: within four deviations of the binomial; half of them in each format; the positions
    spread evenly, by the mean length of the middle."""
    rows = PackedRows(written(tmp_path, ["x" * 20] * 4000), 60, "greedy")
    batch = divided(rows, 0.3, "both")
    marks = fim_tokens(BYTE, "")
    assert len(rows) == 2000  # two in a row: there is room for what is added
    divides = int((batch.tokens == marks.prefix).sum())
    assert abs(divides - 1200) < 4 * (4000 * 0.3 * 0.7) ** 0.5
    spm = int(((batch.tokens[:, :-1] == marks.prefix) & (batch.tokens[:, 1:] == marks.suffix)).sum())
    psm_of_empty_prefixes = divides / 2 * (2 * 21 - 1) / 21**2
    assert abs(spm - divides / 2 - psm_of_empty_prefixes) < 4 * (divides / 4) ** 0.5
    cuts, augment = [], FillInMiddle(1.0, "psm", BYTE, BYTE.eos_id, 3)
    single = Rows(written(tmp_path / "single", ["x" * 20]), 40)
    for row in augment(single.batch(np.zeros(500, dtype=np.int64)), np.arange(500)).tokens:
        ids = row.tolist()
        cuts.append(ids.index(BYTE.eos_id) - ids.index(marks.middle) - 1)
    expected = sum(abs(a - b) for a in range(21) for b in range(21)) / 21**2
    assert abs(float(np.mean(cuts)) - expected) < 4 * 5.0 / 500**0.5


def test_only_seed_and_position_decide(tmp_path: Path) -> None:
    """Steps read in any order, by any number of ranks or threads, are equal; every epoch and seed divides anew."""
    rows = Rows(written(tmp_path, [CODE * 3, CODE, CODE * 2]), 64)

    def loader(seed: int = 5, ranks: int = 1, rank: int = 0) -> TrainLoader:
        augment = FillInMiddle(0.7, "both", BYTE, BYTE.eos_id, seed)
        return TrainLoader(rows, batch_size=4 // ranks, world_size=ranks, rank=rank, seed=5, augment=augment)

    whole = [loader().batches(step)[0] for step in range(8)]
    for step in (6, 1, 7):  # as a resumed run asks
        again = loader().batches(step)[0]
        parts = [loader(ranks=2, rank=rank).batches(step)[0] for rank in (0, 1)]
        for name in ("tokens", "targets"):
            assert torch.equal(getattr(again, name), getattr(whole[step], name))
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole[step], name))
    for ahead in (1, 2):
        ahead_of = Prefetch(loader(), ahead=ahead)
        assert all(torch.equal(ahead_of.batches(step)[0].tokens, whole[step].tokens) for step in range(8))
    order = np.arange(len(rows))
    augment = FillInMiddle(1.0, "psm", BYTE, BYTE.eos_id, 5)
    first, second = (augment(rows.batch(order), order + epoch * len(rows)).tokens for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, FillInMiddle(1.0, "psm", BYTE, BYTE.eos_id, 6)(rows.batch(order), order).tokens)


def test_a_divided_row_ends_its_middle(tmp_path: Path) -> None:
    """The text at the end of a row gives way, never the token after the middle: a model learns when to stop."""
    rows = Rows(written(tmp_path, [CODE * 20]), 64)
    batch = divided(rows, 1.0, "both")
    full = (rows.counts(np.arange(len(rows))) == 64).nonzero()[0]
    assert full.size > 20 and (batch.targets[full, -1] == BYTE.eos_id).all()


@pytest.mark.parametrize("kind", EVERY)
def test_names_in_a_text_stay_text(kind: str, tmp_path: Path) -> None:
    """A file that has the names of all special tokens is those characters, and none of the tokens."""
    text = f"print('{NEW.prefix} {NEW.suffix} {NEW.middle} <|endoftext|>')\n" * 30
    (tmp_path / "a.py").write_text(text)
    given: dict[str, Any] = {"vocab_size": 330} if kind in ("bpe", "unigram") else {}
    corpus = prepare(tmp_path / "a.py", tokenizer=kind, val_split=0, fim_rate=0.5, cache_dir=tmp_path, **given)
    assert corpus.tokenizer is not None
    ids = corpus.train.read(0, len(corpus.train))
    marks = [*fim_tokens(corpus.tokenizer, "")]
    assert not np.isin(ids, marks).any() and corpus.tokenizer.decode(ids) == text
    if given:
        assert corpus.vocab_size <= 330


@pytest.mark.parametrize(
    "names",
    [
        ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
        ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
        NEW[:3],
    ],
)
def test_foreign_names_are_used_and_made_special(names: tuple[str, str, str], tmp_path: Path) -> None:
    """A tokenizer of another program keeps its ids; its names in a text are text, even where it would find them."""
    backend = Backend.from_str(train_bpe([CODE * 4], 300).content)
    backend.add_tokens([AddedToken(name, special=False) for name in names])
    theirs = Tokenizer.from_backend(backend, {"eos_token": "<|endoftext|>"})
    made = with_fim_tokens(theirs)
    assert made.vocabulary() == theirs.vocabulary()
    assert fim_tokens(made, "")[:3] == tuple(theirs.vocabulary()[name] for name in names)
    assert made.decode(made.encode(names[0])) == names[0] and len(made.encode(names[0])) > 1
    assert len(theirs.encode(names[0])) == 1
    assert json.loads(made.content)["model"] == json.loads(theirs.content)["model"]


def test_without_the_tokens_it_is_refused_and_extending_adds_them(tmp_path: Path) -> None:
    """A tokenizer that exists is refused with the flag that adds them; then its ids stay and three are new."""
    (tmp_path / "a.py").write_text(CODE * 30)
    old = train_bpe([CODE * 4], 300)
    with pytest.raises(ConfigError, match="add them with --extend-vocab"):
        prepare(tmp_path / "a.py", tokenizer=old, fim_rate=0.5, cache_dir=tmp_path)
    said: list[str] = []
    corpus = prepare(
        tmp_path / "a.py", tokenizer=old, fim_rate=0.5, extend_vocab=True, cache_dir=tmp_path, say=said.append
    )
    assert corpus.tokenizer is not None and corpus.vocab_size == old.vocab_size + 3
    assert old.vocabulary().items() <= corpus.tokenizer.vocabulary().items()
    assert any("the vocabulary grows from 300 to 303" in sentence for sentence in said)

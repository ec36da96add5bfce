"""Random changes of characters: what was asked for and nothing else, by seed and place alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.small_corpora import end_document
from textmill.data import Rows, TokenStore, TrainLoader
from textmill.data.batches.loader import IGNORED, Batch
from textmill.data.batches.packed_rows import PackedRows
from textmill.data.batches.text_augmentation import ALIKE, Augment
from textmill.data.store.token_shards import ShardWriter
from textmill.errors import ConfigError
from textmill.tokenizers import Tokenizer, make_byte, make_char, train_bpe

TEXT = 'So it goes. \n\n\tWhy?  "No reason" -- none; \'tis so!\n' * 8
CHAR, BYTE = make_char([TEXT]), make_byte()


def written(folder: Path, texts: list[str], tokenizer: Tokenizer) -> TokenStore:
    writer = ShardWriter(folder, tokenizer.vocab_size)
    for text in texts:
        writer.write(tokenizer.encode(text), len(text.encode()))
        end_document(writer)
    writer.close()
    return TokenStore.open(folder)


def read(batch: Batch, tokenizer: Tokenizer) -> list[str]:
    """Each row's text, the last target included; what has no target at the end of a row is left out."""
    found = []
    for tokens, targets in zip(batch.tokens, batch.targets):
        count = int((targets != IGNORED).sum())
        assert (targets[count:] == IGNORED).all() and torch.equal(tokens[1:count], targets[: max(count - 1, 0)])
        found.append(tokenizer.decode(torch.cat([tokens[:count], targets[count - 1 : count]]).tolist()))
    return found


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rows]:
    base = tmp_path_factory.mktemp("text")
    return {tokenizer.kind: Rows(written(base / tokenizer.kind, [TEXT], tokenizer), 48) for tokenizer in (CHAR, BYTE)}


def pair(rows: Rows, kinds: list[str], probability: float, tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """The rows' texts before and after the changes; the count of targets is right."""
    batch = rows.batch(np.arange(len(rows) - 1))
    changed = Augment(kinds, probability, tokenizer, seed=3)(batch, np.arange(len(rows) - 1))
    assert changed.num_targets == int((changed.targets != IGNORED).sum())
    return read(batch, tokenizer), read(changed, tokenizer)


@pytest.mark.parametrize("tokenizer", [CHAR, BYTE], ids=["char", "byte"])
def test_case_changes_nothing_but_case(rows: dict[str, Rows], tokenizer: Tokenizer) -> None:
    """Every letter whose other case is in the vocabulary, and no other character."""
    before, after = pair(rows[tokenizer.kind], ["case"], 1.0, tokenizer)
    known = set(TEXT) if tokenizer is CHAR else set(map(chr, range(128)))
    expected = ["".join(c.swapcase() if c.swapcase() in known else c for c in text) for text in before]
    assert after == expected and after != before


@pytest.mark.parametrize("tokenizer", [CHAR, BYTE], ids=["char", "byte"])
def test_punctuation_changes_within_its_sort(rows: dict[str, Rows], tokenizer: Tokenizer) -> None:
    """A mark becomes another of its sort that is in the vocabulary; everything else stays."""
    before, after = pair(rows[tokenizer.kind], ["punctuation"], 1.0, tokenizer)
    known = set(TEXT) if tokenizer is CHAR else set(map(chr, range(128)))
    seen = set()
    for old, new in zip("".join(before), "".join(after), strict=True):
        others = next((set(group) & known - {old} for group in ALIKE if old in group), set())
        assert new in others if others else new == old
        seen |= {new} if others else set()
    assert {".", "!", "?", "'", '"'} <= seen


@pytest.mark.parametrize("tokenizer", [CHAR, BYTE], ids=["char", "byte"])
def test_white_space_becomes_one_space(rows: dict[str, Rows], tokenizer: Tokenizer) -> None:
    """With certainty every run, whose place the text behind it takes; targets go along."""
    before, after = pair(rows[tokenizer.kind], ["whitespace"], 1.0, tokenizer)
    assert after == [re.sub(r"\s+", " ", text) for text in before] and after != before
    some = pair(rows[tokenizer.kind], ["whitespace"], 0.5, tokenizer)[1]
    assert [text.split() for text in some] == [text.split() for text in before] and some not in (before, after)


@settings(deadline=None, max_examples=30)
@given(
    kinds=st.lists(st.sampled_from(["case", "punctuation", "whitespace"]), unique=True),
    texts=st.lists(st.text(alphabet="aB .,\n", min_size=1, max_size=20), min_size=1, max_size=6),
    probability=st.floats(0, 1),
)
def test_documents_stay_documents(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], texts: list[str], probability: float
) -> None:
    """In packed rows no target leads into another document, and segments tell the changed documents apart."""
    store = written(tmp_path_factory.mktemp("text"), texts, BYTE)
    if all(len(text) < 2 for text in texts):
        return
    packed = PackedRows(store, 16, "first_fit", mask_documents=True)
    every = np.arange(len(packed))
    batch, changed = packed.batch(every), Augment(kinds, probability, BYTE, 5)(packed.batch(every), every)
    assert changed.segments is not None and changed.positions is not None and batch.segments is not None
    for row in range(len(packed)):
        for segment in range(int(batch.segments[row].max()) + 1):
            old = batch.segments[row] == segment
            if not (batch.targets[row][old] != IGNORED).any():
                continue
            new = changed.segments[row] == segment
            tokens, targets = changed.tokens[row][new], changed.targets[row][new]
            assert changed.positions[row][new].tolist() == list(range(len(tokens)))
            counted = int((targets != IGNORED).sum())
            assert torch.equal(targets[:counted][:-1], tokens[1:counted]) and (targets[counted:] == IGNORED).all()
            plain = "".join(map(chr, batch.tokens[row][old].tolist())).lower().split()
            if "punctuation" not in kinds:
                assert "".join(map(chr, tokens.tolist())).lower().split() == plain
    if not kinds or probability == 0:
        assert torch.equal(batch.tokens, changed.tokens) and torch.equal(batch.targets, changed.targets)


def test_changes_are_rare_as_asked(rows: dict[str, Rows]) -> None:
    """A tenth of the letters, other ones in each epoch and for each seed, the same ones when asked again."""
    big = TrainLoader(rows["byte"], batch_size=400, seed=1, augment=Augment(["case"], 0.1, BYTE, 1))
    plain = TrainLoader(rows["byte"], batch_size=400, seed=1)
    first, again, later = (big.batches(step)[0].tokens for step in (0, 0, 1))
    old = plain.batches(0)[0].tokens
    letters = ((old | 32) >= ord("a")) & ((old | 32) <= ord("z"))
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert abs(float((first != old)[letters].float().mean()) - 0.1) < 0.01
    other = TrainLoader(rows["byte"], batch_size=400, seed=1, augment=Augment(["case"], 0.1, BYTE, 2))
    assert not torch.equal(other.batches(0)[0].tokens, first)
    places = {(old != first).nonzero()[:, 1].unique().numel() for _ in range(1)}
    assert places == {48}


def test_changes_follow_rows_and_not_ranks(rows: dict[str, Rows]) -> None:
    """Two ranks train on what one would train on."""
    augment = Augment(["case", "punctuation", "whitespace"], 0.3, CHAR, 1)
    one = TrainLoader(rows["char"], batch_size=6, seed=2, augment=augment).batches(4)
    two = [TrainLoader(rows["char"], batch_size=3, world_size=2, rank=r, seed=2, augment=augment) for r in (0, 1)]
    both = torch.cat([own.batches(4)[0].targets for own in two])
    assert torch.equal(one[0].targets, both)


def test_larger_tokens_are_refused() -> None:
    """With BPE, and with ids alone, a change would move the tokens around it."""
    with pytest.raises(ConfigError, match=r"with the bpe tokenizer .* use --tokenizer char or byte"):
        Augment(["case"], 0.1, train_bpe([TEXT], 300), 0)
    with pytest.raises(ConfigError, match="ids without a tokenizer"):
        Augment(["case"], 0.1, None, 0)

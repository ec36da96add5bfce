"""Several corpora in given proportions."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.small_corpora import end_document
from textmill.data import Rows, TrainLoader, prepare
from textmill.data.sources.file_selection import select_files, weighted_items
from textmill.data.store.mixture import Mixture, Part
from textmill.data.store.token_shards import ShardWriter, TokenStore
from textmill.errors import ConfigError, DataError


def store_of(folder: Path, documents: list[list[int]]) -> TokenStore:
    writer = ShardWriter(folder, 1000)
    for ids in documents:
        writer.write(np.array(ids), len(ids))
        end_document(writer)
    writer.close()
    return TokenStore.open(folder)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.05, 5), min_size=4, max_size=4),
    cuts=st.lists(st.integers(0, 200), min_size=2, max_size=2),
)
def test_the_stream_is_each_part_repeated(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], weights: list[float], cuts: list[int]
) -> None:
    """By hand: every part is read over and over up to its share, whole at least once, wherever one begins to read."""
    folder = tmp_path_factory.mktemp("store")
    bodies = [[100 * number + place for place in range(size)] for number, size in enumerate(sizes)]
    parts = [Part(str(number), weights[number], size, size) for number, size in enumerate(sizes)]
    mixture = Mixture(store_of(folder / "train", bodies), parts)
    expected = [token for body, count in zip(bodies, mixture.counts) for token in (body * count)[:count]]
    assert mixture.read(0, len(mixture)).tolist() == expected
    start, end = sorted(min(cut, len(expected)) for cut in cuts)
    assert mixture.read(start, end - start).tolist() == expected[start:end]
    total = sum(part.weight for part in parts)
    for part, count in zip(parts, mixture.counts):
        assert count >= part.tokens and abs(count - part.weight / total * len(mixture)) <= 1 + len(parts)
    assert min(count / part.tokens for part, count in zip(parts, mixture.counts)) < 1 + 1 / min(sizes) + 1e-9
    assert mixture.document_lengths().sum() == len(mixture)
    again = pickle.loads(pickle.dumps(mixture))  # noqa: S301 (as worker processes do)
    assert again.fingerprint == mixture.fingerprint and again.read(start, end - start).tolist() == expected[start:end]


def test_a_step_sees_the_corpora_in_their_proportions(tmp_path: Path) -> None:
    """70 to 30 by weight though 100 to 9 by size; rows are the step's alone; an epoch reads everything."""
    (tmp_path / "a.txt").write_text("a" * 100_000)
    (tmp_path / "b.txt").write_text("b" * 9_000)
    said: list[str] = []
    corpus = prepare(
        [f"{tmp_path / 'a.txt'}=0.7", f"{tmp_path / 'b.txt'}=0.3"],
        val_data=tmp_path / "a.txt",
        tokenizer="byte",
        cache_dir=tmp_path / "cache",
        say=said.append,
    )
    assert any("b.txt is 30.0% of the training tokens: an epoch reads it 4.76 times" in sentence for sentence in said)
    rows = Rows(corpus.train, 50)
    loader = TrainLoader(rows, batch_size=64, seed=1)
    seen = np.concatenate([loader.batches(step)[0].tokens.numpy().ravel() for step in range(20)])
    assert abs((seen == ord("b")).mean() - 0.3) < 0.03
    other = TrainLoader(rows, batch_size=32, world_size=2, rank=1, seed=1)
    assert np.array_equal(other.batches(7)[0].tokens, loader.batches(7)[0].tokens[32:])
    ids = corpus.train.read(0, len(corpus.train))
    assert (ids == ord("a")).sum() == 100_000 and (ids == ord("b")).sum() == pytest.approx(
        100_000 / 0.7 * 0.3, rel=1e-3
    )


def test_weights_are_part_of_the_identity(tmp_path: Path) -> None:
    """Other weights are another corpus; the prepared folder keeps them; documents stay whole in their corpus."""
    for name in ("a", "b"):
        rows = "".join(json.dumps({"text": f"{name} story {number}"}) + "\n" for number in range(40))
        (tmp_path / f"{name}.jsonl").write_text(rows)

    def made(a: str, b: str, output: Path | None = None) -> TokenStore:
        data = [f"{tmp_path / 'a.jsonl'}{a}", f"{tmp_path / 'b.jsonl'}{b}"]
        return prepare(data, tokenizer="byte", cache_dir=tmp_path, output=output).train

    mixed, other, plain = made("=1", "=3"), made("=3", "=1"), made("", "")
    assert isinstance(mixed, Mixture) and not isinstance(plain, Mixture)
    assert len({mixed.fingerprint, other.fingerprint, plain.fingerprint}) == 3
    texts = bytes(t for t in mixed.read(0, len(mixed)).tolist() if t < 256).decode()
    assert texts.count("b story") == pytest.approx(3 * texts.count("a story"), abs=3)
    made("=1", "=3", tmp_path / "out")
    assert prepare(tmp_path / "out").train.fingerprint == mixed.fingerprint
    assert mixed.num_documents == mixed.document_lengths().size


def test_weights_that_cannot_be_meant(tmp_path: Path) -> None:
    """Some without, zero, ids, a corpus of which validation took everything; a file of such a name is a file."""
    (tmp_path / "a.txt").write_text("some words " * 30)
    (tmp_path / "b.txt").write_text("x y")
    with pytest.raises(ConfigError, match="has no weight, but others have"):
        weighted_items([f"{tmp_path / 'a.txt'}=1", tmp_path / "b.txt"])
    with pytest.raises(ConfigError, match="above zero"):
        weighted_items(f"{tmp_path / 'a.txt'}=0")
    with pytest.raises(DataError, match=r"no text of .*b\.txt is left to train on"):
        prepare([f"{tmp_path / 'a.txt'}=1", f"{tmp_path / 'b.txt'}=1"], tokenizer="byte", cache_dir=tmp_path)
    np.save(tmp_path / "ids.npy", np.arange(50, dtype=np.uint16))
    with pytest.raises(ConfigError, match="weights are for text"):
        prepare(f"{tmp_path / 'ids.npy'}=1", cache_dir=tmp_path)
    (tmp_path / "c=0.5").write_text("a file")
    assert select_files(tmp_path / "c=0.5").weights == []

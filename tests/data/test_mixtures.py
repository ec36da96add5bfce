"""Several corpora in given proportions."""

from __future__ import annotations

import json
import pickle
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.small_corpora import end_document
from textmill.cli.main import main
from textmill.data import Rows, TrainLoader, prepare
from textmill.data.batches.packed_rows import PackedRows
from textmill.data.batches.packing import STRATEGIES
from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.learning_text import (
    ENOUGH_TEXT,
    CorpusShare,
    CorpusTally,
    in_shares,
    marks_in_files,
    repetitions,
)
from textmill.data.preparing.tokenizer_choice import suitable_pattern
from textmill.data.reading.document import Document, Reading
from textmill.data.sources.file_selection import Files, select_files, weighted_items
from textmill.data.store.mixture import Mixture, Part
from textmill.data.store.token_shards import ShardWriter, TokenStore
from textmill.errors import ConfigError, DataError
from textmill.tokenizers import load_tokenizer
from textmill.tokenizers.word_patterns import pattern_of


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
    """Some without, zero, ids, a corpus that is a copy of another one; a file of such a name is a file."""
    (tmp_path / "a.txt").write_text("some words " * 30)
    (tmp_path / "b.txt").write_text("some words " * 30)
    with pytest.raises(ConfigError, match="has no weight, but others have"):
        weighted_items([f"{tmp_path / 'a.txt'}=1", tmp_path / "b.txt"])
    with pytest.raises(ConfigError, match="above zero"):
        weighted_items(f"{tmp_path / 'a.txt'}=0")
    with pytest.raises(DataError, match=r"no text of .*b\.txt is left to train on"):
        items = [f"{tmp_path / 'a.txt'}=1", f"{tmp_path / 'b.txt'}=1"]
        prepare(items, tokenizer="byte", cache_dir=tmp_path, cleaning=Cleaning(dedup="exact"))
    np.save(tmp_path / "ids.npy", np.arange(50, dtype=np.uint16))
    with pytest.raises(ConfigError, match="weights are for text"):
        prepare(f"{tmp_path / 'ids.npy'}=1", cache_dir=tmp_path)
    (tmp_path / "c=0.5").write_text("a file")
    assert select_files(tmp_path / "c=0.5").weights == []


def words(letters: str, count: int) -> str:
    """Words of these letters, always the same, a line after every tenth."""
    chance = random.Random(7)
    known = ["".join(chance.choices(letters, k=chance.randint(2, 6))) for _ in range(300)]
    drawn = [chance.choice(known) for _ in range(count)]
    return "\n".join(" ".join(drawn[at : at + 10]) for at in range(0, count, 10)) + "\n"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text of Latin letters, and one of Ethiopic letters, far shorter."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "latin.txt").write_text(words("abcdefghijklm", 20_000), encoding="utf-8")
    (folder / "ethiopic.txt").write_text(words("ሀለሐመሠረሰሸቀበተቸ", 800), encoding="utf-8")
    return folder


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(200, 3_000), min_size=1, max_size=3),
    weights=st.lists(st.floats(0.1, 10), min_size=3, max_size=3),
)
def test_text_to_learn_from_is_in_the_shares(sizes: list[int], weights: list[float]) -> None:
    """Bytes of every corpus are within 1 % of its weight, whatever its size; the same pieces again."""
    text = "a word or 12 of them\n" * 50
    kilobyte = [f"{'abc'[number] * 9} " * 100 for number in range(3)]
    corpora = [CorpusShare("", weight, 1000 * size) for weight, size in zip(weights, sizes)]
    rates = repetitions(corpora)
    texts = [(number, kilobyte[number]) for number, size in enumerate(sizes) for _ in range(size)]
    bytes_of = [0] * len(corpora)
    for piece in in_shares(texts, rates):
        bytes_of[ord(piece[0]) - 97] += len(piece)
    total = sum(part.weight for part in corpora)
    for part, found in zip(corpora, bytes_of):
        assert found / sum(bytes_of) == pytest.approx(part.weight / total, abs=0.01)
    assert sum(bytes_of) <= 1.01 * max(ENOUGH_TEXT, 1000 * sum(sizes))
    assert "".join(in_shares([(0, text)], [1.0])) == text and not list(in_shares([(0, text)], [0.0]))


def test_weights_count_when_merges_are_learned(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The small text has fewer tokens if it counts as much as the large one, in prepare and in tokenizer train."""
    names = [two / "latin.txt", two / "ethiopic.txt"]

    def ethiopic_tokens(weights: Sequence[str]) -> int:
        said: list[str] = []
        items = [f"{path}{weight}" for path, weight in zip(names, weights)]
        tokenizer = prepare(items, vocab_size=600, val_split=0, cache_dir=tmp_path, say=said.append).tokenizer
        assert tokenizer is not None
        assert any("BPE learns from" in sentence and "so that each has its share" in sentence for sentence in said) == (
            "" not in weights
        )
        output = tmp_path / f"tok{''.join(weights)}"
        assert main(["tokenizer", "train", *items, "--vocab-size", "600", "--output", str(output)]) == 0
        assert ("learns from" in capsys.readouterr().err) == ("" not in weights)
        found = [
            len(each.encode((two / "ethiopic.txt").read_text(encoding="utf-8")))
            for each in (tokenizer, load_tokenizer(output))
        ]
        assert found[0] == found[1]
        return found[0]

    plain, half, most = (ethiopic_tokens(weights) for weights in (["", ""], ["=1", "=1"], ["=1", "=9"]))
    assert half < 0.8 * plain and most < half


def test_weights_choose_no_characters(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A char tokenizer has all characters of a text that hardly counts; tokenizer train says so."""
    names = [str(two / "latin.txt"), str(two / "ethiopic.txt")]
    weighted = [f"{names[0]}=0.9999", f"{names[1]}=0.0001"]
    made = prepare(weighted, tokenizer="char", val_split=0, cache_dir=tmp_path).tokenizer
    assert made is not None
    for items in (names, weighted):
        assert main(["tokenizer", "train", *items, "--tokenizer", "char", "--output", str(tmp_path / "char")]) == 0
        assert ("the weights have no effect" in capsys.readouterr().err) == (items is weighted)
        assert load_tokenizer(tmp_path / "char").content == made.content


def test_the_word_pattern_is_that_of_all_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text with vowel signs decides it by its size, or weight, though another comes first; in tokenizer train too."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("plain words " * 100_000)
    Path("b.txt").write_text("ខ្មែរ " * 10_000, encoding="utf-8")
    mixed = ["a.txt=0.5", "b.txt=0.5"]
    cases = [(["a.txt", "b.txt"], "gpt4o"), (mixed, "gpt4o"), (["a.txt=0.9999", "b.txt=0.0001"], "gpt2")]
    for items, pattern in [*cases, (["a.txt"], "gpt2")]:
        assert suitable_pattern(marks_in_files(select_files(items), Reading())) == pattern
    assert main(["tokenizer", "train", *mixed, "--vocab-size", "280", "--output", "tok"]) == 0
    made = prepare(mixed, vocab_size=280, val_split=0, cache_dir=tmp_path).tokenizer
    assert made is not None
    assert [pattern_of(json.loads(each.content)) for each in (made, load_tokenizer("tok"))] == ["gpt4o"] * 2


def test_a_tally_counts_by_corpus() -> None:
    """Documents and bytes of UTF-8 of each corpus, whatever its number of files, a document in parts once."""
    files = Files([Path(name) for name in "abc"], weights=[("x", 1.0, 2), ("y", 3.0, 1)])
    tally = CorpusTally(files)
    parts = {"a": [Document("ab", "a")], "b": [Document("é", "b", continues=True), Document("c", "b")], "c": []}
    for name, documents in parts.items():
        tally.opened(Path(name))
        assert list(tally.count(documents)) == documents
    assert (tally.documents, tally.sizes) == ([2, 0], [5, 0])
    assert tally.shares([7, 8]) == [CorpusShare("x", 1.0, 7), CorpusShare("y", 3.0, 8)]
    assert [files.corpus_of(number) for number in range(3)] == [0, 0, 1]


def test_the_tail_of_each_corpus_validates(tmp_path: Path) -> None:
    """Two books: a tenth of each validates, each ends for training where it is cut, and shares are exact."""
    (tmp_path / "a.txt").write_text("a" * 10_000)
    (tmp_path / "b.txt").write_text("b" * 500)
    corpus = prepare([f"{tmp_path / 'a.txt'}=0.9", f"{tmp_path / 'b.txt'}=0.1"], tokenizer="byte", cache_dir=tmp_path)
    assert corpus.validation is not None and corpus.tokenizer is not None
    held_out = corpus.tokenizer.decode(corpus.validation.read(0, len(corpus.validation)), skip_special_tokens=False)
    assert held_out == "a" * 1000 + "<|endoftext|>" + "b" * 50 + "<|endoftext|>"
    stream = corpus.train.read(0, len(corpus.train)).tolist()
    a, b = [*[97] * 9000, 256], [*[98] * 450, 256]
    assert stream == a + (b * 3)[:1000]
    kept = {name: (found["kept_documents"], found["kept_characters"]) for name, found in corpus.report.items()}
    assert kept == {"train": (2, 9450), "validation": (2, 1050)}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared mixture of 90 % documents of "a" and 10 % of "b", of other sizes."""
    folder, chance = tmp_path_factory.mktemp("mixed"), random.Random(3)
    for name, documents, longest in (("a", 300, 400), ("b", 40, 90)):
        rows = (json.dumps({"text": name * chance.randint(30, longest)}) + "\n" for _ in range(documents))
        (folder / f"{name}.jsonl").write_text("".join(rows))
    data = [f"{folder / 'a.jsonl'}=0.9", f"{folder / 'b.jsonl'}=0.1"]
    prepare(data, tokenizer="byte", val_split=0, cache_dir=folder, output=folder / "out")
    return folder / "out"


@pytest.mark.parametrize("strategy", ["concat", *STRATEGIES])
def test_an_epoch_trains_on_the_shares_over_a_resume(mixed: Path, strategy: str) -> None:
    """Targets of an epoch, the second half from another loader: the share is the weight, within 1 % of all tokens."""

    def targets(first: int, last: int) -> np.ndarray:
        store = prepare(mixed).train
        rows = Rows(store, 64) if strategy == "concat" else PackedRows(store, 64, strategy)
        loader = TrainLoader(rows, batch_size=4, seed=1)
        steps = range(first, len(rows) // 4 if last < 0 else last)
        return np.concatenate([loader.batches(step)[0].targets.numpy().ravel() for step in steps])

    seen = np.concatenate([targets(0, 100), targets(100, -1)])
    a, b = ((seen == ord(letter)).sum() for letter in "ab")
    assert seen.size > 50_000 and b / (a + b) == pytest.approx(0.1, abs=0.01)


def test_the_share_of_the_text_is_said_where_it_is_another(two: Path, tmp_path: Path) -> None:
    """A tenth of the tokens may be less of the bytes: the sentence has both, and both are true."""
    said: list[str] = []
    data = [f"{two / 'latin.txt'}=0.9", f"{two / 'ethiopic.txt'}=0.1"]
    corpus = prepare(data, vocab_size=400, val_split=0, cache_dir=tmp_path, say=said.append)
    (sentence,) = [each for each in said if "ethiopic.txt is 10.0% of the training tokens" in each]
    assert corpus.tokenizer is not None
    latin, ethiopic = (
        len(path.read_bytes()) / len(corpus.tokenizer.encode(path.read_text()))
        for path in sorted(two.glob("*.txt"))[::-1]
    )
    share = 0.1 * ethiopic / (0.1 * ethiopic + 0.9 * latin)
    found = re.search(r"tokens, ([0-9.]+)% of their bytes: an epoch reads it", sentence)
    assert found is not None and float(found[1]) / 100 == pytest.approx(share, abs=0.002)

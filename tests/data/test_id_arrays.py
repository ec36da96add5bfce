""".npy files of token ids: what is accepted, and every way in which one can be wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from textmill.data import prepare
from textmill.data.reading.formats.token_ids import open_npy
from textmill.errors import ConfigError, DataError
from textmill.tokenizers import make_byte


def save(path: Path, array: object) -> Path:
    np.save(path, array, allow_pickle=True)  # pyright: ignore[reportArgumentType]
    return path


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<i2", "<i4", "<u4", "<i8", "<u8"])
def test_every_plain_integer_type_is_read(tmp_path: Path, dtype: str) -> None:
    """The ids come out as they were put in, whatever their width; the store takes the narrowest that fits."""
    ids = np.arange(100).astype(dtype)
    corpus = prepare(save(tmp_path / "ids.npy", ids), cache_dir=tmp_path, val_split=0.25)
    assert corpus.tokenizer is None and corpus.vocab_size == 100
    assert corpus.train.read(0, 75).tolist() == list(range(75))
    assert corpus.validation is not None and corpus.validation.read(0, 25).tolist() == list(range(75, 100))
    assert corpus.train.dtype == np.uint16 and corpus.train.num_bytes == 0
    assert any("without a tokenizer" in note for note in corpus.notes)


def test_large_ids_are_never_wrapped(tmp_path: Path) -> None:
    """70,000 needs 32 bits, and gets them; 2**32 is refused."""
    corpus = prepare(save(tmp_path / "a.npy", np.array([70_000, 1, 65_536, 2] * 5)), cache_dir=tmp_path, val_split=0)
    assert corpus.train.dtype == np.uint32 and corpus.train.read(0, 4).tolist() == [70_000, 1, 65_536, 2]
    edge = prepare(save(tmp_path / "b.npy", np.array([65_535, 0, 1])), cache_dir=tmp_path, val_split=0)
    assert edge.train.dtype == np.uint16 and edge.train.read(0, 3).tolist() == [65_535, 0, 1]
    with pytest.raises(DataError, match="id 4294967296 at index 2 does not fit"):
        prepare(save(tmp_path / "c.npy", np.array([0, 1, 2**32])), cache_dir=tmp_path)


def test_several_arrays_are_one_stream(tmp_path: Path) -> None:
    """Arrays follow each other; separate validation arrays take the place of a split."""
    for name, low in (("a", 0), ("b", 100), ("v", 500)):
        save(tmp_path / f"{name}.npy", np.arange(low, low + 50))
    corpus = prepare([tmp_path / "a.npy", tmp_path / "b.npy"], val_data=tmp_path / "v.npy", cache_dir=tmp_path)
    assert corpus.train.read(0, 100).tolist() == [*range(50), *range(100, 150)]
    assert corpus.validation is not None and corpus.validation.read(0, 50).tolist() == list(range(500, 550))
    assert corpus.vocab_size == 550


def test_ids_outside_the_vocabulary(tmp_path: Path) -> None:
    """The first bad id is named with its place, from the file and from the cache."""
    path = save(tmp_path / "ids.npy", np.array([5, 6, 70, 7, 99]))
    with pytest.raises(DataError, match=r"ids\.npy: id 70 at index 2 does not fit vocab_size 70"):
        prepare(path, vocab_size=70, val_split=0, cache_dir=tmp_path)
    assert prepare(path, vocab_size=100, val_split=0, cache_dir=tmp_path).vocab_size == 100
    with pytest.raises(DataError, match="contains the id 99, which is outside vocab_size 99"):
        prepare(path, vocab_size=99, val_split=0, cache_dir=tmp_path)
    with pytest.raises(DataError, match="id -1 at index 1 is negative"):
        prepare(save(tmp_path / "n.npy", np.array([5, -1])), val_split=0, cache_dir=tmp_path)


def test_ids_with_the_tokenizer_that_made_them(tmp_path: Path) -> None:
    """With a tokenizer, ids have text again; ids that it does not know are refused."""
    corpus = prepare(
        save(tmp_path / "a.npy", np.frombuffer(b"hello world", np.uint8)),
        tokenizer=make_byte(),
        val_split=0,
        cache_dir=tmp_path,
    )
    assert corpus.tokenizer is not None and corpus.vocab_size == 257
    assert corpus.tokenizer.decode(corpus.train.read(0, 11)) == "hello world"
    with pytest.raises(DataError, match="id 257 at index 0"):
        prepare(save(tmp_path / "b.npy", np.array([257, 1])), tokenizer="byte", val_split=0, cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="special_tokens has no effect"):
        prepare(tmp_path / "a.npy", special_tokens=["<x>"], cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1.0, 2.0]), "contains float64 values"),
        (np.array([1, 2], dtype=np.int8), "contains int8 values"),
        (np.array([1, 2], dtype=">i4"), "contains big-endian int32 values"),
        (np.array([1j]), "contains complex128 values"),
        (np.array([True, False]), "contains bool values"),
        (np.array(["a", "b"]), "contains str"),
        (np.array([[1, 2], [3, 4]]), "has 2 dimensions"),
        (np.asfortranarray(np.array([[1, 2], [3, 4]])), "has 2 dimensions"),
        (np.array(7), "has 0 dimensions"),
        (np.array([], dtype=np.int64), "contains no ids"),
        (np.array([[1], [2, 3]], dtype=object), "pickled Python objects, which are never loaded"),
        (np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]), "contains void"),
    ],
)
def test_arrays_of_the_wrong_kind(tmp_path: Path, array: np.ndarray, message: str) -> None:
    """Each is refused in one line that names the file and what is wrong, and nothing is written."""
    path = save(tmp_path / "ids.npy", array)
    with pytest.raises(DataError, match=message) as caught:
        prepare(path, cache_dir=tmp_path / "cache")
    assert "ids.npy" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cache/corpora/*"))


def test_damaged_files(tmp_path: Path) -> None:
    """Every truncation of a good file, extra bytes, emptiness, and other content under the name .npy."""
    good = save(tmp_path / "good.npy", np.arange(50, dtype=np.uint16)).read_bytes()
    bad = tmp_path / "bad.npy"
    for size in range(len(good)):
        bad.write_bytes(good[:size])
        with pytest.raises(DataError, match=r"bad\.npy") as caught:
            open_npy(bad)
        assert "\n" not in str(caught.value)
    for content in (good + b"x", pickle.dumps([1, 2]), b"PK\x03\x04zip", b"text", good.replace(b"<u2", b"<q9")):
        bad.write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.npy"):
            open_npy(bad)


def test_archives_and_mixtures(tmp_path: Path) -> None:
    """An .npz is named for what it is; ids and text together are refused."""
    np.savez(tmp_path / "ids.npz", a=np.arange(5))
    with pytest.raises(DataError, match=r"ids\.npz is a zip archive"):
        prepare(tmp_path / "ids.npz", cache_dir=tmp_path)
    (tmp_path / "a.txt").write_text("hello hello")
    save(tmp_path / "a.npy", np.arange(5))
    with pytest.raises(DataError, match="contains token ids and"):
        prepare([tmp_path / "a.txt", tmp_path / "a.npy"], cache_dir=tmp_path)


def test_an_array_too_short_to_split(tmp_path: Path) -> None:
    """A side without two ids is refused with what to do."""
    with pytest.raises(DataError, match=r"validation text of .*a.npy has 1 of the two tokens.*--val-split"):
        prepare(save(tmp_path / "a.npy", np.arange(9)), cache_dir=tmp_path)

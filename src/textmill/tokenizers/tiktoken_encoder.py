"""The ids of byte-level BPE with GPT-2's word pattern by tiktoken, which is several times as fast as the backend.

Two conditions are needed for the ids to be the same, and both are tested: the two libraries, each with its own Unicode
tables, classify every character of the text alike (letter, number, space, other); and for this vocabulary, merging by
the rank of the result is the same as merging by pairs.
"""

from array import array
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from textmill.imports import optional
from textmill.tokenizers.byte_alphabet import CHARACTER_OF_BYTE, token_bytes
from textmill.tokenizers.split_long_text import pieces

WORDS = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
"""GPT-2's word pattern without backtracking; the last two alternatives are its `\\s+`."""

_OTHERWISE = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
)
"""Options of the backend's BPE that change what is merged."""

_PIECE_CHARACTERS = 16384
_LONGEST_PIECE = 1 << 16  # characters; merging within one word takes time with the square of its length
_COMPARED = 1 << 16  # characters of the first text that both libraries encode


class RankEncoder:
    """Encodes text if it can verify that the ids are the backend's, and leaves the rest to the backend."""

    def __init__(self, described: dict[str, Any], backend: Backend, words: str = WORDS) -> None:
        """`described` is the content of tokenizer.json and `backend` what it makes; use `rank_encoder`.

        words: the pattern by which tiktoken splits text.
        """
        self._backend = backend
        self._ids, ranks = token_ranks(described["model"])
        self._encoding = _encoding(ranks, words)
        self._kinds = _Kinds(words)
        self._compared = False

    def encode(self, text: str) -> np.ndarray | None:
        """Return the ids of `text`, uint32 (tokens,), or None if the backend has to encode it.

        Raises UnicodeEncodeError on a lone surrogate.
        """
        parts = list(pieces(text, _PIECE_CHARACTERS))
        if any(len(part) > _LONGEST_PIECE for part in parts) or not self._kinds.agree(text):
            return None
        if not self._compared:
            if not self._same_as_backend(parts):
                return None
            self._compared = True
        return self._join(parts)

    def _join(self, parts: Iterable[str]) -> np.ndarray:
        # `encode_to_numpy` looks for special tokens, and takes one and a half times as long.
        found = array("I")  # an array converts a list of numbers over three times as fast as numpy
        for part in parts:
            found.extend(array("I", self._encoding.encode_ordinary(part)))
        return self._ids[np.frombuffer(found, dtype=np.uint32)] if found else np.empty(0, dtype=np.uint32)

    def _same_as_backend(self, parts: list[str]) -> bool:
        some = parts[: max(1, _COMPARED // _PIECE_CHARACTERS)]
        expected = self._backend.encode_batch_fast(some, add_special_tokens=False)
        return self._join(some).tolist() == [number for encoding in expected for number in encoding.ids]


def rank_encoder(described: dict[str, Any], backend: Backend) -> RankEncoder | None:
    """Return the encoder of a tokenizer that splits words as GPT-2 does, None if its merges cannot be ranks.

    None also where tiktoken is not installed: it is faster, and nothing else.
    """
    model = described["model"]
    if find_spec("tiktoken") is None or any(model.get(option) for option in _OTHERWISE):
        return None
    merged = [_merged(merge) for merge in model["merges"]]
    if len(set(merged)) < len(merged) or not model["vocab"].keys() >= {*CHARACTER_OF_BYTE.values(), *merged}:
        return None
    return RankEncoder(described, backend)


def _merged(merge: str | list[str]) -> str:
    return "".join(merge.split(" ", 1) if isinstance(merge, str) else merge)


def token_ranks(model: dict[str, Any]) -> tuple[np.ndarray, dict[bytes, int]]:
    """Return the id of every rank, uint32 (ranks,), and the rank of every token: bytes first, then merges in order."""
    tokens = [*CHARACTER_OF_BYTE.values(), *map(_merged, model["merges"])]
    ids = np.array([model["vocab"][token] for token in tokens], dtype=np.uint32)
    return ids, {token_bytes(token): rank for rank, token in enumerate(tokens)}


def _encoding(ranks: dict[bytes, int], words: str) -> Any:
    tiktoken = optional("tiktoken", "encoding by rank")
    return tiktoken.Encoding("textmill", pat_str=words, mergeable_ranks=ranks, special_tokens={})


class _Kinds:
    """Which characters both libraries classify alike; each is tested when a text first contains it.

    In the vocabulary of the trial a letter, a digit or a mark merges with whatever byte follows it. So the ids tell
    whether a character joins a word of letters, of digits or of marks, or none of them, as white space does.
    """

    _BEFORE = "a1!"

    def __init__(self, words: str) -> None:
        alphabet = list(CHARACTER_OF_BYTE.values())
        merges = [(before, after) for before in self._BEFORE for after in alphabet]
        vocabulary = {token: number for number, token in enumerate([*alphabet, *map("".join, merges)])}
        self._backend = Backend(models.BPE(vocab=vocabulary, merges=merges))
        self._backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        self._encoding = _encoding({token_bytes(token): number for token, number in vocabulary.items()}, words)
        self._tried = np.zeros(0x110000, dtype=bool)
        self._differ = np.zeros(0x110000, dtype=bool)
        self._ascii_agrees = self._all_agree("".join(map(chr, range(128))))

    def agree(self, text: str) -> bool:
        """Return whether both libraries classify every character of `text` alike."""
        return self._ascii_agrees if text.isascii() else self._all_agree(text)

    def _all_agree(self, text: str) -> bool:
        code_points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        new = np.unique(code_points[~self._tried[code_points]])
        if new.size:
            trials = ["".join(f"{before}{chr(code)} " for before in self._BEFORE) for code in new.tolist()]
            expected = self._backend.encode_batch_fast(trials, add_special_tokens=False)
            for code, trial, encoding in zip(new.tolist(), trials, expected):
                self._differ[code] = self._encoding.encode_ordinary(trial) != encoding.ids
            self._tried[new] = True
        return not bool(self._differ[code_points].any())

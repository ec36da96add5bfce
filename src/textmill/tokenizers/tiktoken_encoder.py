"""The ids of byte-level BPE with a known word pattern by tiktoken, which is several times as fast as the backend.

Two conditions are needed for the ids to be the same, and both are tested: the two libraries, each with its own Unicode
tables, cut words around every character of the text alike; and for this vocabulary, merging by
the rank of the result is the same as merging by pairs.
"""

from array import array
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import models

from textmill.imports import optional
from textmill.tokenizers.byte_alphabet import CHARACTER_OF_BYTE, token_bytes
from textmill.tokenizers.split_long_text import pieces
from textmill.tokenizers.word_patterns import GPT2, WordPattern, pre_tokenizer

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

    def __init__(self, described: dict[str, Any], backend: Backend, words: WordPattern = GPT2) -> None:
        """`described` is the content of tokenizer.json and `backend` what it makes; use `rank_encoder`.

        words: the pattern by which both cut text.
        """
        self._backend = backend
        self._ids, ranks = token_ranks(described["model"])
        self._encoding = _encoding(ranks, words.ranked)
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


def rank_encoder(described: dict[str, Any], backend: Backend, words: WordPattern = GPT2) -> RankEncoder | None:
    """Return the encoder of a tokenizer that cuts text by `words`, None if its merges cannot be ranks.

    None also where tiktoken is not installed: it is faster, and nothing else.
    """
    model = described["model"]
    if find_spec("tiktoken") is None or any(model.get(option) for option in _OTHERWISE):
        return None
    merged = [_merged(merge) for merge in model["merges"]]
    if len(set(merged)) < len(merged) or not model["vocab"].keys() >= {*CHARACTER_OF_BYTE.values(), *merged}:
        return None
    return RankEncoder(described, backend, words)


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
    """Around which characters both libraries cut alike; each is tested when a text first contains it.

    In the vocabulary of the trial a letter, a digit or a sign merges with whatever byte stands before or after it. So
    the ids tell whether a character joins a word of letters, of digits or of signs, or none, as white space does.
    """

    _BESIDE = "aA1!"

    def __init__(self, words: WordPattern) -> None:
        alphabet = list(CHARACTER_OF_BYTE.values())
        merges = [(before, after) for before in self._BESIDE for after in alphabet]
        merges += [(before, after) for before in alphabet if before not in self._BESIDE for after in self._BESIDE]
        vocabulary = {token: number for number, token in enumerate([*alphabet, *map("".join, merges)])}
        self._backend = Backend(models.BPE(vocab=vocabulary, merges=merges))
        self._backend.pre_tokenizer = pre_tokenizer(words.name)
        ranks = {token_bytes(token): number for token, number in vocabulary.items()}
        self._encoding = _encoding(ranks, words.ranked)
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
            trials = ["".join(f"{one}{chr(code)} {chr(code)}{one} " for one in self._BESIDE) for code in new.tolist()]
            expected = self._backend.encode_batch_fast(trials, add_special_tokens=False)
            for code, trial, encoding in zip(new.tolist(), trials, expected):
                self._differ[code] = self._encoding.encode_ordinary(trial) != encoding.ids
            self._tried[new] = True
        return not bool(self._differ[code_points].any())

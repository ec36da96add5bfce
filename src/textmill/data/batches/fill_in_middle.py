"""Fill-in-the-middle: documents of a row become prefix, suffix, middle: a model learns to write what is missing.

Source: Bavarian et al., "Efficient Training of Language Models to Fill in the Middle" (2022), at the level of the
context: what a row has of a document is divided, so no part of it is lost to another row. With P, S, M for the tokens
before prefix, suffix and middle:

    psm   P prefix S suffix M middle EOS
    spm   P S suffix M prefix middle EOS      (variant 2 of the paper)

Whether and where depends on the seed, the position of the row in the order of the run and the number of the document in
its row, so every epoch divides anew and a resumed run divides the same.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from textmill.data.batches.loader import IGNORED, Batch, segments_and_positions
from textmill.data.batches.row_order import derive
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.fim_tokens import FimTokens, fim_tokens

PSM, SPM, BOTH = "psm", "spm", "both"

_PURPOSE = 0x66696D
"""Separates the random numbers drawn here from those for other purposes."""

_WHETHER, _ONE, _OTHER, _FORMAT = range(4)

_ADDED = 4
"""Tokens that a document gets: three before its parts, and one after the middle, where it may have had one."""


@dataclass(frozen=True)
class _Sequence:
    """ids: int64 (n,). counted: bool (n,), whether each is a target."""

    ids: np.ndarray
    counted: np.ndarray


class FillInMiddle:
    """Divides each document of the batches of a TrainLoader with probability `rate`.

    Rows keep their length: the text at the end of a row gives way to the tokens that are added, before it is divided,
    so that every middle is followed by the token that ends it. The three tokens before the parts are no targets: where
    a text is divided is not to be learned, and the loss of plain text does not pay for it.

    Where a token is a character or a byte, documents are divided between any two characters. With BPE and Unigram, the
    parts of the text are encoded anew, so that they end within tokens too, as what people ask for does; where
    the row has no whole characters or special tokens, and with other tokenizers, between tokens.
    """

    def __init__(self, rate: float, form: str, tokenizer: Tokenizer, eos_id: int | None, seed: int) -> None:
        """eos_id: what follows every document in the rows; None for a single document. Raises ConfigError."""
        remedy = "prepare the text with the same --fim-rate, or name a tokenizer that has them"
        self._tokens: FimTokens = fim_tokens(tokenizer, remedy)
        self._rate, self._form, self._eos_id = rate, form, eos_id
        self._key = int(derive(seed, _PURPOSE)[0])
        self._tokenizer = tokenizer
        self._before = np.array(tokenizer.prefix_ids, dtype=np.int64)
        vocabulary = tokenizer.vocabulary()
        self._special = np.array([vocabulary[name] for name in tokenizer.special_tokens], dtype=np.int64)
        self._by_text = tokenizer.kind in ("bpe", "unigram") and tokenizer.decode(tokenizer.encode("a")) == "a"

    def __call__(self, batch: Batch, positions: np.ndarray) -> Batch:
        """Return the batch with its documents divided; `positions` (B,) are those of its rows in the order."""
        tokens, targets = batch.tokens.numpy().copy(), batch.targets.numpy().copy()  # (B, T)
        starts = np.zeros(tokens.shape, dtype=bool)
        if batch.segments is not None:
            starts[:, 1:] = np.diff(batch.segments.numpy(), axis=1) != 0
        changed = False
        for row, key in enumerate(derive(self._key, positions)):
            pieces = self._divided(tokens[row], targets[row], int(key))
            if pieces is None:
                continue
            changed = True
            _write(pieces, tokens[row], targets[row], starts[row])
        if not changed:
            return batch
        new = Batch(torch.from_numpy(tokens), torch.from_numpy(targets), int((targets != IGNORED).sum()))
        if batch.segments is not None:
            segments, within = segments_and_positions(starts)
            new.segments, new.positions = torch.from_numpy(segments), torch.from_numpy(within)
        return new

    def _divided(self, tokens: np.ndarray, targets: np.ndarray, key: int) -> list[_Sequence] | None:
        """Return the documents of a row (T,), T + 1 tokens at most in all; None if all stay as they are."""
        counted = np.flatnonzero(targets != IGNORED)
        if not counted.size:
            return None
        last = int(counted[-1])
        text = np.append(tokens[: last + 1], targets[last])  # (n,), n <= T + 1
        linked = np.append(False, targets[: last + 1] != IGNORED)  # (n,): whether each is a target
        begins = ~linked
        if self._eos_id is not None:
            begins[1:] |= text[:-1] == self._eos_id
        borders = [*np.flatnonzero(begins).tolist(), text.size]
        draws = _uniform(derive(derive(key, np.arange(len(borders) - 1))[:, None], np.arange(4)))  # (documents, 4)
        if not (draws[:, _WHETHER] < self._rate).any():
            return None
        found, room, any_divided = [], tokens.size + 1, False
        for (start, stop), drawn in zip(itertools.pairwise(borders), draws):
            ids = text[start:stop]
            new = self._document(ids, room, drawn) if drawn[_WHETHER] < self._rate else None
            any_divided |= new is not None
            found.append(new or _Sequence(ids[:room], linked[start:stop][:room]))
            room -= found[-1].ids.size
            if room <= 0:
                break
        return found if any_divided else None

    def _document(self, ids: np.ndarray, room: int, drawn: np.ndarray) -> _Sequence | None:
        """Return a document, or what a row has of one, divided, in at most `room` tokens; None if it is too short."""
        lead = self._before.size if np.array_equal(ids[: self._before.size], self._before) else 0
        ended = self._eos_id is not None and int(ids[-1]) == self._eos_id
        core = ids[lead : ids.size - ended][: max(0, room - lead - _ADDED)]
        if core.size < 2:
            return None
        before, middle, after = self._parts(core, drawn, room - lead - _ADDED)
        marks = self._tokens
        second = self._form == SPM or (self._form == BOTH and drawn[_FORMAT] < 0.5)
        if second:
            parts = [ids[:lead], [marks.prefix, marks.suffix], after, [marks.middle], before, middle, [marks.end]]
        else:
            parts = [ids[:lead], [marks.prefix], before, [marks.suffix], after, [marks.middle], middle, [marks.end]]
        joined = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
        counted = ~np.isin(joined, marks[:3])
        counted[:lead] = False
        return _Sequence(joined, counted)

    def _parts(self, ids: np.ndarray, drawn: np.ndarray, room: int) -> Sequence[np.ndarray]:
        """Return prefix, middle and suffix, at most `room` ids in all."""
        if self._by_text and not np.isin(ids, self._special).any():
            text = self._tokenizer.decode(ids)
            if "\ufffd" not in text:
                one, other = _cuts(drawn, len(text))
                parts = self._tokenizer.encode_batch([text[:one], text[one:other], text[other:]], 1)
                over = sum(part.size for part in parts) - room
                if over <= 0:
                    return parts
                if over < parts[2].size:
                    return [parts[0], parts[1], parts[2][:-over]]
        one, other = (self._character_start(ids, cut) for cut in _cuts(drawn, ids.size))
        return [ids[:one], ids[one:other], ids[other:]]

    def _character_start(self, ids: np.ndarray, cut: int) -> int:
        """Return the first place from `cut` on where a character begins: of bytes, not all do."""
        if self._tokenizer.kind == "byte":
            while cut < ids.size and 0x80 <= ids[cut] < 0xC0:
                cut += 1
        return cut


def _write(pieces: Sequence[_Sequence], tokens: np.ndarray, targets: np.ndarray, starts: np.ndarray) -> None:
    """Put `pieces` into a row (T,), and where each begins into `starts`; what is left of the row is empty."""
    length = tokens.size
    ids = np.concatenate([piece.ids for piece in pieces])[: length + 1]
    counted = np.concatenate([piece.counted for piece in pieces])[: length + 1]
    tokens[:], targets[:], starts[:] = 0, IGNORED, False
    tokens[: ids.size] = ids[:length]
    targets[: ids.size - 1] = np.where(counted[1:], ids[1:], IGNORED)
    borders = np.cumsum([piece.ids.size for piece in pieces])
    starts[borders[borders < length]] = True


def _uniform(words: np.ndarray) -> np.ndarray:
    return (words >> np.uint64(11)).astype(np.float64) / 2**53


def _cuts(drawn: np.ndarray, size: int) -> tuple[int, int]:
    """Return two positions between 0 and `size`, each as likely as the others, the lower one first."""
    one, other = sorted(int(drawn[which] * (size + 1)) for which in (_ONE, _OTHER))
    return one, other

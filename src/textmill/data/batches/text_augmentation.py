"""Random changes of the training text: letter case, punctuation, white space. For tokens that are characters or bytes.

There, changing ids is changing the text: nothing is decoded and no token boundary moves. Whether a character changes
depends on the seed, the position of its row in the order of the run and its own position in the row, so every epoch
sees other changes and a resumed run sees the same. A change to what is not in the vocabulary is left out.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from textmill.data.batches.loader import IGNORED, Batch, segments_and_positions
from textmill.data.batches.row_order import derive
from textmill.errors import ConfigError
from textmill.tokenizers import Tokenizer

KINDS = ("case", "punctuation", "whitespace")

ALIKE = (".!?", ",;:", "\"'\u201c\u201d\u2018\u2019", "-\u2013\u2014", "([{", ")]}")
"""Punctuation marks that may replace one another."""

_PURPOSE = 0x61756767
"""Separates the random numbers drawn here from those that order the rows, whose purposes are epochs."""


class Augment:
    """Changes the batches of a TrainLoader, each of the changes asked for with probability `probability`.

    case: a letter becomes upper or lower case, whichever it was not. punctuation: a mark becomes another of its sort
    (ALIKE). whitespace: a run of white space becomes one space. Targets are the changed text too; a row that lost
    white space ends earlier. With bytes, characters beyond ASCII are left alone.
    """

    def __init__(self, kinds: Sequence[str], probability: float, tokenizer: Tokenizer | None, seed: int) -> None:
        """Raises ConfigError for a tokenizer whose tokens are not characters or bytes."""
        if tokenizer is None or tokenizer.kind not in ("char", "byte"):
            kind = "ids without a tokenizer" if tokenizer is None else f"the {tokenizer.kind} tokenizer"
            raise ConfigError(
                f"augmentation changes characters, and with {kind} a token is more than one, so that a change would "
                "move the tokens around it: use --tokenizer char or byte, or leave out --augmentation"
            )
        self._ids = _one_token_each(tokenizer)
        self._size = tokenizer.vocab_size
        self._key = int(derive(seed, _PURPOSE)[0])
        self._tables: dict[str, np.ndarray] = {}
        if "case" in kinds:
            lower = [letter for letter in self._ids if letter.islower() and letter.upper().lower() == letter]
            self._tables["case"] = self._alternatives((letter, letter.upper()) for letter in lower)
        if "punctuation" in kinds:
            self._tables["punctuation"] = self._alternatives(ALIKE)
        self._spaces = np.zeros(self._size, dtype=bool)
        if "whitespace" in kinds and " " in self._ids:
            self._spaces[[number for character, number in self._ids.items() if character.isspace()]] = True
        self._probability = probability

    def _alternatives(self, groups: Iterable[Sequence[str]]) -> np.ndarray:
        """Return what each id may become, int64 (V, most), -1 where there is no further alternative."""
        found: dict[int, list[int]] = {}
        for group in groups:
            members = [self._ids[character] for character in group if character in self._ids]
            for member in members:
                found.setdefault(member, [other for other in members if other != member])
        table = np.full((self._size, max((len(others) for others in found.values()), default=1) or 1), -1)
        for member, others in found.items():
            table[member, : len(others)] = others
        return table

    def __call__(self, batch: Batch, positions: np.ndarray) -> Batch:
        """Return the changed batch; `positions` (B,) are those of its rows in the order of the run."""
        tokens, targets = batch.tokens.numpy(), batch.targets.numpy()  # (B, T)
        counted = targets != IGNORED
        text = np.concatenate([tokens, np.where(counted, targets, 0)[:, -1:]], axis=1)  # (B, T + 1)
        new = text.copy()
        for kind, table in self._tables.items():
            choices = (table >= 0).sum(axis=1)[text]  # (B, T + 1)
            chance, choice = self._random(positions, text.shape[1], kind)
            changes = (chance < self._probability) & (choices > 0)
            new[changes] = table[text[changes], (choice[changes] * choices[changes]).astype(np.int64)]
        new, kept = self._one_space(text, new, counted, positions)
        return _rebuilt(batch, new, kept, counted)

    def _random(self, positions: np.ndarray, width: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Return two numbers in [0, 1) for every character, float64 (B, width) each."""
        keys = derive(derive(self._key, KINDS.index(kind)), positions)[:, None]  # (B, 1)
        bits = [derive(keys, np.arange(width) + number * width) for number in (0, 1)]
        one, other = ((word >> np.uint64(11)).astype(np.float64) / 2**53 for word in bits)
        return one, other

    def _one_space(
        self, text: np.ndarray, new: np.ndarray, counted: np.ndarray, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the text with chosen runs of white space begun by a space, and which characters stay (B, T + 1)."""
        white = self._spaces[text]
        inside = np.zeros_like(white)
        inside[:, 1:] = white[:, 1:] & white[:, :-1] & counted  # continues a run of its own document
        column = np.arange(text.shape[1])
        begin = np.maximum.accumulate(np.where(inside, 0, column), axis=1)  # where the run of each character began
        chance, _ = self._random(positions, text.shape[1], "whitespace")
        chosen = white & (np.take_along_axis(chance, begin, axis=1) < self._probability)
        return np.where(chosen & ~inside, self._ids.get(" ", 0), new), ~(chosen & inside)


def _rebuilt(batch: Batch, text: np.ndarray, kept: np.ndarray, counted: np.ndarray) -> Batch:
    """Return `batch` with `text` (B, T + 1) in place of its own, the characters that are not `kept` taken out."""
    links = np.zeros(text.shape, dtype=np.int64)
    links[:, 1:] = (~counted).cumsum(axis=1)  # equal for two characters exactly where one leads to the other
    order = np.argsort(~kept, axis=1, kind="stable")  # what is kept comes first
    count = kept.sum(axis=1)[:, None]  # (B, 1)
    text, links = np.take_along_axis(text, order, axis=1), np.take_along_axis(links, order, axis=1)
    there = np.arange(1, text.shape[1]) < count  # the last character is a target alone
    follows = there & (links[:, 1:] == links[:, :-1])  # (B, T)
    tokens = np.where(there, text[:, :-1], 0)
    targets = np.where(follows, text[:, 1:], IGNORED)
    changed = Batch(torch.from_numpy(tokens), torch.from_numpy(targets), int(follows.sum()))
    if batch.segments is not None:
        segments = np.take_along_axis(batch.segments.numpy(), np.minimum(order[:, :-1], tokens.shape[1] - 1), axis=1)
        starts = np.zeros(tokens.shape, dtype=bool)
        starts[:, 1:] = (segments[:, 1:] != segments[:, :-1]) | ~there[:, 1:]
        segments, positions = segments_and_positions(starts)
        changed.segments, changed.positions = torch.from_numpy(segments), torch.from_numpy(positions)
    return changed


def _one_token_each(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the characters that are one token each, with its id."""
    if tokenizer.kind == "byte":
        texts = [chr(code) for code in range(128)]
    else:
        texts = [tokenizer.token_text(number) for number in range(tokenizer.vocab_size)]
    encoded = {text: tokenizer.encode(text).tolist() for text in texts if len(text) == 1}
    return {text: ids[0] for text, ids in encoded.items() if len(ids) == 1 and ids[0] != tokenizer.unk_id}

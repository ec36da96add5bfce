"""The tokenizer of a corpus: ready, learned from its training text, or ready and extended by its characters."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from textmill.config.consistency import fewer_pieces
from textmill.config.tokenizer_kinds import WITH_VOCAB_SIZE
from textmill.console.number_format import plural
from textmill.data.preparing.learning_text import LearningText
from textmill.data.preparing.pipeline_output import Destination
from textmill.data.preparing.reading_progress import ReadProgress
from textmill.data.preparing.unknown_text import EXAMPLES, such_as
from textmill.errors import ConfigError
from textmill.tokenizers import Tokenizer, load_tokenizer, make_byte, make_char, train_bpe, train_unigram
from textmill.tokenizers.extend_vocabulary import with_characters
from textmill.tokenizers.fim_tokens import ADDED, NEW, fim_names, with_fim_tokens
from textmill.tokenizers.word_patterns import GPT2, GPT4O

_MANY_MARKS = 0.01
"""Share of characters from which on marks are part of the words of a text, and not a rare exception."""

LEARNED = ("char", *WITH_VOCAB_SIZE)
"""Tokenizers that are learned from the text."""

_VOCABULARY_BELOW = (
    (100_000, 512),
    (500_000, 1024),
    (3_000_000, 2048),
    (30_000_000, 4096),
    (300_000_000, 8192),
    (3_000_000_000, 16384),
)


class TokenizerChoice:
    """The tokenizer of the settings: "char", "bpe" and "unigram" are learned from text, everything else is `ready`.

    Attributes:
        ready: the tokenizer, if nothing has to be learned.
        for_ids: whether the data is token ids already.
        learns: whether it is learned from the text.
        bound: ids must be below it; None if that is not known.
        normal_form: the form of Unicode that it brings text into; None for none.
        identity: what its ids depend on besides the text, as plain values.
        extends: whether the characters of the text that it does not know are added to it.
        fills_in: whether it has the tokens of fill-in-the-middle.
    """

    extends = False
    fills_in = False
    _grown: tuple[int, int] | None = None  # the vocabulary before and after tokens were added to it

    def __init__(
        self,
        wanted: str | Path | Tokenizer,
        vocab_size: int | None,
        special_tokens: Sequence[str],
        *,
        for_ids: bool,
        eos_token: str | None = None,
        split_pattern: str | None = None,
        normalize: str | None = None,
    ) -> None:
        """Load what exists. `for_ids`: the data is ids already, so that there is nothing to learn from.

        eos_token: the token to follow every document, in place of the one that the tokenizer declares.
        split_pattern: how BPE or Unigram that is learned cuts text into words; None: as `suitable_pattern` says.
        normalize: the form of Unicode into which text is brought first; None: as an existing tokenizer does it.

        Raises ConfigError when a setting cannot take effect, and what `load_tokenizer` raises.
        """
        name = "" if isinstance(wanted, Tokenizer) else str(wanted)
        self.kind = name if name in LEARNED else None
        self._is_byte = name == "byte"
        self.ready: Tokenizer | None = None
        if isinstance(wanted, Tokenizer):
            self.ready = wanted
        elif name == "byte":
            self.ready = make_byte(special_tokens)
        elif self.kind is None:
            self.ready = load_tokenizer(wanted)
        if self.ready is not None and eos_token is not None:
            self.ready = self.ready.with_eos(eos_token)
        if self.ready is not None:
            self.ready = self.ready.with_normal_form(None if for_ids else normalize)
        if normalize is not None and for_ids:
            raise ConfigError("normalize has no effect here: the data is token ids")
        if special_tokens and (for_ids or (self.kind is None and name != "byte")):
            raise ConfigError("special_tokens has no effect here: the tokens are made already")
        if split_pattern is not None and (for_ids or name not in WITH_VOCAB_SIZE):
            raise ConfigError(
                "split_pattern has no effect here: it is for BPE and Unigram that are learned from the text"
            )
        self.for_ids = for_ids
        self.learns = self.kind is not None and not for_ids
        self.bound = vocab_size if self.ready is None else self.ready.vocab_size
        self._vocab_size = vocab_size
        self._special_tokens = list(special_tokens)
        self._eos_token = eos_token
        self._pattern = split_pattern
        self.normal_form = self.ready.normal_form if self.ready is not None else normalize
        self.identity: dict[str, Any] = {}
        if self.ready is not None:
            self.identity = {"fingerprint": self.ready.fingerprint, "eos_id": self.ready.eos_id}
        elif self.learns:
            size = vocab_size if self.kind in WITH_VOCAB_SIZE else None
            self.identity = {"kind": self.kind, "vocab_size": size, "special_tokens": self._special_tokens}
            self.identity |= {} if eos_token is None else {"eos_token": eos_token}
            # That of GPT-2 is left out: corpora from before there was a choice have it.
            if self.kind in WITH_VOCAB_SIZE and split_pattern != GPT2.name:
                self.identity["split_pattern"] = split_pattern or "by the marks of all files"
            self.identity |= {} if normalize is None else {"normalize": normalize}

    def extending(self) -> TokenizerChoice:
        """Return the choice of the same tokenizer with the characters of the text that it does not know added to it.

        Raises ConfigError unless a tokenizer that exists is to encode text.
        """
        if self.for_ids:
            raise ConfigError("extend_vocab has no effect here: the data is token ids")
        if self.ready is None:
            raise ConfigError(
                f"extend_vocab has no effect here: a {self.kind} tokenizer is learned from the text. It adds "
                "characters to one that exists (--tokenizer PATH, or that of the model that --init-from names)"
            )
        choice = copy.copy(self)
        choice.extends = True
        choice.learns = self.ready.unk_id is not None
        choice.identity = {**self.identity, **({"extended": True} if choice.learns else {})}
        return choice

    def filling_in(self) -> TokenizerChoice:
        """Return the choice of the same tokenizer with the tokens of fill-in-the-middle.

        Raises ConfigError for one that exists, has none, and is not extended.
        """
        choice = copy.copy(self)
        choice.fills_in = True
        if self.ready is None:
            choice.identity = {**self.identity, "fim": list(NEW[:3])} if self.learns else self.identity
            return choice
        if fim_names(self.ready) is None and not (self.extends or self._is_byte):
            raise ConfigError(
                f"fim_rate: the tokenizer has no tokens for fill-in-the-middle (such as {NEW.prefix}): add them with "
                "--extend-vocab"
            )
        choice.ready = with_fim_tokens(self.ready)
        choice.bound = choice.ready.vocab_size
        choice.identity = {**self.identity, "fingerprint": choice.ready.fingerprint, "eos_id": choice.ready.eos_id}
        if not self._is_byte and choice.ready.vocab_size > self.ready.vocab_size:
            choice._grown = (self.ready.vocab_size, choice.ready.vocab_size)
        return choice

    def make(self, text: LearningText, say: Callable[[str], None]) -> Tokenizer:
        """Return the tokenizer, learned from `text`, unless it is ready."""
        if self.ready is not None:
            if self._grown is not None:
                before, after = self._grown
                say(
                    "extend_vocab: tokens for fill-in-the-middle added to the tokenizer; the vocabulary grows from "
                    f"{before:,} to {after:,}"
                )
                if self.ready.unk_id is None:
                    return self.ready
            return _extended(self.ready, text, say) if self.extends else self.ready
        form = self.normal_form
        made = self._learn(text if form is None else text.in_normal_form(form), say).with_normal_form(form)
        return made if self._eos_token is None else made.with_eos(self._eos_token)

    def _learn(self, text: LearningText, say: Callable[[str], None]) -> Tokenizer:
        if self.kind == "char":
            made = make_char(text.every(), self._special_tokens)
            return with_fim_tokens(made) if self.fills_in else made
        assert self.kind is not None
        texts = text.for_vocabulary(self.kind, say)
        wanted = self._vocab_size or suitable_vocab_size(text.characters)
        pattern = self._pattern
        if pattern is None:
            pattern = suitable_pattern(text.share_of_marks(self.normal_form))
            if pattern != GPT2.name:
                say(f"words are cut by the pattern {pattern}, so that marks are part of them; --split-pattern sets it")
        train = train_unigram if self.kind == "unigram" else train_bpe
        made = train(texts, wanted - ADDED * self.fills_in, self._special_tokens, pattern=pattern)
        made = with_fim_tokens(made) if self.fills_in else made
        if self._vocab_size is not None and made.vocab_size < wanted:
            say(fewer_pieces(made.vocab_size, wanted, made.kind))
        return made


def _extended(tokenizer: Tokenizer, text: LearningText, say: Callable[[str], None]) -> Tokenizer:
    """Return the tokenizer with the characters of the text that it does not know; say how many they are."""
    if tokenizer.unk_id is None:
        say("extend_vocab: has no effect, because the tokenizer spells every text")
        return tokenizer
    unknown: Counter[str] = Counter()
    for part in text.every():
        unknown.update(tokenizer.unknown_in(part))
    if not unknown:
        say("extend_vocab: has no effect, because the tokenizer knows every character of the training text")
        return tokenizer
    extended = with_characters(tokenizer, sorted(unknown))
    such = such_as([character for character, _ in unknown.most_common(EXAMPLES)])
    say(
        f"extend_vocab: {plural(len(unknown), 'character')} of the training text added to the tokenizer{such}; "
        f"the vocabulary grows from {tokenizer.vocab_size:,} to {extended.vocab_size:,}"
    )
    return extended


def learn_once(
    choice: TokenizerChoice,
    text: LearningText,
    destination: Destination,
    progress: ReadProgress,
    say: Callable[[str], None],
) -> Tokenizer:
    """Return the tokenizer: ready, or learned by an earlier process that was stopped, or learned now and kept."""
    if not choice.learns:
        return choice.make(text, say)
    kept = destination.learned()
    if kept is not None:
        tokenizer, said = kept
        progress.advance(1)
    else:
        said = []
        tokenizer = choice.make(text, said.append)
        destination.keep_learned(tokenizer, said)
    for sentence in said:
        say(sentence)
    return tokenizer


def suitable_vocab_size(characters: int) -> int:
    """Return a BPE vocabulary for a text of this size: small enough that most of its tokens are seen often."""
    return next((size for below, size in _VOCABULARY_BELOW if characters < below), 32768)


def suitable_pattern(share_of_marks: float) -> str:
    """Return the pattern that cuts a text into words in which so many characters are marks, or stand between words.

    That of GPT-2 ends a word at each mark, such as a vowel sign. So where there are many, or many signs between words
    that are no spaces, it is that of GPT-4o (docs/decisions.md).
    """
    return (GPT4O if share_of_marks > _MANY_MARKS else GPT2).name

"""Text to ids and back, for every kind of tokenizer, in the form that Hugging Face tools load.

A tokenizer is its tokenizer.json. Characters and bytes are stored in that form too, so that a model folder opens in
transformers without custom code; for encoding them we take a shorter way to the same ids.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend

from textmill import files
from textmill.errors import ConfigError, DataError, listed
from textmill.tokenizers.byte_alphabet import CHARACTER_OF_BYTE, token_bytes
from textmill.tokenizers.byte_fallback import fallback_bytes, falls_back_to_bytes
from textmill.tokenizers.char_and_byte import CharacterIds, byte_ids
from textmill.tokenizers.check_foreign import backend_errors
from textmill.tokenizers.detokenizer import INCOMPLETE, ByteDetokenizer, Detokenizer, TextDetokenizer
from textmill.tokenizers.normal_forms import NORMAL_FORMS, normal_form_of, normalized
from textmill.tokenizers.split_long_text import pieces
from textmill.tokenizers.tiktoken_encoder import RankEncoder, rank_encoder
from textmill.tokenizers.word_patterns import PATTERNS, pattern_of

ROLES = ("eos_token", "bos_token", "unk_token", "pad_token")
"""The keys of tokenizer_config.json that name a token."""

_WORTH_RANKS = 1 << 16  # characters; the faster encoder takes a third of a second to start
_PIECE_CHARACTERS = 16384  # the backend is several times faster, and parallel, on pieces than on one long string


class Tokenizer:
    """Text to ids and back.

    Attributes:
        kind: "char", "byte", "bpe" (byte-level BPE: ours, GPT-2's, Llama 3's ...), "unigram" (with bytes for what has
            no piece) or "pretrained" (anything else).
        vocab_size: the highest id plus one.
        roles: the tokens that the folder declares, such as {"eos_token": "<|endoftext|>"}.
        special_tokens: the tokens that stand for no text.
        eos_id: the id that follows every document of a corpus, or None.
        unk_id: the id of what the vocabulary cannot spell, or None when it can spell everything.
        normal_form: the form of Unicode that every text is brought into first, "nfc", "nfd" or "nfkc"; None for none.
        prefix_ids, suffix_ids: the ids that belong before and after every document and prompt, such as a BOS token, as
            the post-processor of tokenizer.json says.
        exact_in_parts: a text cut between words (see `pieces`) gives, part by part, the ids of the whole.
        content: the text of tokenizer.json.
        fingerprint: the SHA-256 of `content`, hexadecimal.
    """

    def __init__(self, content: str, roles: Mapping[str, str] | None = None) -> None:
        """Open the tokenizer whose tokenizer.json reads `content`. Raises ValueError if it is not valid."""
        self.content = content
        try:
            described: dict[str, Any] = json.loads(content)
            self._backend = Backend.from_str(content)
        except Exception as error:  # the backend raises plain Exception
            raise ValueError(str(error)) from error
        # In data and prompts, "<|endoftext|>" is thirteen characters; only textmill itself adds the EOS id.
        self._backend.encode_special_tokens = True
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        self.roles = {role: name for role, name in (roles or {}).items() if role in ROLES and name in vocabulary}
        self.eos_id = vocabulary.get(self.roles.get("eos_token", ""))
        unknown = described["model"].get("unk_token")
        self.unk_id = vocabulary.get(unknown) if unknown else described["model"].get("unk_id")  # the latter: Unigram
        self.prefix_ids, self.suffix_ids = _around_a_text(self._backend)
        self.kind = _kind(described)
        self.normal_form = normal_form_of(described)
        self.fingerprint = hashlib.sha256(content.encode("utf-8")).hexdigest()
        added = described.get("added_tokens", [])
        self.special_tokens: list[str] = [token["content"] for token in added if token["special"]]
        self._special_ids = {token["id"] for token in added if token["special"]}
        self._words = [token["content"] for token in added if not token["special"]]  # one id wherever they occur
        self._token_bytes: Callable[[str], bytes] | None = None
        if self.kind == "unigram":
            self._token_bytes = fallback_bytes
            self.unk_id = None  # the backend asks for one and never gives it
        elif (described.get("decoder") or {}).get("type") == "ByteLevel":
            self._token_bytes = token_bytes
        self.drops_text = _drops_text(described, vocabulary)
        self._is_spelled: dict[str, bool] = {}
        self._direct: Callable[[str], np.ndarray] | None = None
        if self.kind == "byte":
            self._direct = byte_ids
        elif self.kind == "char" and self.unk_id is not None:
            self._direct = CharacterIds({c: i for c, i in vocabulary.items() if len(c) == 1}, self.unk_id)
        spaced = any(character.isspace() for word in self._words for character in word)
        self._pattern = PATTERNS.get(pattern_of(described) or "")
        self.exact_in_parts = not spaced and (self._direct is not None or self._pattern is not None)

    @classmethod
    def from_backend(cls, backend: Backend, roles: Mapping[str, str] | None = None) -> Tokenizer:
        """Return the tokenizer that a Hugging Face `tokenizers.Tokenizer` describes."""
        return cls(backend.to_str(), roles)

    def with_eos(self, token: str) -> Tokenizer:
        """Return the tokenizer with `token` as its EOS token. Raises ConfigError if it has no such token."""
        if self._backend.token_to_id(token) is None:
            special = f"its special tokens are {listed(self.special_tokens)}" if self.special_tokens else "it has none"
            raise ConfigError(f"eos_token is {token!r}, which is no token of the tokenizer: {special}")
        return Tokenizer(self.content, {**self.roles, "eos_token": token})

    def with_normal_form(self, form: str | None) -> Tokenizer:
        """Return the tokenizer that brings text into `form` first; None: as it is.

        Raises ConfigError if it normalises in another way.
        """
        if form in (None, self.normal_form):
            return self
        if self._backend.normalizer is not None:
            own = self.normal_form or "its own normalizer"
            raise ConfigError(f"normalize is {form}, and the tokenizer has {own} already: leave it out")
        backend = Backend.from_str(self.content)
        backend.normalizer = NORMAL_FORMS[form]()
        return Tokenizer.from_backend(backend, self.roles)

    def normalized(self, text: str) -> str:
        """Return `text` in the normal form of the tokenizer: what decoding its ids gives back."""
        return normalized(text, self.normal_form)

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.kind!r}, vocab_size={self.vocab_size}, fingerprint={self.fingerprint[:12]!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.content, self.roles)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text`, uint32 (tokens,), without `prefix_ids` and `suffix_ids`.

        No special token is ever added, and a special token that stands in the text is read as plain text. Raises
        DataError if the text contains a lone surrogate, which UTF-8 cannot encode.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], workers: int | None = None) -> list[np.ndarray]:
        """Return `encode` of every text, on `workers` cores (None: all) if that is faster."""
        try:
            with backend_errors("the tokenizer cannot spell the text"):
                return self._encode_batch(texts, workers)
        except (UnicodeEncodeError, TypeError):  # the backend's own error is a TypeError without details
            for text in texts:
                _refuse_surrogates(text)
            raise

    def _encode_batch(self, texts: Sequence[str], workers: int | None) -> list[np.ndarray]:
        normal = texts if self.normal_form is None else list(map(self.normalized, texts))
        seen = texts if normal is texts else [*texts, *normal]
        plain = not any(word in text for word in self._words for text in seen)
        texts = normal if plain else texts  # else the backend normalises between the words
        if plain and self._direct is not None:
            return [self._direct(text) for text in texts]
        worth_ranks = "_by_rank" in vars(self) or sum(map(len, texts)) >= _WORTH_RANKS
        if plain and self._pattern is not None and self.kind != "unigram" and worth_ranks and self._by_rank is not None:
            return self._encode_by_rank(texts, self._by_rank, workers)
        return self._encode_in_parallel(texts, workers)

    @cached_property
    def _by_rank(self) -> RankEncoder | None:
        assert self._pattern is not None
        return rank_encoder(json.loads(self.content), self._backend, self._pattern)

    def _encode_by_rank(self, texts: Sequence[str], by_rank: RankEncoder, workers: int | None) -> list[np.ndarray]:
        if workers == 1:
            found = list(map(by_rank.encode, texts))
        else:
            with ThreadPoolExecutor(workers) as pool:
                found = list(pool.map(by_rank.encode, texts))
        rest = iter(self._encode_in_parallel([text for text, ids in zip(texts, found) if ids is None], workers))
        return [next(rest) if ids is None else ids for ids in found]

    def _encode_in_parallel(self, texts: Sequence[str], workers: int | None) -> list[np.ndarray]:
        parts: list[str] = []
        ends = [0]
        for text in texts:
            parts.extend(pieces(text, _PIECE_CHARACTERS) if self.exact_in_parts else [text])
            ends.append(len(parts))
        if workers is None:
            encoded = self._backend.encode_batch_fast(parts, add_special_tokens=False)
        else:  # the backend has no setting for its threads; given one text at a time, it uses the thread that asks
            with ThreadPoolExecutor(workers) as pool:
                encoded = list(pool.map(lambda part: self._backend.encode_batch_fast([part], False, False)[0], parts))
        ids = [np.array(encoding.ids, dtype=np.uint32) for encoding in encoded]
        return [
            np.concatenate(ids[start:end]) if end > start else np.empty(0, dtype=np.uint32)
            for start, end in itertools.pairwise(ends)
        ]

    def decode(self, ids: Sequence[int] | np.ndarray, skip_special_tokens: bool = True) -> str:
        """Return the text of `ids`; bytes that are not UTF-8 become U+FFFD. Special tokens are omitted by default."""
        listed = np.asarray(ids, dtype=np.int64).tolist()
        with backend_errors("the tokenizer cannot decode its ids"):
            text = self._backend.decode(listed, skip_special_tokens=skip_special_tokens)
        if self.kind == "unigram" and INCOMPLETE in text:  # it would give up all bytes beside one that is no character
            return b"".join(self._bytes_of(number, skip_special_tokens) for number in listed).decode("utf-8", "replace")
        return text

    def unknown_in(self, text: str) -> Counter[str]:
        """Return the characters of `text`, in the tokenizer's normal form, that it cannot spell, with their number."""
        if self.unk_id is None and not self.drops_text:
            return Counter()
        found = Counter(self.normalized(text))
        new = [character for character in found if character not in self._is_spelled]
        if self.drops_text:
            known = self._backend.get_vocab(with_added_tokens=True) if new else {}
            self._is_spelled.update({each: all(symbol in known for symbol in self.symbols_of(each)) for each in new})
            new = []
        for character, ids in zip(new, self.encode_batch(new, 1)):
            self._is_spelled[character] = self.unk_id not in ids
        return Counter({character: number for character, number in found.items() if not self._is_spelled[character]})

    def symbols_of(self, character: str) -> list[str]:
        """Return what the vocabulary is asked for to spell a character by itself: more than one symbol, or none."""
        with backend_errors("the tokenizer cannot spell the text"):
            normalizer, splitter = self._backend.normalizer, self._backend.pre_tokenizer
            normal = character if normalizer is None else normalizer.normalize_str(character)
            pieces = [normal] if splitter is None else [piece for piece, _ in splitter.pre_tokenize_str(normal)]
        return [symbol for piece in pieces for symbol in piece]

    def vocabulary(self) -> dict[str, int]:
        """Return token -> id of all tokens, as tokenizer.json spells them."""
        return self._backend.get_vocab(with_added_tokens=True)

    def stream(self) -> Detokenizer:
        """Return a detokenizer that gives the text of ids pushed one by one, without special tokens."""
        return TextDetokenizer(self.decode) if self._token_bytes is None else ByteDetokenizer(self._bytes_of)

    def _bytes_of(self, token_id: int, skip_special_tokens: bool = True) -> bytes:
        skipped = skip_special_tokens and token_id in self._special_ids
        token = None if skipped else self._backend.id_to_token(int(token_id))
        return b"" if token is None or self._token_bytes is None else self._token_bytes(token)

    def token_text(self, token_id: int) -> str:
        """Return one token in readable form: its text, its bytes like `<E2><82>` if they are not text, or its name."""
        if token_id in self._special_ids or self._token_bytes is None:
            return self._backend.id_to_token(int(token_id)) or f"<no token {token_id}>"
        spelled = self._bytes_of(token_id)
        try:
            return spelled.decode("utf-8") or f"<no token {token_id}>"
        except UnicodeDecodeError:
            return "".join(f"<{byte:02X}>" for byte in spelled)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json into `folder`, for textmill and transformers.

        Without tokenizer_config.json transformers would guess a class from the model's type, and guess wrong. See
        `save_alone` for a folder that contains nothing else.
        """
        described = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],  # transformers 4 would add token_type_ids
            **self.roles,
        }
        # Trainers pad batches. A tokenizer without an EOS token has its unknown token for that, which transformers then
        # counts among the special ones: as in textmill, its name in a text has to stay text.
        if "pad_token" not in self.roles and self.eos_id is not None:
            described["pad_token"] = self.roles["eos_token"]
        elif "pad_token" not in self.roles and self.unk_id is not None:
            described |= {"pad_token": self._backend.id_to_token(self.unk_id), "split_special_tokens": True}
        files.write_text(Path(folder) / "tokenizer.json", self.content)
        files.write_json(Path(folder) / "tokenizer_config.json", described)

    def save_alone(self, folder: Path) -> None:
        """Write the tokenizer into `folder`, which contains nothing else, and a manifest, so that damage is noticed."""
        folder = Path(folder)
        manifest = folder / files.MANIFEST
        try:
            manifest.unlink(missing_ok=True)  # of an earlier tokenizer, which it must not outlive
        except OSError as error:
            raise files.cannot_write(manifest, error) from error
        self.save(folder)
        listed = {name: files.file_entry(folder / name) for name in ("tokenizer.json", "tokenizer_config.json")}
        files.write_bytes(manifest, files.render_manifest(None, listed))


def _around_a_text(backend: Backend) -> tuple[list[int], list[int]]:
    """Return the ids that the post-processor puts before and after a text.

    Without an unknown token, the vocabulary may not spell the first text: then one of its own tokens is taken.
    """
    try:
        encoding = backend.encode("a", add_special_tokens=True)
    except Exception:  # the backend raises plain Exception
        shortest = min(backend.get_vocab(with_added_tokens=False), key=len, default="")
        encoding = backend.encode(shortest, add_special_tokens=True)
    own = [position for position, added in enumerate(encoding.special_tokens_mask) if not added]
    first, last = (own[0], own[-1] + 1) if own else (len(encoding.ids), len(encoding.ids))
    return encoding.ids[:first], encoding.ids[last:]


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text contains U+{ord(text[error.start]):04X}, a lone surrogate, at position {error.start}: "
            "UTF-8 cannot spell it"
        ) from error


def _drops_text(described: Mapping[str, Any], vocabulary: Mapping[str, int]) -> bool:
    """Whether characters that the vocabulary lacks would leave no trace: BPE without a token for them."""
    model = described["model"]
    if model.get("type") != "BPE" or model.get("unk_token") is not None or model.get("byte_fallback"):
        return False
    spells_bytes = (described.get("decoder") or {}).get("type") == "ByteLevel"
    return not (spells_bytes and all(CHARACTER_OF_BYTE[byte] in vocabulary for byte in range(256)))


def _kind(described: dict[str, Any]) -> str:
    model, splitter = described["model"], described.get("pre_tokenizer") or {}
    plain = described.get("normalizer") is None or normal_form_of(described) is not None
    if plain and falls_back_to_bytes(described) and pattern_of(described) is not None:
        return "unigram"
    if model.get("type") != "BPE" or not plain:
        return "pretrained"
    vocabulary: dict[str, int] = model["vocab"]
    added = {token["content"] for token in described.get("added_tokens", [])}
    unknown = model.get("unk_token")
    if not model["merges"] and splitter.get("type") == "ByteLevel" and not splitter.get("use_regex", True):
        spelled = {CHARACTER_OF_BYTE[byte]: byte for byte in range(256)}
        if not splitter["add_prefix_space"] and {t: i for t, i in vocabulary.items() if t not in added} == spelled:
            return "byte"
    if not model["merges"] and not splitter and unknown and not model.get("fuse_unk"):
        return "char" if all(len(t) == 1 for t in vocabulary if t not in added and t != unknown) else "pretrained"
    return "bpe" if (described.get("decoder") or {}).get("type") == "ByteLevel" else "pretrained"

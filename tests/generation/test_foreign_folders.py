"""Model folders of other tools: generated and scored as transformers does by default."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, processors

from support.foreign_folders import BOS, PROMPT, byte_backend, foreign_folder, their_ids
from textmill.checkpoint.generation_config import HARMLESS, NEUTRAL
from textmill.checkpoint.model_folder import load_model
from textmill.errors import ConfigError, DataError
from textmill.evaluation import evaluate_model
from textmill.generation import generate_text
from textmill.tokenizers import load_tokenizer, make_byte


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


def unigram_backend() -> Backend:
    """A tokenizer that knows a few letters only and begins a text with <s>."""
    letters = [("<unk>", 0.0), ("<s>", 0.0), *((letter, -float(i)) for i, letter in enumerate("▁aeghilmnot", 1))]
    backend = Backend(models.Unigram(letters, unk_id=0))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    backend.add_special_tokens(["<unk>", "<s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a small random llama with the tokenizer and generation_config.json of another tool."""

    def make(backend: Backend, generation: dict[str, Any] | None = None, **config: Any) -> Path:
        return foreign_folder(tmp_path / "foreign", backend, generation, **config)

    return make


def our_text(path: Path) -> str:
    return generate_text(path, prompt=PROMPT, temperature=0, max_new_tokens=20)


def test_greedy_text_is_that_of_transformers(transformers: Any, folder: Callable[..., Path]) -> None:
    """A BOS token that the post-processor adds comes before the prompt."""
    path = folder(byte_backend())
    loaded = load_model(path)
    assert loaded.tokenizer is not None and loaded.tokenizer.prefix_ids == [BOS]
    before, after = their_ids(transformers, path)
    assert before[0] == BOS and len(after) == 20
    text = transformers.AutoTokenizer.from_pretrained(path).decode([*before, *after], skip_special_tokens=True)
    assert our_text(path) == text.rstrip("\ufffd")  # half a character at the end
    assert text != generate_text(loaded.model, make_byte(), prompt=PROMPT, temperature=0, max_new_tokens=20)


@pytest.mark.parametrize("place", ["generation_config.json", "config.json"])
def test_every_declared_end_ends_a_text(transformers: Any, folder: Callable[..., Path], place: str) -> None:
    """End tokens may be several; those of generation_config.json count, or those of config.json where it is missing."""
    whole = their_ids(transformers, folder(byte_backend()))[1]
    ends = [256, whole[6]]
    where = {"generation": {"eos_token_id": ends}} if place == "generation_config.json" else {"eos_token_id": ends}
    path = folder(byte_backend(), **where)
    before, after = their_ids(transformers, path)
    assert after == whole[: whole.index(whole[6]) + 1]
    loaded = load_model(path)
    assert loaded.generation.end_ids == set(ends) and loaded.tokenizer is not None
    assert our_text(path) == loaded.tokenizer.decode([*before, *after[:-1]])


def test_ends_that_are_no_ids_are_refused(folder: Callable[..., Path]) -> None:
    """A name in the place of an id is a line that names the file."""
    path = folder(byte_backend(), {"eos_token_id": ["</s>"]})
    with pytest.raises(DataError, match="neither an id nor a list of ids"):
        load_model(path)


def test_the_unknown_token_of_unigram(folder: Callable[..., Path]) -> None:
    """Unknown characters are counted and said, and the unknown token is never written."""
    path = folder(unigram_backend())
    said: list[str] = []
    text = generate_text(path, prompt="hello zz", temperature=2.0, max_new_tokens=60, seed=1, say=said.append)
    assert said == ["1 of the prompt's 9 tokens is unknown to the tokenizer"]  # Unigram joins neighbours
    assert "<unk>" not in text


@pytest.mark.parametrize("backend", [byte_backend, unigram_backend])
def test_evaluation_is_that_of_transformers(
    transformers: Any, folder: Callable[..., Path], tmp_path: Path, backend: Callable[[], Backend]
) -> None:
    """The loss of a text is that of transformers' model on the ids that its tokenizer gives by default.

    It is in bits per byte too, where no unknown token hides text, as one of the two hides the line break.
    """
    path = folder(backend())
    (tmp_path / "text.txt").write_text("the lighting in the hall\nlate at night")
    model = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    ids = transformers.AutoTokenizer.from_pretrained(path)((tmp_path / "text.txt").read_text())["input_ids"]
    with torch.no_grad():
        loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    options: dict[str, Any] = {"cache_dir": tmp_path / "cache", "precision": "fp32", "max_unknown": 0.1}
    measured = evaluate_model(path, tmp_path / "text.txt", **options)
    assert measured["tokens"] == len(ids) - 1
    assert measured["loss"] == pytest.approx(loss, abs=1e-4)
    bits = loss * (len(ids) - 1) / math.log(2) / 38
    assert measured.get("bits_per_byte") == (pytest.approx(bits, abs=1e-3) if backend is byte_backend else None)


def test_every_document_begins_with_the_token(folder: Callable[..., Path], tmp_path: Path) -> None:
    """In a corpus of several documents each one has its BOS token, long ones that are read in parts only one."""
    from textmill.data.prepare import prepare

    path = folder(byte_backend())
    long = "words and more words " * 20_000
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(["one", long, "three"]):
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    corpus = prepare(tmp_path / "texts", tokenizer=path, val_split=0, cache_dir=tmp_path / "cache")
    ids = corpus.train.read(0, corpus.train.num_tokens).tolist()
    assert ids[:5] == [BOS, *b"one", 256]
    assert ids.count(BOS) == 3 and ids.count(256) == 3
    assert ids[5] == BOS and ids[-7:] == [BOS, *b"three", 256]


def test_every_field_of_a_generation_config_is_known(transformers: Any, folder: Callable[..., Path]) -> None:
    """Each field is read, refused when it would change the text, or listed as harmless; none is both."""
    fields = set(transformers.GenerationConfig().to_dict())
    assert fields <= {"eos_token_id"} | NEUTRAL.keys() | HARMLESS
    assert not NEUTRAL.keys() & HARMLESS
    for key in NEUTRAL:
        path = folder(byte_backend(), {key: 3})
        with pytest.raises(ConfigError, match=f"asks for {key} 3"):
            our_text(path)


def test_every_field_of_a_tokenizer_config_is_harmless(transformers: Any, folder: Callable[..., Path]) -> None:
    """Whatever tokenizer_config.json says besides the names of tokens, AutoTokenizer gives the ids that we give.

    clean_up_tokenization_spaces changes decoded text alone, and split_special_tokens is the rule of textmill.
    """
    path = folder(byte_backend())
    others = {
        "add_bos_token": False,
        "add_eos_token": True,
        "add_prefix_space": True,
        "legacy": True,
        "model_max_length": 5,
        "padding_side": "left",
        "truncation_side": "left",
        "chat_template": "{{ x }}",
        "use_default_system_prompt": True,
        "spaces_between_special_tokens": True,
        "clean_up_tokenization_spaces": True,
        "split_special_tokens": True,
        "additional_special_tokens": ["<end>"],
        "extra_special_tokens": ["<end>"],
        "added_tokens_decoder": {"257": {"content": "<s>", "special": False, "normalized": False}},
        "sp_model_kwargs": {},
        "errors": "strict",
        "do_lower_case": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk2>",
        "pad_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "mask_token": "<end>",
    }
    for key, value in others.items():
        values = {"tokenizer_class": "PreTrainedTokenizerFast", key: value}
        (path / "tokenizer_config.json").write_text(json.dumps(values))
        ours = load_tokenizer(path)
        ids = [*ours.prefix_ids, *ours.encode("some Words").tolist(), *ours.suffix_ids]
        theirs = transformers.AutoTokenizer.from_pretrained(path)
        assert theirs("some Words")["input_ids"] == ids, key

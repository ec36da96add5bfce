"""Our model folders in transformers and theirs in ours: same weights, same logits, same text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.small_models import FAMILIES, random_tokens, small_model
from textmill.checkpoint.model_folder import load_model, save_model_folder
from textmill.config import ModelConfig
from textmill.generation.token_loop import generate
from textmill.model.decoder import Decoder
from textmill.model.from_config import empty_model
from textmill.tokenizers import make_byte, make_char, train_bpe

SHAPES: dict[str, dict[str, Any]] = {
    **FAMILIES,
    "qwen3 untied": {"architecture": "qwen3", "tie_embeddings": False, "rope_theta": 1000000.0},
    "llama tied": {"architecture": "llama", "tie_embeddings": True, "norm_eps": 1e-5},
    "gpt2 untied": {"architecture": "gpt2", "tie_embeddings": False, "activation": "gelu"},
    "llama with GeGLU": {"architecture": "llama", "activation": "gelu", "gated_mlp": True},
    "qwen3 with GeGLU": {"architecture": "qwen3", "activation": "gelu_tanh", "gated_mlp": True},
    "gpt2 with SiLU": {"architecture": "gpt2", "activation": "silu", "gated_mlp": False},
}


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


@pytest.mark.parametrize("name", SHAPES)
def test_our_folder_in_transformers(name: str, transformers: Any, tmp_path: Path) -> None:
    """AutoModelForCausalLM and AutoTokenizer load a saved folder and compute the same logits from the same text."""
    tokenizer = make_byte()
    model = small_model(**SHAPES[name], vocab_size=tokenizer.vocab_size)
    save_model_folder(tmp_path, model, tokenizer)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert type(theirs).__name__ == json.loads((tmp_path / "config.json").read_text())["architectures"][0]
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path)("größer\n")["input_ids"]
    assert ids == tokenizer.encode("größer\n").tolist()
    tokens = torch.tensor([ids, [256, *ids[1:]]])
    with torch.no_grad():
        difference = (theirs.eval()(tokens).logits - model(tokens)).abs().max().item()
    assert difference <= 1e-4
    assert theirs.config.eos_token_id == theirs.generation_config.eos_token_id == tokenizer.eos_id
    assert theirs.config.bos_token_id is None


@pytest.mark.parametrize("name", SHAPES)
def test_their_folder_in_ours(name: str, transformers: Any, tmp_path: Path) -> None:
    """A folder that transformers saved, in shards, loads with the same logits and shape."""
    ours = small_model(**SHAPES[name])
    save_model_folder(tmp_path / "ours", ours, None)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    torch.manual_seed(1)
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, 0.05, 0.2)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 1
    loaded = load_model(tmp_path / "theirs")
    tokens = random_tokens(3, 24)
    with torch.no_grad():
        difference = (theirs(tokens).logits - loaded.model(tokens)).abs().max().item()
    assert difference <= 1e-4
    assert loaded.tokenizer is None
    assert loaded.model.config == ours.config


def test_char_and_bpe_folders_open_in_transformers(transformers: Any, tmp_path: Path) -> None:
    """The tokenizer beside a model is the one we trained, whatever its kind and the model's family."""
    text = "wer zählt die Bücher? 42 Bücher!\n"
    for tokenizer, family in itertools.product((make_char([text]), train_bpe([text] * 3, 300)), FAMILIES):
        folder = tmp_path / f"{tokenizer.kind}-{family}"
        save_model_folder(folder, small_model(**FAMILIES[family], vocab_size=tokenizer.vocab_size), tokenizer)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert theirs(text)["input_ids"] == tokenizer.encode(text).tolist()
        assert theirs.decode(tokenizer.encode(text).tolist()) == text
        assert theirs.eos_token_id == tokenizer.eos_id


@pytest.fixture(scope="module")
def stories(shared: Path) -> Decoder:
    """The trained 260K-parameter Llama of llama2.c, converted from its own format by the description of that format.

    Seven int32 (width, inner width, layers, heads, kv heads, vocabulary, context), then float32 tensors, each stacked
    over layers. Its rotary pairs are neighbours (2i, 2i + 1); ours, like transformers', are (i, i + E/2).
    """
    raw = np.fromfile(shared / "data/stories260K/stories260K.bin", dtype="<i4", count=7)
    d, f, layers, heads, kv_heads, vocab, context = (int(value) for value in raw)
    weights = torch.from_numpy(np.fromfile(shared / "data/stories260K/stories260K.bin", dtype="<f4", offset=28))
    size = d // heads
    place = 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal place
        count = int(np.prod(shape))
        place += count
        return weights[place - count : place].view(shape)

    def halves(stacked: torch.Tensor) -> torch.Tensor:
        pairs = stacked.view(layers, -1, size // 2, 2, d)
        return pairs.transpose(2, 3).reshape(layers, -1, d)

    tensors = {"model.embed_tokens.weight": take(vocab, d)}
    stacks = {
        "input_layernorm": take(layers, d),
        "self_attn.q_proj": halves(take(layers, heads * size, d)),
        "self_attn.k_proj": halves(take(layers, kv_heads * size, d)),
        "self_attn.v_proj": take(layers, kv_heads * size, d),
        "self_attn.o_proj": take(layers, d, heads * size),
        "post_attention_layernorm": take(layers, d),
        "mlp.gate_proj": take(layers, f, d),
        "mlp.down_proj": take(layers, d, f),
        "mlp.up_proj": take(layers, f, d),
    }
    tensors["model.norm.weight"] = take(d)
    for name, stacked in stacks.items():
        for layer in range(layers):
            tensors[f"model.layers.{layer}.{name}.weight"] = stacked[layer]
    config = ModelConfig(
        architecture="llama",
        vocab_size=vocab,
        d_model=d,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        d_ff=f,
        max_seq_len=context,
        norm_eps=1e-5,
        tie_embeddings=True,
    )
    model = empty_model(config)
    missing = model.load_state_dict(tensors, strict=False)
    assert missing.missing_keys == ["lm_head.weight"] and not missing.unexpected_keys
    return model.eval()


def greedy(model: Decoder, prompt: list[int], count: int, *, use_cache: bool) -> list[int | None]:
    return [step[0] for step in generate(model, [prompt], max_new_tokens=count, temperature=0, use_cache=use_cache)]


def test_trained_weights_tell_the_same_story(stories: Decoder, transformers: Any, tmp_path: Path) -> None:
    """256 greedy tokens of a model trained by others are those of transformers, with and without a cache."""
    save_model_folder(tmp_path, stories, None)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = theirs.generate(torch.tensor([[1]]), max_new_tokens=256, do_sample=False, pad_token_id=0)[
            0, 1:
        ].tolist()
    assert len(set(expected)) > 40
    assert greedy(stories, [1], 256, use_cache=True) == expected
    assert greedy(stories, [1], 256, use_cache=False) == expected


def test_trained_weights_predict_their_story_well(stories: Decoder) -> None:
    """The model finds its own story likely: far below the ln(512) = 6.2 nats of an untrained one."""
    story = [1, *(token for token in greedy(stories, [1], 200, use_cache=True) if token is not None)]
    tokens = torch.tensor([story])
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(stories(tokens[:, :-1])[0], tokens[0, 1:])
    assert loss < 1.0

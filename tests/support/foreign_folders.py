"""Model folders as other tools write them, and what transformers makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import processors

from textmill.checkpoint.model_folder import save_model_folder
from textmill.config import load_config
from textmill.model import build_model
from textmill.tokenizers import make_byte

BOS = 257
PROMPT = "a long time ago "


def byte_backend() -> Backend:
    backend = Backend.from_str(make_byte().content)
    backend.add_special_tokens(["<s>", "</s>", "<end>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return backend


def foreign_folder(path: Path, backend: Backend, generation: dict[str, Any] | None = None, **config: Any) -> Path:
    """Write a small random llama with this tokenizer and generation_config.json, and `config` over its config.json."""
    size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
    shape = {"architecture": "llama", "d_model": 32, "num_layers": 2, "num_heads": 2, "max_seq_len": 64}
    model = load_config(**shape, vocab_size=size, init_std=0.5).model
    save_model_folder(path, build_model(model, seed=5), None)
    backend.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    if generation is not None:
        (path / "generation_config.json").write_text(json.dumps(generation))
    described = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**described, **config}))
    return path


def their_ids(transformers: Any, path: Path) -> tuple[list[int], list[int]]:
    """Return the ids of the prompt, and those that transformers continues it with greedily by its default call."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    given = tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False)
    ids = model.generate(**given, max_new_tokens=20, do_sample=False, pad_token_id=0)[0].tolist()
    length = given["input_ids"].shape[1]
    return ids[:length], ids[length:]


def write_gpt2_files(folder: Path, config: dict[str, Any]) -> None:
    """Write vocab.json and merges.txt of bytes and <|endoftext|>, and a tokenizer_config.json."""
    vocabulary = json.loads(make_byte().content)["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "<|endoftext|>": 256}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))

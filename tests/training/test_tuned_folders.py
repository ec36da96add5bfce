"""What a run that starts from another tool's folder saves: transformers generates from it as textmill does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.foreign_folders import BOS, PROMPT, byte_backend, foreign_folder, their_ids, write_gpt2_files
from textmill.checkpoint.model_folder import load_model, save_model_folder
from textmill.config import load_config
from textmill.generation import generate_text
from textmill.model import build_model
from textmill.tokenizers import load_tokenizer
from textmill.training import train

MOST = 20


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


def tune(folder: Path, run: Path, book: Path, **settings: Any) -> Path:
    """Train so little that the greedy text stays; return final/."""
    given = {"max_steps": 1, "learning_rate": 1e-9, "optimizer": "adamw", "precision": "fp32"}
    train(data=str(book), init_from=str(folder), output_dir=str(run), **{**given, **settings})
    return run / "final"


def same_text(transformers: Any, folder: Path) -> list[int]:
    """Return the ids that transformers generates, which spell the text that textmill generates."""
    before, after = their_ids(transformers, folder)
    spelled = after[:-1] if len(after) < MOST else after  # a token that ends the text is not part of ours
    text = transformers.AutoTokenizer.from_pretrained(folder).decode([*before, *spelled], skip_special_tokens=True)
    assert generate_text(folder, prompt=PROMPT, temperature=0, max_new_tokens=MOST) == text
    return after


@pytest.mark.parametrize("where", ["generation_config.json", "config.json"])
def test_ends_and_beginnings_of_the_folder_are_the_runs(
    transformers: Any, book: Path, tmp_path: Path, where: str
) -> None:
    """Several end tokens, declared in either file, and a BOS token; also after a resume and in a fork."""
    whole = their_ids(transformers, foreign_folder(tmp_path / "foreign", byte_backend()))[1]
    ends = [whole[6], 258]
    generation = {"eos_token_id": ends} if where == "generation_config.json" else None
    config: dict[str, Any] = {} if generation else {"eos_token_id": ends}
    foreign = foreign_folder(tmp_path / "foreign", byte_backend(), generation, **config)
    expected = same_text(transformers, foreign)
    assert expected == whole[: whole.index(whole[6]) + 1]

    final = tune(foreign, tmp_path / "run", book)
    assert load_model(final).generation.end_ids == {256, *ends}  # the EOS token ended the documents of training
    assert json.loads((final / "generation_config.json").read_text())["eos_token_id"] == [256, *sorted(ends)]
    assert their_ids(transformers, final)[0][0] == BOS
    assert same_text(transformers, final) == expected
    if where == "config.json":
        return
    train(output_dir=str(tmp_path / "run"), resume=True, max_steps=2)
    assert same_text(transformers, final) == expected
    fork = tmp_path / "fork"
    train(output_dir=str(fork), data=str(book), resume_from=str(tmp_path / "run"), max_steps=3)
    assert same_text(transformers, fork / "final") == expected


def test_another_tokenizer_has_ends_of_its_own(book: Path, tmp_path: Path) -> None:
    """An id of the folder means another token then."""
    foreign = foreign_folder(tmp_path / "foreign", byte_backend(), {"eos_token_id": [5, 258]})
    final = tune(foreign, tmp_path / "run", book, tokenizer="bpe", vocab_size=300)
    tokenizer = load_tokenizer(final)
    assert load_model(final).generation.end_ids == {tokenizer.eos_id}


def test_gpt2_files_with_a_bos_token(transformers: Any, book: Path, tmp_path: Path) -> None:
    """`add_bos_token`, which tokenizer_config.json alone declares for vocab.json and merges.txt, is kept in final/."""
    foreign = tmp_path / "foreign"
    shape = {"d_model": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 64, "init_std": 0.5}
    model = load_config(architecture="gpt2", **shape, vocab_size=257).model
    save_model_folder(foreign, build_model(model, seed=5), None)
    write_gpt2_files(foreign, {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True})
    expected = same_text(transformers, foreign)
    final = tune(foreign, tmp_path / "run", book)
    before = their_ids(transformers, final)[0]
    assert before == their_ids(transformers, foreign)[0] and before[0] == 256
    assert same_text(transformers, final) == expected


def test_the_ends_of_a_model_of_transformers(transformers: Any, book: Path, tmp_path: Path) -> None:
    """Those that it was loaded with are saved; those that its class merely assumes are not."""
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    made = transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(vocab_size=257, eos_token_id=7, **shape))
    made.save_pretrained(tmp_path / "made")
    (tmp_path / "made/generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    for model, ends in ((made, 256), (loaded, [256, 7, 9])):
        settings = {"tokenizer": "byte", "max_steps": 1, "batch_size": 2, "max_seq_len": 32, "overwrite": True}
        result = train(data=str(book), model=model, output_dir=str(tmp_path / "run"), quiet=True, **settings)
        saved = transformers.GenerationConfig.from_pretrained(result.final_model)
        assert saved.eos_token_id == ends

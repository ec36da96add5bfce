"""Hugging Face's `Trainer` goes on with a model that textmill saved, and textmill with what it saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import textmill as tm
from textmill.checkpoint.model_folder import load_model
from textmill.model.cross_entropy import cross_entropy_sum

transformers: Any = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate: pip install accelerate")

ROW = 32


@torch.no_grad()
def our_loss(model: torch.nn.Module, batch: Any) -> float:
    """Return the mean loss per target of a padded batch, by textmill's model."""
    targets = batch["labels"][:, 1:]
    total = 0.0
    for tokens, row in zip(batch["input_ids"], targets, strict=True):
        length = int((row >= 0).sum())  # without padding, which attention would not hide here
        total += float(cross_entropy_sum(model(tokens[None, :length]), row[None, :length]))
    return total / int((targets >= 0).sum())


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_its_trainer_goes_on_with_our_model(book: Path, cache_dir: Path, tmp_path: Path, tokenizer: str) -> None:
    """Batches of texts of different lengths can be padded, the first loss is ours, and its folder loads here again."""
    shape = {"d_model": 32, "num_layers": 1, "num_heads": 2, "max_seq_len": ROW, "dropout": 0.0}
    vocabulary = {"vocab_size": 300} if tokenizer == "bpe" else {}
    result = tm.train(
        data=book, tokenizer=tokenizer, **vocabulary, **shape, max_steps=2, batch_size=4, precision="fp32",
        output_dir=tmp_path / "run", cache_dir=cache_dir, quiet=True,
    )  # fmt: skip
    ours = load_model(result.final_model)
    encode = transformers.AutoTokenizer.from_pretrained(result.final_model)
    texts = [text for text in book.read_text().splitlines() if len(text) > 8][:12]
    rows = [encode(text, truncation=True, max_length=ROW) for text in texts]
    collate = transformers.DataCollatorForLanguageModeling(encode, mlm=False)
    expected = our_loss(ours.model, collate(rows))

    trainer = transformers.Trainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(result.final_model),
        args=transformers.TrainingArguments(
            str(tmp_path / "theirs"), max_steps=3, per_device_train_batch_size=12, report_to=[], use_cpu=True,
            logging_steps=1, learning_rate=1e-2, disable_tqdm=True,
        ),
        train_dataset=rows, data_collator=collate, processing_class=encode,
    )  # fmt: skip
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[0] == pytest.approx(expected, abs=2e-3)
    assert losses[2] < losses[0]

    trainer.save_model(str(tmp_path / "theirs/final"))
    again = load_model(tmp_path / "theirs/final")
    assert again.tokenizer is not None and ours.tokenizer is not None
    ids = torch.as_tensor(again.tokenizer.encode(texts[0]).astype("int64"))[None, :ROW]
    assert ids.tolist() == torch.as_tensor(ours.tokenizer.encode(texts[0]).astype("int64"))[None, :ROW].tolist()
    torch.testing.assert_close(again.model(ids), trainer.model.eval()(ids).logits, atol=1e-5, rtol=1e-4)
    tuned = tm.train(
        data=book, init_from=tmp_path / "theirs/final", max_steps=1, output_dir=tmp_path / "tuned",
        cache_dir=cache_dir, quiet=True,
    )  # fmt: skip
    assert tuned.total_steps == 1

"""What is between a prompt and a suffix is asked for as the model was trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import textmill as tm
from textmill.checkpoint.model_folder import load_model
from textmill.cli.main import main
from textmill.data.batches.fill_in_middle import FillInMiddle
from textmill.data.batches.loader import IGNORED, Batch
from textmill.errors import ConfigError
from textmill.generation.fill_in import fill_in_ids
from textmill.tokenizers import make_byte
from textmill.tokenizers.fim_tokens import fim_tokens, with_fim_tokens

TEXT = "def area(width, height):\n    return width * height\n"


@pytest.mark.parametrize("form", ["psm", "spm"])
def test_it_is_the_beginning_of_a_row_of_training(form: str) -> None:
    """For prefix and suffix of a divided row, what is asked are its ids up to the middle, whose end is the same."""
    tokenizer = with_fim_tokens(make_byte())
    marks = fim_tokens(tokenizer, "")
    ids = torch.tensor([[*tokenizer.encode(TEXT).tolist(), marks.end, *[0] * 8]])
    targets = torch.roll(ids, -1, 1)
    targets[:, len(TEXT) :] = IGNORED
    batch = Batch(ids, targets, int((targets != IGNORED).sum()))
    for position in range(30):
        new = FillInMiddle(1.0, form, tokenizer, tokenizer.eos_id, 1)(batch, np.array([position]))
        row = [*new.tokens[0].tolist()]
        row = row[: row.index(marks.end) + 1]
        suffix_at, middle_at = row.index(marks.suffix), row.index(marks.middle)
        if form == "psm":
            prefix, suffix = row[1:suffix_at], row[suffix_at + 1 : middle_at]
        else:
            suffix = row[suffix_at + 1 : middle_at]
            prefix = row[middle_at + 1 :][: position % 3]  # prefix and middle are one text: any beginning of it
        asked, end = fill_in_ids(tokenizer, *map(tokenizer.decode, (prefix, suffix)), suffix_first=form == "spm")
        assert row[: len(asked)] == asked and end == marks.end == row[-1]


def test_a_trained_model_is_asked_in_its_own_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text is prompt, middle, suffix, in Python and on the command line; a model without the tokens refuses."""
    (tmp_path / "code").mkdir()
    for number in range(3):
        (tmp_path / "code" / f"{number}.py").write_text(TEXT * 40)
    shape = {"d_model": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 32, "batch_size": 2, "tokenizer": "byte"}
    given = {
        "data": str(tmp_path / "code"),
        "cache_dir": str(tmp_path / "cache"),
        "max_steps": 1,
        "quiet": True,
        **shape,
    }
    for name, more in {"spm": {"fim_rate": 0.5, "fim_format": "spm"}, "plain": {}}.items():
        tm.train(output_dir=str(tmp_path / "runs" / name), **given, **more)
    run = tmp_path / "runs" / "spm"
    options = {"suffix": " END", "max_new_tokens": 5, "seed": 1}
    text = tm.generate_text(run, prompt="BEGIN ", **options)
    middle = tm.generate_text(run, prompt="BEGIN ", include_prompt=False, **options)
    assert text == f"BEGIN {middle} END"
    words = ["generate", str(run), "--prompt", "BEGIN ", "--suffix", " END", "--max-new-tokens", "5", "--seed", "1"]
    capsys.readouterr()
    assert main(words) == 0
    assert capsys.readouterr().out == f"{text}\n"
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["suffix"], said["continuations"]) == (" END", [middle])
    asked = torch.tensor([fill_in_ids(with_fim_tokens(make_byte()), "BEGIN ", " END", suffix_first=True)[0]])
    greedy = tm.generate_text(
        run, prompt="BEGIN ", include_prompt=False, suffix=" END", max_new_tokens=1, temperature=0
    )
    model, tokenizer = load_model(run).model, load_model(run).tokenizer
    assert tokenizer is not None
    assert greedy == tokenizer.decode([int(model(asked)[0, -1].argmax())]).rstrip("\ufffd")
    with pytest.raises(ConfigError, match=r"no tokens for fill-in-the-middle .*train a model with --fim-rate"):
        tm.generate_text(tmp_path / "runs" / "plain", prompt="a", suffix="b")

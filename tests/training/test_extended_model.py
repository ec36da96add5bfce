"""A trained model that goes on with text whose characters its tokenizer lacks: what it was stays, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.small_models import small_model
from textmill.checkpoint.model_folder import load_model, save_model_folder
from textmill.cli.main import main
from textmill.config import load_config
from textmill.data import prepare
from textmill.evaluation import evaluate_model
from textmill.model import build_model
from textmill.tokenizers import Tokenizer, make_char, train_bpe
from textmill.tokenizers.extend_vocabulary import with_characters
from textmill.training import train
from textmill.training.extended_rows import extended_rows, parts_of_new
from textmill.training.initial_model import adopt_model, load_initial

OLD = "the cat sat on the mat and ate the rat.\n"
NEW = "thé càt sat on the ម្មម mat.\n"
KNOWN = make_char([OLD])


def model_folder(folder: Path, *, padded: int = 0, **shape: Any) -> Path:
    save_model_folder(folder, small_model(vocab_size=KNOWN.vocab_size + padded, **shape), KNOWN)
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "new.txt"
    path.write_text(NEW * 40, encoding="utf-8")
    return path


def started(folder: Path, tokenizer: Tokenizer, vocab_size: int) -> dict[str, torch.Tensor]:
    """The weights of a run that starts from the model in `folder` with an extended tokenizer."""
    config = load_config(init_from=str(folder), extend_vocab=True)
    initial = adopt_model(config, lambda sentence: None)
    assert initial is not None
    config.model.vocab_size = vocab_size
    model = build_model(config.model, seed=5)
    load_initial(model, initial, tokenizer, lambda sentence: None)
    return model.state_dict()


@pytest.mark.parametrize("shape", [{"tie_embeddings": True}, {"tie_embeddings": False}, {"architecture": "gpt2"}])
@pytest.mark.parametrize("padded", [0, 3, 20])
def test_old_rows_and_all_other_weights_are_the_same_bits(tmp_path: Path, shape: dict[str, Any], padded: int) -> None:
    """Also rows beyond the tokenizer's; a new row is at most five deviations from the mean of its parts, or of all."""
    folder = model_folder(tmp_path / "model", padded=padded, **shape)
    extended = with_characters(KNOWN, ["à", "é", "ម"])
    before, after = load_model(folder).model.state_dict(), {}
    after = started(folder, extended, max(extended.vocab_size, KNOWN.vocab_size + padded))
    known = [number for number in range(KNOWN.vocab_size) if number != KNOWN.unk_id]
    assert before.keys() == after.keys()
    for name, weight in before.items():
        if "embed_tokens" not in name and "wte" not in name and name != "lm_head.weight":
            assert torch.equal(after[name], weight), name
            continue
        new = [int(extended.encode(letter)[0]) for letter in "àéម"]
        kept = [number for number in range(len(weight)) if number not in new]
        assert torch.equal(after[name][kept], weight[kept]), name
        deviation = weight[known].std(0, correction=0)
        means = [*(weight[int(KNOWN.encode(part)[0])] for part in "ae"), weight[known].mean(0)]
        for number, mean, factor in zip(new, means, (0.5, 0.5, 1.0)):
            differs = (after[name][number] - mean) / deviation
            assert differs.abs().max() < 5 * factor
            assert 0.6 * factor < differs.square().mean().sqrt() < 1.4 * factor


def test_new_characters_with_the_same_parts_or_none_have_rows_of_their_own() -> None:
    """Rows that are equal would get equal gradients wherever they are embedded; they are the same in every run."""
    stored = torch.randn(KNOWN.vocab_size, 64, generator=torch.Generator().manual_seed(1))
    extended = with_characters(KNOWN, ["à", "á", "ម", "ន"])
    parts = parts_of_new(extended, KNOWN)
    rows = torch.zeros(extended.vocab_size, 64)
    first, second = (extended_rows(rows, stored, parts, KNOWN) for _ in range(2))
    assert torch.equal(first, second) and len(torch.unique(first, dim=0)) == extended.vocab_size
    new = first[KNOWN.vocab_size :]
    assert torch.nn.functional.cosine_similarity(new[2], new[3], dim=0).abs() < 0.7


def test_old_text_has_the_logits_it_had(tmp_path: Path) -> None:
    """For the old ids; only the softmax has more terms."""
    folder = model_folder(tmp_path / "model")
    extended = with_characters(KNOWN, ["é", "ម"])
    config = load_config(init_from=str(folder), extend_vocab=True)
    before = load_model(folder).model
    config.model = before.config.model_copy(update={"vocab_size": extended.vocab_size})
    model = build_model(config.model).eval()
    model.load_state_dict(started(folder, extended, extended.vocab_size))
    ids = torch.from_numpy(KNOWN.encode(OLD)[:24].astype("int64"))[None]
    assert torch.equal(ids[0], torch.from_numpy(extended.encode(OLD)[:24].astype("int64")))
    with torch.no_grad():
        assert torch.allclose(model(ids)[..., : KNOWN.vocab_size], before(ids), atol=1e-5)


def run_of(folder: Path, text: Path, model: Path, **settings: Any) -> Path:
    given: dict[str, Any] = {"data": str(text), "init_from": str(model), "extend_vocab": True, "max_steps": 2}
    given |= {"output_dir": str(folder), "cache_dir": str(folder.parent / "cache"), "precision": "fp32", "seed": 1}
    train(**{**given, **settings})
    return folder


@pytest.mark.parametrize("padded", [0, 20])
def test_a_run_is_repeated_resumed_evaluated_and_opened_elsewhere(tmp_path: Path, text: Path, padded: int) -> None:
    """Its tokenizer has the old ids and the new letters; --config and --resume find it again; transformers agrees."""
    model = model_folder(tmp_path / "model", padded=padded)
    run = run_of(tmp_path / "run", text, model)
    loaded = load_model(run / "final")
    assert loaded.tokenizer is not None
    assert loaded.model.config.vocab_size == max(KNOWN.vocab_size + 4, KNOWN.vocab_size + padded)
    assert not loaded.tokenizer.unknown_in(NEW) and loaded.tokenizer.vocabulary().items() >= KNOWN.vocabulary().items()
    again = tmp_path / "again"
    assert main(["train", "--config", str(run / "config.yaml"), "--output-dir", str(again)]) == 0
    ours, theirs = (load_file(folder / "final/model.safetensors") for folder in (run, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert main(["train", "--output-dir", str(run), "--resume", "--max-steps", "3"]) == 0
    assert json.loads((run / "status.json").read_text())["step"] == 3
    measured = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["val_loss"]
    assert evaluate_model(run / "final")["loss"] == pytest.approx(measured, abs=1e-4)
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "final")
    opened = transformers.AutoModelForCausalLM.from_pretrained(run / "final").eval()
    assert tokenizer(NEW)["input_ids"] == loaded.tokenizer.encode(NEW).tolist()
    ids = torch.tensor([tokenizer(NEW)["input_ids"][:24]])
    loaded = load_model(run / "final")
    with torch.no_grad():
        assert torch.allclose(opened(ids).logits, loaded.model(ids), atol=1e-4)


def test_its_text_is_prepared_again_where_the_cache_is_gone(tmp_path: Path, text: Path) -> None:
    """The text that was split off has a letter that training never saw, and is measured as it was."""
    text.write_text(NEW * 40 + "zzzz", encoding="utf-8")
    run = run_of(tmp_path / "run", text, model_folder(tmp_path / "model"))
    first = evaluate_model(run / "final")
    for folder in (tmp_path / "cache").iterdir():
        folder.rename(folder.with_name(f"{folder.name}-gone"))
    assert evaluate_model(run / "final", cache_dir=tmp_path / "other") == first


def test_prepared_text_is_taken_if_its_tokenizer_extends_the_model_s(tmp_path: Path, text: Path) -> None:
    """Prepared with the model's tokenizer and --extend-vocab, it trains with the same flag, and is refused without."""
    model, prepared = model_folder(tmp_path / "model"), tmp_path / "prepared"
    words = ["prepare", str(text), "--tokenizer", str(model), "--extend-vocab", "--output", str(prepared)]
    assert main(words) == 0
    words = ["train", str(prepared), "--init-from", str(model), "--max-steps", "1", "--output-dir"]
    assert main([*words, str(tmp_path / "refused")]) == 65
    assert main([*words, str(tmp_path / "run"), "--extend-vocab"]) == 0
    loaded = load_model(tmp_path / "run/final").tokenizer
    assert loaded is not None and not loaded.unknown_in(NEW)


REFUSED: list[tuple[list[str], int, str]] = [
    (["--tokenizer", "char"], 2, "extend_vocab adds to the tokenizer of the model in"),
    (["--vocab-size", "10"], 2, "vocab_size 10 (--vocab-size) is"),
]


@pytest.mark.parametrize(("flags", "code", "named"), REFUSED)
def test_what_contradicts_is_refused(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, named: str
) -> None:
    """Another tokenizer, or a smaller vocabulary, is refused by name and no run is made."""
    words = ["train", str(text), "--init-from", str(model_folder(tmp_path / "model")), "--extend-vocab"]
    assert main([*words, *flags, "--output-dir", str(tmp_path / "run")]) == code
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_cannot_grow(tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--resume with --extend-vocab is refused with the command that starts a run from its weights."""
    text.write_text(OLD * 40, encoding="utf-8")
    run = run_of(tmp_path / "run", text, model_folder(tmp_path / "model"), extend_vocab=False)
    assert main(["train", "--resume", "--output-dir", str(run), "--extend-vocab"]) == 78
    assert "start a new run: --init-from with this run, --extend-vocab" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tokenizer", "sentence"),
    [
        (KNOWN, "extend_vocab: has no effect, because the tokenizer knows every character of the training text"),
        (train_bpe([OLD], 257), "extend_vocab: has no effect, because the tokenizer spells every text"),
    ],
)
def test_without_effect_it_is_said(tmp_path: Path, text: Path, tokenizer: Tokenizer, sentence: str) -> None:
    """Where nothing is unknown the tokenizer stays as it is, which is said."""
    text.write_text(OLD * 9, encoding="utf-8")
    said: list[str] = []
    corpus = prepare(text, tokenizer=tokenizer, extend_vocab=True, cache_dir=tmp_path, say=said.append)
    assert sentence in said
    assert corpus.tokenizer is not None and corpus.tokenizer.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("words", [["--tokenizer", "char"], ["--tokenizer", "bpe"], ["--tokenizer", "unigram"]])
def test_a_tokenizer_that_is_learned_is_not_extended(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """What is learned from the text knows it: the flag is refused as one without effect."""
    assert main(["prepare", str(text), *words, "--extend-vocab", "--output", str(tmp_path / "made")]) == 2
    assert "extend_vocab has no effect here" in capsys.readouterr().err


def test_validation_text_of_its_own_is_not_learned_from(tmp_path: Path, text: Path) -> None:
    """Only characters of the training text are added; those of other text stay unknown, and are counted."""
    (tmp_path / "other.txt").write_text(OLD * 20 + "ж", encoding="utf-8")
    said: list[str] = []
    made = prepare(text, val_data=tmp_path / "other.txt", tokenizer=KNOWN, extend_vocab=True, cache_dir=tmp_path,
                   say=said.append)  # fmt: skip
    assert made.tokenizer is not None and made.tokenizer.unknown_in("éж") == {"ж": 1}
    assert any("1 tokens of the validation text" in sentence for sentence in said)
    plain = prepare(text, tokenizer=KNOWN, cache_dir=tmp_path, max_unknown=1)
    assert plain.key != prepare(text, tokenizer=KNOWN, extend_vocab=True, cache_dir=tmp_path).key

"""A run that starts from another model: its shape, constants and tokenizer, as `from_pretrained` takes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from textmill.checkpoint.model_folder import load_model
from textmill.cli.main import main
from textmill.config import load_config
from textmill.evaluation import evaluate_model
from textmill.model import build_model
from textmill.training import train

WITHOUT_HASHES = shutil.ignore_patterns("MANIFEST.json")
"""For copies that a test changes on purpose."""

SHAPE = {"architecture": "llama", "d_model": 64, "num_layers": 2, "num_heads": 2, "d_ff": 96, "rope_theta": 500.0}


@pytest.fixture(scope="module")
def original(book: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of bytes with two heads and a small rope_theta, which defaults would contradict."""
    folder = tmp_path_factory.mktemp("original") / "run"
    train(
        data=str(book),
        tokenizer="byte",
        **SHAPE,
        norm_eps=1e-4,
        max_seq_len=48,
        max_steps=40,
        learning_rate=3e-3,
        seed=3,
        output_dir=str(folder),
        cache_dir=str(cache_dir),
        precision="fp32",
    )
    return folder


@pytest.fixture
def tuned(book: Path, cache_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """Train one step at a learning rate that changes nothing, and return the run."""

    def start(**settings: Any) -> Path:
        run = tmp_path / "tuned"
        given: dict[str, Any] = {
            "max_steps": 1,
            "learning_rate": 1e-9,
            "precision": "fp32",
            "optimizer": "adamw",
            "seed": 9,
        }
        given |= {"data": str(book), "output_dir": str(run), "cache_dir": str(cache_dir), **settings}
        train(**given)
        return run

    return start


def last_loss(run: Path) -> float:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["val_loss"]


@pytest.mark.parametrize("given", [{}, {"tokenizer": "RUN"}, {"num_heads": 2, "d_model": 64}, {"tokenizer": "byte"}])
def test_one_step_changes_nothing(original: Path, tuned: Callable[..., Path], given: dict[str, object]) -> None:
    """At learning rate 1e-9 the validation loss is the original's, whether its settings are repeated or left out."""
    given = {name: str(original) if value == "RUN" else value for name, value in given.items()}
    run = tuned(init_from=str(original), **given)
    assert last_loss(run) == pytest.approx(evaluate_model(original)["loss"], abs=1e-5)
    ours, theirs = load_model(run / "final"), load_model(original / "final")
    assert ours.model.config == theirs.model.config
    assert ours.tokenizer is not None and theirs.tokenizer is not None
    assert ours.tokenizer.fingerprint == theirs.tokenizer.fingerprint


def test_model_folder_of_another_tool(original: Path, tuned: Callable[..., Path], tmp_path: Path) -> None:
    """A folder that is no run, with a vocabulary larger than its tokenizer's, keeps every row of its weights."""
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(original / "final")
    model.resize_token_embeddings(320, mean_resizing=False)
    model.save_pretrained(tmp_path / "foreign")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(original / "final" / name, tmp_path / "foreign")
    run = tuned(init_from=str(tmp_path / "foreign"))
    ours = load_model(run / "final").model
    assert ours.config.vocab_size == 320
    assert torch.allclose(ours.token_embedding.weight, model.get_input_embeddings().weight, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--num-heads", "8"], "num_heads 8 (--num-heads) is 2 there"),
        (["--rope-theta", "10000"], "rope_theta 10000.0 (--rope-theta) is 500.0 there"),
        (["--norm-eps", "1e-6"], "norm_eps 1e-06 (--norm-eps) is 0.0001 there"),
        (["--architecture", "qwen3"], "architecture 'qwen3' (--architecture) is 'llama' there"),
        (["--max-seq-len", "64"], "max_seq_len 64 (--max-seq-len) is 48 there"),
        (["--vocab-size", "300"], "vocab_size 300 (--vocab-size) is 257 there"),
    ],
)
def test_what_contradicts_is_refused_by_name(
    original: Path, book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], named: str
) -> None:
    """Each given setting that contradicts the model is named with both values, and no run is made."""
    words = ["train", str(book), "--init-from", str(original), "--output-dir", str(tmp_path / "run")]
    assert main([*words, *flags]) == 2
    error = capsys.readouterr().err
    assert named in error and "Leave them out" in error
    assert not (tmp_path / "run").exists()


def test_all_contradictions_at_once(
    original: Path, book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that describes another model is refused with every setting that differs."""
    (tmp_path / "other.yaml").write_text("num_heads: 4\nd_model: 128\nnum_layers: 2\n")
    assert main(["train", str(book), "--config", str(tmp_path / "other.yaml"), "--init-from", str(original)]) == 2
    error = capsys.readouterr().err
    assert "num_heads 4" in error and "d_model 128" in error and "num_layers" not in error


def test_what_a_run_may_choose(original: Path, tuned: Callable[..., Path]) -> None:
    """Dropout and rows shorter than the context are the run's own."""
    run = tuned(init_from=str(original), dropout=0.1, max_seq_len=16)
    config = load_config(run).model
    assert (config.dropout, config.max_seq_len, config.rope_theta) == (0.1, 16, 500.0)


def test_learned_positions_are_cut(tuned: Callable[..., Path], tmp_path: Path, book: Path, cache_dir: Path) -> None:
    """A gpt2 with shorter rows keeps the first positions of the original."""
    first = tmp_path / "first"
    common = {"data": str(book), "cache_dir": str(cache_dir), "tokenizer": "byte", "max_steps": 1}
    train(**common, architecture="gpt2", d_model=32, num_layers=1, num_heads=2, max_seq_len=32, output_dir=str(first))
    run = tuned(init_from=str(first), max_seq_len=8)
    name = "transformer.wpe.weight"
    ours, theirs = (load_file(folder / "final/model.safetensors")[name] for folder in (run, first))
    assert ours.shape == (8, 32)
    assert torch.allclose(ours, theirs[:8], atol=1e-6)


def test_what_evaluate_refuses_is_not_trained(
    original: Path, book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scaled rotary positions are refused by both, in the same words."""
    folder = Path(shutil.copytree(original / "final", tmp_path / "scaled", ignore=WITHOUT_HASHES))
    values = json.loads((folder / "config.json").read_text())
    values["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}
    (folder / "config.json").write_text(json.dumps(values))
    errors = []
    for words in (["evaluate", str(folder), str(book)], ["train", str(book), "--init-from", str(folder)]):
        assert main(words) == 65
        errors.append(capsys.readouterr().err.splitlines()[-1])
    assert errors[0] == errors[1]
    assert "rotary positions are scaled" in errors[0]


def test_another_tokenizer_only_when_asked_for(
    original: Path, tuned: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows of tokens that both tokenizers have move to their new ids; the others start anew, which is said."""
    run = tuned(init_from=str(original), tokenizer="char")
    said = capsys.readouterr()
    assert "another than that of" in said.out + said.err
    ours, theirs = load_model(run / "final"), load_model(original / "final")
    new, old = ours.tokenizer, theirs.tokenizer
    assert new is not None and old is not None and new.kind == "char"
    assert ours.model.config.vocab_size == new.vocab_size
    for character in "the (":
        here, there = int(new.encode(character)[0]), int(old.encode(character)[0])
        assert torch.allclose(
            ours.model.token_embedding.weight[here], theirs.model.token_embedding.weight[there], atol=1e-6
        )
    assert torch.allclose(
        ours.model.state_dict()["model.layers.1.mlp.up_proj.weight"],
        theirs.model.state_dict()["model.layers.1.mlp.up_proj.weight"],
        atol=1e-6,
    )


@pytest.mark.parametrize("given", [{}, {"tokenizer": "char", "dropout": 0.1}])
def test_such_a_run_is_repeated_and_resumed(
    original: Path, tuned: Callable[..., Path], tmp_path: Path, given: dict[str, object]
) -> None:
    """Its config.yaml makes the same weights elsewhere, and `--resume` goes on from its own checkpoint."""
    run, again = tuned(init_from=str(original), learning_rate=1e-3, **given), tmp_path / "again"
    assert main(["train", "--config", str(run / "config.yaml"), "--output-dir", str(again)]) == 0
    ours, theirs = (load_file(folder / "final/model.safetensors") for folder in (run, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert main(["train", "--output-dir", str(run), "--resume", "--init-from", str(tmp_path), "--max-steps", "3"]) == 78
    assert main(["train", "--output-dir", str(run), "--resume", "--max-steps", "3"]) == 0
    assert json.loads((run / "status.json").read_text())["step"] == 3


def test_text_prepared_with_another_tokenizer(
    original: Path, book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prepared corpus of another tokenizer is refused, for nobody asked for that tokenizer."""
    prepared = tmp_path / "prepared"
    assert main(["prepare", str(book), "--tokenizer", "char", "--output", str(prepared)]) == 0
    assert main(["train", str(prepared), "--init-from", str(original), "--output-dir", str(tmp_path / "run")]) == 65
    assert "was prepared with another tokenizer" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_without_tokenizer_needs_one(
    original: Path, book: Path, tmp_path: Path, tuned: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Text is refused until the tokenizer is named, which then changes no row."""
    bare = Path(shutil.copytree(original / "final", tmp_path / "bare", ignore=WITHOUT_HASHES))
    (bare / "tokenizer.json").unlink()
    assert main(["train", str(book), "--init-from", str(bare), "--output-dir", str(tmp_path / "run")]) == 65
    assert "has no tokenizer: name the one" in capsys.readouterr().err
    run = tuned(init_from=str(bare), tokenizer="byte")
    assert last_loss(run) == pytest.approx(evaluate_model(original)["loss"], abs=1e-5)


def test_a_model_is_given_once(original: Path, book: Path, tmp_path: Path) -> None:
    """A model that is passed and one that init_from names are not both the run's."""
    with pytest.raises(Exception, match="another model is given"):
        train(
            data=str(book),
            model=build_model(load_config(d_model=32).model),
            init_from=str(original),
            output_dir=str(tmp_path / "run"),
        )


def test_config_takes_the_shape_of_a_model_folder(
    original: Path, book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--config HF_FOLDER` trains a new model of its shape with its tokenizer; flags are over it, and plan agrees."""
    folder = original / "final"
    for source in (folder, folder / "config.json"):
        config = load_config(source)
        assert config.model.resolved().values() == load_model(folder).model.config.values()
        assert config.tokenizer.tokenizer == str(folder)
        assert config.origins["rope_theta"] == str(folder / "config.json")
    words = ["--config", str(folder), "--num-layers", "1", "--max-steps", "1"]
    assert main(["plan", str(book), *words]) == 0
    assert "llama, 1 layer of width 64, context 48, vocabulary 257" in capsys.readouterr().out
    assert main(["train", str(book), *words, "--output-dir", str(tmp_path / "run")]) == 0
    made = load_model(tmp_path / "run").model.config
    assert (made.num_layers, made.num_heads, made.rope_theta, made.vocab_size) == (1, 2, 500.0, 257)


def test_a_model_that_only_textmill_loads_is_announced(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan and the start of a run say that the model will be saved as model_type textmill, and why."""
    words = [str(book), "--d-model", "32", "--num-layers", "1", "--num-heads", "2", "--activation", "relu"]
    announced = "saved for textmill alone (model_type textmill), because gpt2 models of other tools have activation"
    run = tmp_path / "run"
    for command in (["plan", *words], ["train", *words, "--max-steps", "1", "--output-dir", str(run)]):
        assert main(command) == 0
        screen = capsys.readouterr()
        assert announced in " ".join((screen.out + screen.err).split())
    assert json.loads((run / "final/config.json").read_text())["model_type"] == "textmill"
    assert main(["plan", *words[:-2]]) == 0
    screen = capsys.readouterr()
    assert "textmill alone" not in screen.out + screen.err


def test_plan_knows_the_model(original: Path, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan of a run that starts from a model is of that model's shape."""
    assert main(["plan", str(book), "--init-from", str(original)]) == 0
    assert "llama, 2 layers of width 64, context 48, vocabulary 257" in capsys.readouterr().out
    assert main(["config", "show", str(book), "--init-from", str(original), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    source = str(original / "best_model" / "config.json")
    assert shown["model"]["rope_theta"] == {"value": 500.0, "origin": source}
    assert shown["tokenizer"]["tokenizer"]["value"] == str(original / "best_model")

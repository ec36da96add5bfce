"""A model of a known family that was changed, and a loss of one's own, never pass for what the settings describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import textmill as tm
from textmill.cli.main import main
from textmill.config import load_config
from textmill.errors import DataError, ResumeError
from textmill.model.from_config import build_model
from textmill.model.llama import LlamaAttention
from textmill.model.mlp import GatedMLP
from textmill.model.own_parts import name_of_own
from textmill.training.given_parts import Parts, uncompiled

SHAPE: dict[str, Any] = {"d_model": 16, "num_layers": 2, "num_heads": 2, "max_seq_len": 16, "vocab_size": 257}
SETTINGS: dict[str, Any] = {"tokenizer": "byte", "batch_size": 4, "max_steps": 4, "eval_steps": 4, "sample_steps": 0}


def relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


def longer(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that resume the run for two more steps."""
    return {**settings, "max_steps": 6, "resume": True}


def changed_model() -> nn.Module:
    """Return a qwen3 whose feed-forward layers have another activation."""
    model = build_model(load_config(**SHAPE).model, seed=3)
    for module in model.modules():
        if isinstance(module, GatedMLP):
            module.activation = relu2
    return model


def doubled(model: nn.Module, batch: Any) -> Tensor:
    """Return twice the loss."""
    return 2 * F.cross_entropy(model(batch.tokens).flatten(0, 1), batch.targets.flatten(), reduction="sum")


@pytest.mark.parametrize(
    "shape",
    [{}, {"architecture": "llama", "tie_embeddings": False}, {"architecture": "gpt2"}, {"dropout": 0.1}],
    ids=["qwen3", "llama", "gpt2", "dropout"],
)
def test_a_model_that_was_used_is_still_what_its_settings_describe(shape: dict[str, Any]) -> None:
    """Training, evaluating and generating leave nothing behind in a model that would be taken for a change."""
    model = build_model(load_config(**SHAPE, **shape).model, seed=3)
    assert name_of_own(model) is None
    model(torch.zeros(1, 16, dtype=torch.long)).sum().backward()
    with torch.no_grad():
        cache = model.new_cache(1)
        model.eval()(torch.zeros(1, 4, dtype=torch.long), cache=cache)
        model(torch.zeros(1, 1, dtype=torch.long), cache=cache)
    assert name_of_own(model) is None


def test_every_kind_of_change_is_seen() -> None:
    """Another function, a subclassed part, a part more, a number, another head; a label changes nothing."""

    class Attention(LlamaAttention):
        pass

    def change(what: str) -> nn.Module:
        model: Any = build_model(load_config(**SHAPE).model, seed=3)
        layer = model.model.layers[1]
        if what == "function":
            layer.mlp.activation = relu2
        elif what == "class":
            layer.self_attn.__class__ = Attention
        elif what == "part":
            layer.more = nn.Linear(2, 2)
        elif what == "number":
            layer.input_layernorm.eps = 0.1
        elif what == "forward":
            model.forward = lambda tokens: model.lm_head(model.token_embedding(tokens))
        elif what == "inner function":
            model._embed = lambda tokens, positions: 3 * model.token_embedding(tokens)
        elif what == "buffer":
            layer.mlp.register_buffer("counter", torch.zeros(1))
        elif what == "label":
            model.label = layer.label = "mine"
        return model

    assert name_of_own(change("nothing")) is None
    assert "model.layers.1.mlp.activation" in str(name_of_own(change("function")))
    assert "model.layers.1.self_attn" in str(name_of_own(change("class")))
    assert "model.layers.1.more" in str(name_of_own(change("part")))
    assert "model.layers.1.input_layernorm.eps" in str(name_of_own(change("number")))
    assert "forward" in str(name_of_own(change("forward")))
    assert "_embed" in str(name_of_own(change("inner function")))
    assert "model.layers.1.mlp.counter" in str(name_of_own(change("buffer")))
    assert name_of_own(change("label")) is None


def test_another_activation_is_used() -> None:
    """The fast form of SwiGLU on a CPU does not hide an activation that was set afterwards."""
    ids = torch.arange(16)[None]
    same, changed = build_model(load_config(**SHAPE).model, seed=3), changed_model()
    assert not torch.allclose(same(ids), changed(ids))


def test_a_changed_model_is_recorded_as_what_it_is(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its run is whole, is measured and resumed only with it, and goes on where it was."""
    run = tmp_path / "run"
    settings: dict[str, Any] = {**SETTINGS, "data": str(book), "cache_dir": str(tmp_path / "cache"), "output_dir": run}
    tm.train(model=changed_model(), **settings)
    assert "textmill generate" not in capsys.readouterr().out
    described = json.loads((run / "final" / "config.json").read_text(encoding="utf-8"))
    assert described["model_type"] == "unknown"
    assert main(["verify", str(run)]) == 0
    assert main(["evaluate", str(run)]) == 65
    assert "LlamaDecoder with changes in model.layers.0.mlp.activati" in capsys.readouterr().err
    assert main(["train", "--output-dir", str(run), "--resume", "--max-steps", "6"]) == 78
    assert "resume it there, with model=" in capsys.readouterr().err
    with pytest.raises(ResumeError, match="the model would be of the class"):
        tm.train(model=nn.Sequential(nn.Embedding(257, 257)), **longer(settings))
    tm.train(model=changed_model(), **longer(settings))
    evaluations = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in evaluations] == [4, 6]


def test_a_changed_model_takes_no_step_in_the_run_of_another(book: Path, tmp_path: Path) -> None:
    """A run of a model of the settings is not continued with a changed one."""
    settings: dict[str, Any] = {
        **SETTINGS,
        **SHAPE,
        "data": str(book),
        "cache_dir": str(tmp_path / "cache"),
        "output_dir": tmp_path / "run",
    }
    tm.train(**settings)
    with pytest.raises(ResumeError, match="is the one that the configuration describes"):
        tm.train(model=changed_model(), **longer(settings))


def test_a_loss_of_ones_own_is_asked_for_again(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run with a loss from Python is resumed with one, and one without it without."""
    settings: dict[str, Any] = {
        **SETTINGS,
        **SHAPE,
        "data": str(book),
        "cache_dir": str(tmp_path / "cache"),
        "output_dir": tmp_path / "run",
    }
    tm.train(loss=doubled, **settings)
    assert "--resume" not in capsys.readouterr().out
    with pytest.raises(ResumeError, match="the run has the loss doubled, given from Python"):
        tm.train(**longer(settings))
    assert tm.train(loss=doubled, **longer(settings)).total_steps == 6
    plain: dict[str, Any] = {**settings, "output_dir": tmp_path / "plain"}
    tm.train(**plain)
    with pytest.raises(ResumeError, match="begun without the loss doubled"):
        tm.train(loss=doubled, **longer(plain))


def test_a_changed_model_is_not_loaded_as_the_plain_one(tmp_path: Path) -> None:
    """Its folder is refused by name."""
    from textmill.checkpoint.model_folder import load_model, save_model_folder

    save_model_folder(tmp_path, changed_model(), None)
    with pytest.raises(DataError, match="build 'LlamaDecoder with changes"):
        load_model(tmp_path)


def frozen(model: nn.Module) -> nn.Module:
    """Return the model with a table of embeddings that is not trained."""
    next(model.parameters()).requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("prepare", "refusal"),
    [
        (frozen, "0 parameters would be frozen (requires_grad=False) and 4112 are"),
        (nn.Module.bfloat16, "the weights would be float32 and are bfloat16"),
    ],
    ids=["frozen", "bf16"],
)
def test_how_a_given_model_is_trained_is_asked_for_again(
    prepare: Any, refusal: str, book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frozen weights and another type change no shape: commands know the model, its run goes on with the same."""
    cache, run = str(tmp_path / "cache"), tmp_path / "run"
    settings: dict[str, Any] = {**SETTINGS, "data": str(book), "cache_dir": cache, "output_dir": run}

    def model() -> nn.Module:
        return prepare(build_model(load_config(**SHAPE).model, seed=3))

    tm.train(model=model(), **settings)
    assert "--resume" not in capsys.readouterr().out
    assert json.loads((run / "final" / "config.json").read_text(encoding="utf-8"))["model_type"] == "qwen3"
    assert main(["train", "--output-dir", str(run), "--resume", "--max-steps", "6"]) == 78
    assert refusal in capsys.readouterr().err
    assert tm.train(model=model(), **longer(settings)).total_steps == 6


def test_other_weights_of_the_same_number_are_not_the_frozen_ones(book: Path, tmp_path: Path) -> None:
    """A run with frozen queries of the first layer does not go on with those of the second."""
    settings: dict[str, Any] = {**SETTINGS, "data": str(book), "output_dir": tmp_path / "run", "quiet": True}

    def model(layer: int) -> nn.Module:
        made = build_model(load_config(**SHAPE).model, seed=3)
        made.get_parameter(f"model.layers.{layer}.self_attn.q_proj.weight").requires_grad_(False)
        return made

    tm.train(model=model(0), **settings)
    with pytest.raises(ResumeError, match="other weights would be frozen"):
        tm.train(model=model(1), **longer(settings))
    assert tm.train(model=model(0), **longer(settings)).total_steps == 6


def test_a_compiled_model_is_the_model_inside(tmp_path: Path) -> None:
    """What torch.compile wraps is recorded, saved and resumed as the plain model; without a word the run compiles."""
    config = load_config(**SHAPE)
    wrapped = torch.compile(build_model(config.model, seed=3))
    assert isinstance(wrapped, nn.Module)
    assert uncompiled(Parts(model=wrapped), config).model is wrapped._orig_mod
    assert config.training.compile is True
    text, folder = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("to be or not to be " * 300)
    settings = {**SETTINGS, "data": str(text), "output_dir": str(folder), "compile": False}
    tm.train(model=wrapped, quiet=True, **settings)
    assert json.loads((folder / "final" / "config.json").read_text())["model_type"] == "qwen3"
    assert tm.train(quiet=True, **longer(settings)).total_steps == 6

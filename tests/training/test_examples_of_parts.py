"""The examples that add a part: under twenty lines each, right in their numbers, and usable wherever a model is."""

from __future__ import annotations

import ast
import importlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import textmill as tm
from textmill.cli.main import main
from textmill.config import ModelConfig
from textmill.data import Batch
from textmill.model import Decoder, build_model, cross_entropy_sum, forward
from textmill.optim.optimizer_choice import build_optimizer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHAPE: dict[str, Any] = {"d_model": 16, "num_layers": 2, "num_heads": 2, "max_seq_len": 16, "dropout": 0.0}
SETTINGS: dict[str, Any] = {**SHAPE, "tokenizer": "byte", "batch_size": 4, "eval_steps": 3, "sample_steps": 0}
SETTINGS |= {"lr_schedule": "constant", "warmup_steps": 0}  # the same rates for every length
FLAGS = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]

PARTS = {
    "own_activation:squared_relu": (),
    "own_attention:sliding_window": (),
    "differential_attention:differential": (),
    "mixture_of_experts:experts": ("--loss", "mixture_of_experts:balanced"),
    "multi_token_prediction:MultiToken": ("--loss", "multi_token_prediction:all_tokens"),
    "z_loss": ("--loss", "z_loss:z_loss"),
    "rate_by_width": ("--optimizer", "rate_by_width:adamw"),
}


@pytest.fixture(autouse=True)
def beside_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with a book and the examples, as a user has them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("book.txt").write_text("The miller grinds corn. " * 60)
    for name in {part.partition(":")[0] for part in PARTS}:
        monkeypatch.delitem(sys.modules, name, raising=False)
        shutil.copy(EXAMPLES / f"{name}.py", tmp_path)


def example(name: str) -> ModuleType:
    return importlib.import_module(name)


def shape(**values: Any) -> ModelConfig:
    return ModelConfig(vocab_size=257, **{**SHAPE, **values}).resolved()


def some_batch(length: int = 16) -> Batch:
    ids = torch.randint(257, (3, length + 1), generator=torch.Generator().manual_seed(1))
    targets = ids[:, 1:].clone()
    targets[0, :4] = -100
    return Batch(ids[:, :-1], targets, int((targets != -100).sum()))


@pytest.mark.parametrize(
    "part",
    [pytest.param(part, marks=() if part == "mixture_of_experts:experts" else pytest.mark.slow) for part in PARTS],
)
def test_a_part_is_trained_resumed_evaluated_and_generated_from(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By flags, stopped and resumed, the weights have the bits of an uninterrupted run from Python."""
    model = ["--model", part] if ":" in part else []
    words = [*model, *PARTS[part]]
    assert main(["train", "book.txt", *FLAGS, *words, "--max-steps", "3", "--output-dir", "flags"]) == 0
    assert main(["train", "--output-dir", "flags", "--resume", *words, "--max-steps", "6"]) == 0
    named = {word[2:]: value for word, value in zip(words[::2], words[1::2])}
    tm.train(data="book.txt", **SETTINGS, **named, max_steps=6, output_dir="python", quiet=True)
    weights = [next(Path(run, "final").glob("*.safetensors")).read_bytes() for run in ("flags", "python")]
    assert weights[0] == weights[1]
    capsys.readouterr()
    assert main(["evaluate", "flags", *model, "--json"]) == 0
    measured = json.loads(Path("flags/metrics.jsonl").read_text().splitlines()[-1])["val_loss"]
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(measured, abs=1e-6)
    assert main(["generate", "flags", *model, "--prompt", "The", "--max-new-tokens", "30", "--seed", "1"]) == 0
    assert len(capsys.readouterr().out.encode()) > 15


@pytest.mark.parametrize("name", sorted({part.partition(":")[0] for part in PARTS}))
def test_an_example_is_under_twenty_lines(name: str) -> None:
    """All of the file but imports, docstrings and blank lines."""
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text())
    without = (ast.Import, ast.ImportFrom)
    lines = {
        node.lineno
        for top in tree.body
        if not isinstance(top, without)
        for node in ast.walk(top)
        if isinstance(node, ast.stmt | ast.expr) and not _is_text(node)
    }
    assert 3 < len(lines) < 20


def _is_text(node: ast.AST) -> bool:
    inner = node.value if isinstance(node, ast.Expr) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, str)


def test_the_rate_of_matrices_falls_with_the_width() -> None:
    """A quarter of the run's at four times the width, for matrices alone."""
    found = build_optimizer(build_model(shape(d_model=256)), example("rate_by_width").adamw, learning_rate=1e-3)
    scales = {group["name"]: group["lr_scale"] for group in found.param_groups}
    assert scales == {"matrices": 0.25, "embeddings": 1.0, "vectors": 1.0}


def test_z_loss_is_the_sum_by_hand() -> None:
    """Cross-entropy and 1e-4 (log sum exp)^2 of every counted target, in float64."""
    model, batch = build_model(shape(), seed=1), some_batch()
    minimised, reported = example("z_loss").z_loss(model, batch)
    logits = forward(model, batch).double()
    divisor = logits.exp().sum(-1).log()
    chosen = logits.gather(-1, batch.targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    counted = batch.targets != -100
    assert reported.item() == pytest.approx((divisor - chosen)[counted].sum().item(), rel=1e-6)
    assert minimised.item() - reported.item() == pytest.approx(1e-4 * divisor[counted].pow(2).sum().item(), rel=1e-3)


def test_each_token_goes_through_its_two_likeliest_experts() -> None:
    """The layer is the sum by hand over the two, weighted; the loss reaches every expert and the router."""
    module = example("mixture_of_experts")
    model, batch = module.experts(shape(num_layers=1)), some_batch()
    layer, x = model.blocks[0].mlp, torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        layer.router.weight.normal_(0, 1, generator=torch.Generator().manual_seed(4))
        y = layer(x)
        for at in [(0, 0), (1, 3)]:
            scores = torch.softmax(layer.router.weight @ x[at], 0).tolist()
            first, second = sorted(range(4), key=lambda expert: -scores[expert])[:2]
            total = scores[first] + scores[second]
            want = sum(scores[each] / total * layer.experts[each](x[at][None, None])[0, 0] for each in (first, second))
            torch.testing.assert_close(y[at], want)
    minimised, reported = module.balanced(model, batch)
    assert minimised > reported == cross_entropy_sum(forward(model, batch), batch.targets)
    minimised.backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in layer.parameters())


def test_further_heads_leave_the_usual_logits_alone() -> None:
    """In training and evaluation they are those of the model inside; the further targets are those one and two on."""
    module = example("multi_token_prediction")
    model, batch = module.MultiToken(shape()), some_batch()
    first, second, third = model.train()(batch.tokens)
    assert torch.equal(first, model.main(batch.tokens)) and torch.equal(first, model.eval()(batch.tokens)[0])
    minimised, reported = module.all_tokens(model.train(), batch)
    further = sum(
        torch.nn.functional.cross_entropy(scores[row, at], batch.targets[row, at + far], reduction="sum")
        for far, scores in ((1, second), (2, third))
        for row in range(3)
        for at in range(16 - far)
        if batch.targets[row, at + far] != -100
    )
    torch.testing.assert_close(minimised, reported + 0.3 * further)
    minimised.backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in model.further.parameters())


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_a_window_hides_what_is_far(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One as long as the row is the family's own attention; in one of four a layer sees three tokens back."""
    module = example("own_attention")
    config, batch = shape(architecture=family, num_layers=1, num_kv_heads=1), some_batch()
    plain = build_model(config, seed=1).eval()

    def windowed(width: int) -> Decoder:
        monkeypatch.setattr(module, "WINDOW", width)
        model = module.sliding_window(config).eval()
        model.load_state_dict(plain.state_dict())
        return model

    with torch.no_grad():
        torch.testing.assert_close(windowed(16)(batch.tokens), plain(batch.tokens))
        model, other = windowed(4), batch.tokens.clone()
        other[:, 5] = 7
        changed = (model(batch.tokens) != model(other)).any(-1).any(0)
    assert changed.nonzero().flatten().tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize("part", ["own_attention:sliding_window", "differential_attention:differential"])
def test_own_attention_has_the_cache_and_hides_documents(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token by token with the cache as in one call; a document after another in a row as alone."""
    name, _, attention = part.partition(":")
    module = example(name)
    monkeypatch.setattr(module, "WINDOW", 5, raising=False)
    model, tokens = getattr(module, attention)(shape(num_kv_heads=1)).eval(), some_batch().tokens
    with torch.no_grad():
        whole, cache = model(tokens), model.new_cache(3)
        parts = [
            model(tokens[:, :3], cache=cache),
            *(model(tokens[:, at : at + 1], cache=cache) for at in range(3, 16)),
        ]
        torch.testing.assert_close(torch.cat(parts, 1), whole)
        segments, positions = torch.arange(16).div(8, rounding_mode="floor").expand(3, -1), torch.arange(16) % 8
        both = model(tokens, positions=positions.expand(3, -1), segments=segments)
        torch.testing.assert_close(both[:, 8:], model(tokens[:, 8:]))

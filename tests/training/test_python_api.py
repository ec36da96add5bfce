"""Training from Python: parts that are passed as values, and the examples that show it."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import textmill
import textmill.training
from textmill.console.screen import Screen
from textmill.errors import ConfigError, RunExistsError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SMALL: dict[str, Any] = {
    "tokenizer": "byte",
    "d_model": 32,
    "num_layers": 1,
    "num_heads": 2,
    "max_seq_len": 32,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "dropout": 0.0,
    "precision": "fp32",
    "sample_steps": 0,
}


@pytest.fixture
def quiet() -> Screen:
    return Screen(quiet=True)


@pytest.mark.parametrize("name", ["custom_metric", "custom_model", "custom_optimizer", "custom_data", "own_loop"])
def test_examples_run(name: str, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example trains on a small text and leaves a finished run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(str(book), str(tmp_path / "run"))
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["step"]) == ("finished", 30)


def test_a_result_has_attributes_and_keys(book: Path, cache_dir: Path, tmp_path: Path, quiet: Screen) -> None:
    """What train returns can be read either way, and says where the model is."""
    result = textmill.train(
        SMALL,
        data_path=str(book),
        cache_dir=str(cache_dir),
        output_dir=str(tmp_path / "run"),
        max_steps=12,
        screen=quiet,
    )
    assert result["final_val_loss"] == result.final_val_loss
    assert result.best_val_loss is not None
    assert result.final_val_loss is not None
    assert result.best_val_loss <= result.final_val_loss
    assert result.total_steps == 12
    assert result.training_time > 0
    text = textmill.generate_text(result.output_dir, prompt="import", max_new_tokens=5, temperature=0)
    assert text.startswith("import")
    with pytest.raises(RunExistsError, match="--resume"):
        textmill.train(SMALL, data=str(book), output_dir=str(tmp_path / "run"), max_steps=12, screen=quiet)


def test_an_untrained_model_scores_about_the_logarithm_of_the_vocabulary(
    book: Path, cache_dir: Path, tmp_path: Path, quiet: Screen
) -> None:
    """The loss of the first step is about ln(257), as for a model that knows nothing."""
    config = textmill.load_config(
        SMALL, data=str(book), cache_dir=str(cache_dir), output_dir=str(tmp_path / "run"), max_steps=1
    )
    with textmill.assemble(config, screen=quiet) as run:
        step = next(iter(textmill.steps(run)))
        assert step.measured()["train_loss"] == pytest.approx(math.log(257), abs=0.2)


def test_the_learning_rate_of_each_step_is_the_schedules(
    book: Path, cache_dir: Path, tmp_path: Path, quiet: Screen
) -> None:
    """The optimizer really uses the schedule's value at every step, and logs it."""
    config = textmill.load_config(
        SMALL, data=str(book), cache_dir=str(cache_dir), output_dir=str(tmp_path / "run"), max_steps=10, warmup_steps=4
    )
    with textmill.assemble(config, screen=quiet) as run:
        for step in textmill.steps(run):
            used = {group["lr"] for group in run.engine.optimizer.param_groups}
            assert used == {run.schedule(step.number - 1)} == {step.learning_rate}
        assert run.schedule(3) == 3e-3


def test_accumulation_is_the_larger_batch(book: Path, cache_dir: Path, tmp_path: Path, quiet: Screen) -> None:
    """Four micro-batches of two rows take the same steps as one batch of eight, but for rounding."""
    losses = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        config = textmill.load_config(
            SMALL,
            data=str(book),
            cache_dir=str(cache_dir),
            output_dir=str(tmp_path / f"run{batch_size}"),
            max_steps=10,
            batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            optimizer="sgd",  # Adam's steps would be the same whatever the gradients were multiplied by
            learning_rate=0.3,
            max_grad_norm=0,
        )
        with textmill.assemble(config, screen=quiet) as run:
            losses.append([step.measured()["train_loss"] for step in textmill.steps(run)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0][-1] < losses[0][0] - 0.1


def test_a_run_of_nothing_but_noise_stays_at_the_logarithm_of_the_vocabulary(tmp_path: Path, quiet: Screen) -> None:
    """On random tokens no step gets below ln(V): targets are the next tokens and never the inputs."""
    import numpy as np

    ids = np.random.default_rng(0).integers(0, 50, 40_000).astype(np.uint16)
    np.save(tmp_path / "ids.npy", ids)
    result = textmill.train(
        {**SMALL, "tokenizer": "bpe"},
        data=str(tmp_path / "ids.npy"),
        cache_dir=str(tmp_path / "cache"),
        output_dir=str(tmp_path / "run"),
        epochs=1,
        batch_size=16,
        eval_steps=1000,
        screen=quiet,
    )
    assert result.final_val_loss == pytest.approx(math.log(50), abs=0.05)


def test_parts_of_the_wrong_kind_are_refused(book: Path, tmp_path: Path, quiet: Screen) -> None:
    """An object that is no dataset, and a metric with a built-in name, are one-line errors."""
    with pytest.raises(ConfigError, match="data: object gives no texts"):
        textmill.train(SMALL, data=object(), output_dir=str(tmp_path / "a"), max_steps=1, screen=quiet)
    with pytest.raises(ConfigError, match="the metric name loss is built in"):
        textmill.train(
            SMALL,
            data=str(book),
            cache_dir=str(tmp_path / "cache"),
            output_dir=str(tmp_path / "b"),
            max_steps=1,
            metrics={"loss": lambda logits, batch: (torch.zeros(()), 1)},
            screen=quiet,
        )


def test_what_a_notebook_shows(tmp_path: Path) -> None:
    """A result has a line per value, a dataset says what it holds, and help has an example."""
    result = textmill.training.TrainingResult(
        tmp_path, tmp_path / "final", None, 3.0, None, None, None, 5, 1.0, 100, 2.5, "finished"
    )
    assert f"    final_model={str(tmp_path / 'final')!r},\n    best_model=None,\n" in repr(result)
    (tmp_path / "a.txt").write_text("0123456789")
    dataset = textmill.TextDataset(tmp_path / "a.txt", block_size=4, cache_dir=tmp_path)
    assert repr(dataset) == "<TextDataset: 3 rows of 4, 10 tokens (byte, 257 ids)>"
    assert 'textmill.train(data="book.txt"' in (textmill.train.__doc__ or "")

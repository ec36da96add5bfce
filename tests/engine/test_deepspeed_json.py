"""DeepSpeed's JSON: what it says of our settings, and what is wrong in it. Needs no deepspeed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from textmill.config import load_config
from textmill.engine.deepspeed_json import adopt_deepspeed, for_initialize, implied_settings, read_deepspeed
from textmill.engine.engine_choice import refuse_contradictions
from textmill.engine.world import World
from textmill.errors import ConfigError, MissingExtraError, MissingInputError
from textmill.machine.precision import Precision

GUIDE = """
{
  "train_batch_size": 64,
  "train_micro_batch_size_per_gpu": 4,
  "gradient_accumulation_steps": 4,
  "optimizer": {
    "type": "AdamW",
    "params": {
      "lr": 1e-4,
      "weight_decay": 0.01
    }
  },
  "fp16": {
    "enabled": true
  },
  "zero_optimization": {
    "stage": 2
  }
}
"""


def four() -> World:
    return World(0, 4, torch.device("cpu"))


def test_a_guides_file_is_taken_word_for_word(tmp_path: Path) -> None:
    """The file of a training guide sets our batch, optimizer and precision, and 64 = 4 x 4 x 4 processes."""
    path = tmp_path / "deepspeed_config.json"
    path.write_text(GUIDE)
    config = load_config({"use_deepspeed": True, "deepspeed_config": str(path)})
    said = adopt_deepspeed(config, 4, resumed=False)
    training = config.training
    assert (training.batch_size, training.gradient_accumulation_steps) == (4, 4)
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adamw", 1e-4, 0.01)
    assert training.precision == "fp16"
    assert "batch_size: 4, from deepspeed_config" in said
    made = for_initialize(config, 4)
    assert made["train_batch_size"] == 64
    assert made["zero_optimization"] == {"stage": 2}
    assert made["fp16"] == {"enabled": True}
    assert "optimizer" not in made  # textmill hands its own over
    path.unlink()
    assert for_initialize(config, 4) == made  # the run's configuration holds what was in the file


@pytest.mark.parametrize(("world_size", "advice"), [(2, "start 4 processes"), (8, "start 4 processes")])
def test_the_arithmetic_is_checked(world_size: int, advice: str) -> None:
    """On another number of processes the product is wrong, and the error has all the numbers."""
    settings = read_deepspeed(json.loads(GUIDE))
    with pytest.raises(ConfigError) as caught:
        implied_settings(settings, world_size)
    text = f"train_batch_size 64 is not train_micro_batch_size_per_gpu 4 x gradient_accumulation_steps 4 x {world_size}"
    assert text in str(caught.value)
    assert f"= {16 * world_size}" in str(caught.value) and advice in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"train_batch_size": 64}, (16, 1)),
        ({"train_batch_size": 64, "train_micro_batch_size_per_gpu": 4}, (4, 4)),
        ({"train_batch_size": 64, "gradient_accumulation_steps": 2}, (8, 2)),
        ({"train_batch_size": "auto", "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 4}, (4, 4)),
    ],
)
def test_the_batch_follows_from_any_two_numbers(given: dict[str, Any], expected: tuple[int, int]) -> None:
    """DeepSpeed's rule: two of total, rows and accumulation make the third; `auto` is as if it were not there."""
    implied = implied_settings(read_deepspeed({"zero_optimization": {"stage": 1}, **given}), 4)
    assert (implied["batch_size"], implied["gradient_accumulation_steps"]) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 3e-4}, "deepspeed_config sets learning_rate to 0.0001, against learning_rate 0.0003"),
        ({"optimizer": "sgd"}, "deepspeed_config sets optimizer to adamw"),
        ({"batch_size": 8}, "deepspeed_config sets batch_size to 4"),
        ({"precision": "bf16"}, "deepspeed_config sets precision to fp16"),
    ],
)
def test_a_given_setting_that_differs_is_an_error(settings: dict[str, Any], words: str) -> None:
    """What somebody chose in both places must be the same in both."""
    config = load_config({"deepspeed_config": json.loads(GUIDE), **settings})
    with pytest.raises(ConfigError, match=words):
        adopt_deepspeed(config, 4, resumed=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"zero_optimisation": {}}, "unknown key 'zero_optimisation'.*zero_optimization"),
        ({"scheduler": {"type": "WarmupLR"}}, "textmill does scheduler itself.*lr_schedule"),
        ({"zero_optimization": {"stage": 0}}, "stage 0 is --engine ddp"),
        ({"zero_optimization": {"stage": 4}}, "stage 4: use 1, 2 or 3"),
        ({"zero_optimization": 2}, "zero_optimization must be an object"),
    ],
)
def test_keys_that_would_be_ignored_are_errors(content: dict[str, Any], words: str) -> None:
    """A misspelt key, and a key for something that textmill does itself, are named with what to do."""
    with pytest.raises(ConfigError, match=words):
        read_deepspeed(content)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ({"type": "Lamb"}, "'Lamb': use Adam, AdamW or SGD"),
        ({"type": "AdamW", "params": {"learning_rate": 1}}, "optimizer parameter 'learning_rate' is unknown"),
    ],
)
def test_optimizers_that_are_not_ours(optimizer: dict[str, Any], words: str) -> None:
    """An optimizer or a parameter that textmill does not have is refused."""
    settings = read_deepspeed({"zero_optimization": {"stage": 2}, "optimizer": optimizer})
    with pytest.raises(ConfigError, match=words):
        implied_settings(settings, 1)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    """A missing file and one that holds no JSON object are named."""
    with pytest.raises(MissingInputError, match=r"nothing\.json does not exist"):
        read_deepspeed(tmp_path / "nothing.json")
    broken = tmp_path / "broken.json"
    for text in ("{", "[1]"):
        broken.write_text(text)
        with pytest.raises(ConfigError, match=r"broken\.json"):
            read_deepspeed(broken)


def test_deepspeed_decays_adam_as_adamw_does() -> None:
    """DeepSpeed's Adam is AdamW unless adam_w_mode is false."""
    for mode, ours in ((None, "adamw"), (True, "adamw"), (False, "adam")):
        parameters = {} if mode is None else {"adam_w_mode": mode}
        described = {"type": "Adam", "params": {**parameters, "betas": [0.9, 0.99]}}
        implied = implied_settings({"optimizer": described, "zero_optimization": {"stage": 2}}, 1)
        assert (implied["optimizer"], implied["beta1"], implied["beta2"]) == (ours, 0.9, 0.99)


def test_without_a_file_it_is_stage_two() -> None:
    """Engine deepspeed alone divides optimizer state and gradients, with our numbers written out."""
    settings = {"engine": "deepspeed", "batch_size": 2, "gradient_accumulation_steps": 3}
    made = for_initialize(load_config({**settings, "max_grad_norm": 0.5}), 4)
    assert made["zero_optimization"]["stage"] == 2
    assert (made["train_batch_size"], made["gradient_clipping"]) == (24, 0.5)
    unclipped = for_initialize(load_config({**settings, "max_grad_norm": 0}), 4)
    assert unclipped["gradient_clipping"] > 1e20  # 0 would switch off the norm that is reported


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without deepspeed the error is one line with the extra in it."""
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    fp32 = Precision("fp32", "cpu")
    with pytest.raises(MissingExtraError, match=r"textmill\[deepspeed\]"):
        refuse_contradictions("deepspeed", fp32, four(), optimizer="adamw", compile=False)

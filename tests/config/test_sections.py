"""Sections and the tree of them: what they take, refuse, remember and copy."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from textmill import config as config_module
from textmill.config import (
    Config,
    DataConfig,
    ModelConfig,
    TokenizerConfig,
    TrackingConfig,
    TrainingConfig,
    load_config,
)
from textmill.errors import ConfigError

ANY: Any = config_module
"""The same classes without types: a type checker knows canonical names only."""


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (ModelConfig, {"d_modle": 3}, "d_modle: no such setting; did you mean 'd_model'?"),
        (ModelConfig, {"d_model": True}, "d_model: must be a whole number, not True"),
        (ModelConfig, {"d_model": 0}, "d_model: must be at least 1, not 0"),
        (ModelConfig, {"vocab_size": 1}, "vocab_size: must be at least 2, not 1"),
        (ModelConfig, {"dropout": float("nan")}, "dropout: must be a finite number, not nan"),
        (ModelConfig, {"dropout": 1}, "dropout: must be less than 1, not 1"),
        (
            ModelConfig,
            {"norm": "rmsnrm"},
            "norm: must be one of rmsnorm, layernorm, not 'rmsnrm'; did you mean 'rmsnorm'?",
        ),
        (TrainingConfig, {"device": "gpux"}, "device: must be auto, cpu, cuda, cuda:N or mps, not 'gpux'"),
        (TrainingConfig, {"save_steps": "never"}, "save_steps: must be a number of steps or 'epoch', not 'never'"),
        (TrainingConfig, {"lr": "fast"}, "lr: must be a number, not 'fast'"),
        (TrainingConfig, {"optimizer": "adamv"}, "optimizer: must be one of adamw, adam, sgd, muon, not 'adamv'"),
        (DataConfig, {"validation_split": 0.1}, "validation_split: is the name of a dataset split, not 0.1; "),
        (DataConfig, {"data": {"a": 1}}, "data.a: no such setting"),
        (TrackingConfig, {"report_to": ["tensorbord"]}, "did you mean 'tensorboard'?"),
    ],
)
def test_wrong_values_get_one_line(section: type, values: dict[str, Any], message: str) -> None:
    """The error names the setting as it was written, the value and what is valid."""
    with pytest.raises(ConfigError) as caught:
        section(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_synonyms_of_values() -> None:
    """Names that papers and other tools use for a choice mean that choice."""
    model = ANY.ModelConfig(activation="SwiGLU", norm="RMS-norm", pos_encoding="rotary", architecture="gpt")
    assert (model.activation, model.norm, model.pos_encoding, model.architecture) == ("silu", "rmsnorm", "rope", "gpt2")
    assert ANY.DataConfig(packing_strategy="first-fit").packing_strategy == "first_fit"


def test_assignment_checks_that_field_only() -> None:
    """A bad value is refused and leaves the old one; a width that fits no heads yet is allowed while editing."""
    model = ModelConfig(num_heads=8)
    with pytest.raises(ConfigError):
        model.d_model = -1
    assert model.d_model == 256
    model.d_model = 100
    assert model.d_model == 100
    with pytest.raises(ConfigError, match="no such setting"):
        model.d_modle = 3  # type: ignore[attr-defined]


def test_unknown_attributes_are_attribute_errors() -> None:
    """hasattr works, and the message helps."""
    assert not hasattr(ModelConfig(), "d_modle")
    with pytest.raises(AttributeError, match="did you mean 'd_model'"):
        _ = Config().d_modle  # type: ignore[attr-defined]


def test_settings_of_other_sections_are_merged_when_sections_meet() -> None:
    """A section keeps what belongs to another, readable, until a Config brings them together."""
    data = ANY.DataConfig(max_length=64)
    training = ANY.TrainingConfig(checkpoint_dir="out", report_to=["wandb"], gradient_checkpointing=True)
    assert data.max_length == 64
    config = Config(data=data, training=training, model=ModelConfig(d_model=32))
    assert (config.model.max_seq_len, config.model.d_model, config.model.gradient_checkpointing) == (64, 32, True)
    assert config.tracking.report_to == ["wandb"]
    with pytest.raises(ConfigError, match="contradicts"):
        Config(data=data, model=ModelConfig(max_seq_len=65))


def test_a_section_of_a_config_passes_settings_of_others_on() -> None:
    """In a tree, assigning and reading another section's setting reaches that section."""
    config = Config()
    config.training.max_length = 77  # type: ignore[attr-defined]
    assert config.model.max_seq_len == config.data.seq_length == 77  # type: ignore[attr-defined]


def test_scalars_stand_for_sections() -> None:
    """`tokenizer: bpe`, `data: book.txt`, `model: code:name` set the settings of these names; others are mappings."""
    config = Config(tokenizer="byte", data="book.txt")
    assert (config.tokenizer.tokenizer, config.data.data) == ("byte", ["book.txt"])
    config.data = ["a", "b"]  # type: ignore[assignment]
    assert config.data.data == ["a", "b"]
    assert Config(model="parts:build").training.model == "parts:build"
    with pytest.raises(ConfigError, match=r"model: must name an object .* such as architecture or d_model"):
        Config(model="gpt2")
    with pytest.raises(ConfigError, match="training: must be a section"):
        Config(training="long")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="model: must be ModelConfig, not DataConfig"):
        Config(model=DataConfig())


def test_a_section_can_be_replaced() -> None:
    """Assigning a section or a mapping replaces the whole section, by a copy."""
    config = Config(d_model=64, num_layers=3)
    model = ANY.ModelConfig(d_model=32, lr=0.5)
    config.model = model
    model.d_model = 999
    assert (config.model.d_model, config.model.num_layers, config.training.learning_rate) == (32, 6, 0.5)
    config.model = {"d_model": 48}  # type: ignore[assignment]
    assert config.model.d_model == 48


def test_origins_tell_who_chose() -> None:
    """Defaults and presets are not given; keywords and assignments are."""
    config = load_config(preset="tiny", lr=1e-2)
    config.model.num_layers = 9
    assert config.origins["learning_rate"] == config.origins["num_layers"] == "keyword"
    assert config.origins["d_model"] == "preset tiny"
    assert config.origins["seed"] == "default"
    assert [config.given(setting) for setting in ("lr", "d_model", "seed")] == [True, False, False]


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, Config.copy, lambda config: pickle.loads(pickle.dumps(config))],  # noqa: S301
)
def test_copies_are_equal_and_independent(duplicate: Any) -> None:
    """A copy has the same values and origins, and no part in common."""
    config = load_config(preset="tiny", report_to=["wandb"], deepspeed_config={"a": [1]})
    twin = duplicate(config)
    assert twin == config
    assert twin.origins == config.origins
    twin.tracking.report_to.append("mlflow")
    twin.model.d_model = 512
    twin.model.lr = 9
    assert (config.tracking.report_to, config.model.d_model, config.training.learning_rate) == (["wandb"], 64, 1e-3)
    assert twin.training.learning_rate == 9


def test_a_copy_of_a_section_is_outside_the_config() -> None:
    """A deep copy of a section does not write into the Config it came from."""
    config = Config()
    model: Any = copy.deepcopy(config.model)
    model.lr = 0.25
    assert config.training.learning_rate == 3e-4


def test_repr_shows_what_was_given() -> None:
    """A Config shows the chosen values only."""
    assert repr(Config(d_model=64)) == "Config(d_model=64)"


def test_every_field_has_a_docstring() -> None:
    """Help and schema have a sentence about every setting."""
    for section in (DataConfig, TokenizerConfig, ModelConfig, TrainingConfig, TrackingConfig):
        for setting, field in section.model_fields.items():
            assert field.description and field.description.endswith("."), setting

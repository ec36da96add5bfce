"""Other spellings mean the same, everywhere, and never two things at once."""

from __future__ import annotations

from typing import Any

import pytest

from textmill import config as config_module
from textmill.config import Config, load_config
from textmill.config.aliases import ALIASES, REWRITES, RIVALS, canonical
from textmill.config.fields import SECTIONS
from textmill.config.setting_lookup import section_of, setting_names
from textmill.errors import ConfigError

ANY: Any = config_module
"""The same classes without types: a type checker knows canonical names only."""

# One value per setting that differs from its default, for the settings that aliases point to.
SAMPLES: dict[str, Any] = {
    "data": ["a.txt"],
    "val_data": ["v.txt"],
    "val_split": 0.2,
    "optimizer": "sgd",
    "lr_schedule": "linear",
    "tokenizer": "char",
    "precision": "bf16",
    "architecture": "llama",
    "pos_encoding": "learned",
    "distributed_backend": "gloo",
    "bias": True,
    "tie_embeddings": False,
    "gradient_checkpointing": True,
    "compile": True,
    "deterministic": True,
    "overwrite": True,
    "beta1": 0.5,
    "beta2": 0.5,
    "label_smoothing": 0.5,
    "on_spike": "rollback",
    "sample_top_p": 0.5,
    "lr_decay": 0.5,
    "min_learning_rate": 1e-6,
}


def sample(setting: str) -> Any:
    """Return a value for the setting that is not its default."""
    default = Config().values()[setting]
    if setting in SAMPLES:
        return SAMPLES[setting]
    return 4 if isinstance(default, int | float) or setting.endswith(("steps", "every", "size", "heads", "ff")) else "4"


def test_every_alias_leads_to_one_setting() -> None:
    """Aliases point to settings; no alias is a setting, a rewrite or a section itself."""
    assert {ALIASES[alias] for alias in ALIASES} <= set(setting_names())
    assert not set(ALIASES) & (set(setting_names()) | set(REWRITES) | set(SECTIONS))
    assert set(REWRITES) & set(setting_names()) == {"resume"}
    assert all(section_of(setting) for pair in RIVALS for setting in pair)


def test_setting_names_are_unique() -> None:
    """No two sections have a setting of the same name."""
    assert len(setting_names()) == len(set(setting_names()))


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_alias_works_as_keyword_attribute_and_assignment(alias: str) -> None:
    """Every alias sets, reads and assigns its setting, with hyphens too."""
    setting, value = ALIASES[alias], sample(ALIASES[alias])
    config = Config(**{alias: value})
    assert (
        getattr(config.section(setting), setting) == getattr(config.section(setting), alias) == getattr(config, alias)
    )
    assert config.values()[setting] != Config().values()[setting]
    assert load_config({alias.replace("_", "-"): value}).values()[setting] == config.values()[setting]
    other = Config()
    setattr(other.section(setting), alias, value)
    assert other == config
    assert other.given(alias) and canonical(alias) == setting


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"early_stopping": True}, {"early_stopping_patience": 5}),
        ({"early_stopping": "true", "patience": 7}, {"early_stopping_patience": 7}),
        ({"early_stopping": 3}, {"early_stopping_patience": 3}),
        ({"early_stopping": False}, {"early_stopping_patience": 0}),
        ({"mixed_precision": True}, {"precision": "auto"}),
        ({"mixed_precision": "fp16"}, {"precision": "fp16"}),
        ({"mixed_precision": False}, {"precision": "fp32"}),
        ({"mixed_precision": True, "dtype": "float16"}, {"precision": "fp16"}),
        ({"use_amp": True, "amp_dtype": "bfloat16"}, {"precision": "bf16"}),
        ({"use_amp": False, "amp_dtype": "bfloat16"}, {"precision": "fp32"}),
        ({"amp_dtype": "float16"}, {"precision": "fp16"}),
        ({"dtype": "float32"}, {"precision": "fp32"}),
        ({"fp16": True, "bf16": False}, {"precision": "fp16"}),
        ({"tensorboard": True, "wandb": True}, {"report_to": ["tensorboard", "wandb"]}),
        ({"report_to": ["tensorboard"], "use_wandb": True}, {"report_to": ["tensorboard", "wandb"]}),
        ({"report_to": "tensorboard,wandb", "wandb": False}, {"report_to": ["tensorboard"]}),
        ({"train_split": 0.9}, {"val_split": 0.1}),
        ({"betas": (0.8, 0.7)}, {"beta1": 0.8, "beta2": 0.7}),
        ({"betas": "0.8, 0.7"}, {"beta1": 0.8, "beta2": 0.7}),
        ({"use_deepspeed": True, "deepspeed_config": "d.json"}, {"engine": "deepspeed", "deepspeed_config": "d.json"}),
        ({"use_deepspeed": False, "deepspeed_config": "d.json"}, {"engine": "auto", "deepspeed_config": None}),
        ({"use_data_augmentation": True}, {"augmentation": ["case", "punctuation", "whitespace"]}),
        ({"use_data_augmentation": True, "augmentation": "case"}, {"augmentation": ["case"]}),
        ({"resume": "auto"}, {"resume": "auto", "resume_from": None}),
        ({"resume": "best"}, {"resume": False, "resume_from": "best"}),
    ],
)
def test_rewrites(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """A spelling with a value of its own is written in canonical names and values."""
    values = load_config(given).values()
    assert {setting: values[setting] for setting in expected} == expected


def test_rewrites_can_be_read() -> None:
    """Guides read `use_amp`, `early_stopping` and the like; they get the truth."""
    training = ANY.TrainingConfig(use_amp=False, patience=2, betas=(0.9, 0.99))
    assert training.use_amp is False
    assert training.early_stopping is True
    assert training.betas == (0.9, 0.99)
    assert ANY.Config(wandb=True).use_wandb is True
    assert ANY.Config(train_split=0.7).train_split == 0.7


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"lr": 1e-3, "learning_rate": 2e-3}, ["lr", "learning_rate"]),
        ({"dim": 64, "n_embd": 65}, ["dim", "n_embd"]),
        ({"fp16": True, "bf16": True}, ["fp16", "bf16"]),
        ({"val_split": 0.2, "train_split": 0.7}, ["train_split", "val_split"]),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], names: list[str]) -> None:
    """Two spellings of one setting with different values are an error that names both."""
    with pytest.raises(ConfigError, match="contradicts") as caught:
        Config(**given)
    assert all(name in str(caught.value) for name in names)


def test_equal_repetitions_are_fine() -> None:
    """The same value in two spellings, even written differently, is no contradiction."""
    assert Config(lr="3e-3", learning_rate=0.003, max_lr=3e-3).training.learning_rate == 3e-3


def test_a_switch_adds_to_the_layer_below() -> None:
    """`wandb` in a later layer keeps what an earlier one reports to; a false one takes it away."""
    assert load_config({"report_to": "tensorboard"}, wandb=True).tracking.report_to == ["tensorboard", "wandb"]
    assert load_config({"report_to": ["tensorboard", "wandb"]}, wandb="no").tracking.report_to == ["tensorboard"]


def test_a_rival_in_a_later_layer_takes_back_the_other() -> None:
    """min_lr_ratio over a file's min_learning_rate leaves one of them."""
    config = load_config({"min_lr": 1e-5, "warmup_ratio": 0.2}, min_lr_ratio=0.5, warmup_steps=7)
    assert (config.training.min_learning_rate, config.training.min_lr_ratio) == (None, 0.5)
    assert (config.training.warmup_steps, config.training.warmup_ratio) == (7, 0.05)

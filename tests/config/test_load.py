"""Layers, presets and the law that a dump repeats the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textmill import config as config_module
from textmill.config import Config, ModelConfig, load_config
from textmill.config.presets import every_preset
from textmill.config.run_config import NOT_DUMPED
from textmill.errors import ConfigError, MissingInputError

ANY: Any = config_module
"""The same classes without types: a type checker knows canonical names only."""

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda text: text.strip().lower() not in ("none", "null")
)
NAME = TEXT.filter(lambda name: name.strip() and not name.startswith("/") and ".." not in name.split("/"))
SHARE = st.floats(0, 0.9)
SIZE = st.integers(1, 10**9)
INTERVAL = st.one_of(st.none(), SIZE, st.just("epoch"))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "data": st.one_of(st.none(), st.lists(NAME, min_size=1, max_size=3)),
    "val_split": SHARE,
    "text_column": TEXT,
    "augmentation": st.lists(st.sampled_from(["case", "punctuation", "whitespace"]), unique=True),
    "tokenizer": TEXT,
    "special_tokens": st.lists(TEXT, max_size=2),
    "architecture": st.sampled_from([None, "qwen3", "llama", "gpt2"]),
    "vocab_size": st.one_of(st.none(), st.integers(2, 10**6)),
    "d_model": st.sampled_from([64, 256, 768]),
    "num_heads": st.sampled_from([1, 2, 4, 8]),
    "d_ff": st.one_of(st.none(), st.integers(1, 10**6)),
    "dropout": SHARE,
    "activation": st.sampled_from([None, "silu", "gelu", "gelu_tanh", "relu"]),
    "gated_mlp": st.sampled_from([None, True, False]),
    "bias": st.sampled_from([None, True, False]),
    "norm_eps": st.one_of(st.none(), st.floats(1e-12, 1e-3)),
    "epochs": st.one_of(st.none(), st.floats(0.01, 100)),
    "max_steps": st.one_of(st.none(), SIZE),
    "max_time": st.one_of(st.none(), st.floats(1e-3, 1e7)),
    "learning_rate": st.floats(1e-6, 1.0),
    "min_lr_ratio": st.floats(0, 1),
    "warmup_steps": st.one_of(st.none(), st.integers(0, 10**6)),
    "deepspeed_config": st.one_of(st.none(), NAME, st.just({"zero_optimization": {"stage": 2}})),
    "eval_steps": INTERVAL,
    "save_steps": INTERVAL,
    "seed": st.integers(0, 2**63 - 1),
    "compile": st.booleans(),
    "deterministic": st.booleans(),
    "report_to": st.lists(st.sampled_from(["tensorboard", "wandb", "mlflow"]), unique=True),
    "run_name": st.one_of(st.none(), NAME),
}
LAYERS = st.fixed_dictionaries({}, optional=VALUES)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=LAYERS)
def test_a_dump_repeats_the_configuration(tmp_path: Path, suffix: str, values: dict[str, Any]) -> None:
    """load(dump(c)) == c, through YAML and through JSON, for any configuration."""
    config = load_config(values)
    file = tmp_path / f"config{suffix}"
    dump = config.dump()
    file.write_text(yaml.safe_dump(dump, allow_unicode=True) if suffix == ".yaml" else json.dumps(dump), "utf-8")
    assert load_config(file) == config
    assert load_config(dump) == config
    assert load_config(config) == config


@settings(max_examples=60, deadline=None)
@given(below=LAYERS, above=LAYERS)
def test_the_later_layer_wins(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Every setting holds the value of the last layer that gives it; the order within a layer is nothing."""
    config = load_config(below, above)
    reordered = load_config(dict(reversed(below.items())), dict(reversed(above.items())))
    assert config == reordered
    for setting, value in {**below, **above}.items():
        if setting != "warmup_steps":  # gives way to a ratio in a later layer
            assert config.values()[setting] == value


def test_a_dump_leaves_out_where_it_was_written(tmp_path: Path) -> None:
    """output_dir, overwrite, resume and resume_from are not part of what a run is."""
    dump = load_config(output_dir="x", resume="auto", run_name="r").dump()
    settings = {setting for section in dump.values() for setting in section}
    assert not settings & set(NOT_DUMPED)
    assert settings | set(NOT_DUMPED) == set(Config().values())


def test_files_nest_or_not_and_say_where(tmp_path: Path) -> None:
    """A setting may stand at the top, in its section or in another; its origin is the file."""
    file = tmp_path / "run.toml"
    file.write_text('n_heads = 4\n[training]\ndim_model = 128\nlr = "1e-3"\n[model]\nbatch_size = 2\n')
    config = load_config(file)
    assert (config.model.num_heads, config.model.d_model) == (4, 128)
    assert (config.training.batch_size, config.training.learning_rate) == (2, 1e-3)
    assert config.origins["d_model"] == str(file)


def test_a_run_folder_is_a_configuration(tmp_path: Path) -> None:
    """A folder means the config.yaml in it; a missing file is a missing input."""
    (tmp_path / "config.yaml").write_text("d_model: 64")
    assert load_config(tmp_path).model.d_model == 64
    with pytest.raises(MissingInputError, match="no such configuration file"):
        load_config(tmp_path / "nothing.yaml")


def test_sections_are_sources_and_keywords() -> None:
    """Sections can be given alone or by name, and plain keywords lie over them."""
    config = load_config(ANY.TrainingConfig(lr=0.5, max_length=9), model=ModelConfig(d_model=32), batch_size=3)
    assert (config.training.learning_rate, config.model.max_seq_len, config.model.d_model) == (0.5, 9, 32)
    assert config.training.batch_size == 3


@pytest.mark.parametrize("name", every_preset())
def test_every_preset_is_a_sound_configuration(name: str) -> None:
    """A preset passes all rules, has a head size of 32, 64 or 128, and a length."""
    config = load_config(preset=name)
    model = config.model.resolved()
    assert model.head_dim in {32, 64, 128}
    assert model.vocab_size is None or model.vocab_size >= 512
    assert any((config.training.epochs, config.training.max_steps, config.training.max_tokens))
    assert config.origins["d_model"] == f"preset {name}"


def test_presets_lie_below_everything_given() -> None:
    """Given values win over a preset's, and any given length over the preset's length."""
    config = load_config({"preset": "tiny", "max_steps": 7}, d_model=32)
    assert (config.model.d_model, config.training.max_steps, config.training.epochs) == (32, 7, None)
    assert config.training.learning_rate == 1e-3


def test_preset_spellings() -> None:
    """Hyphen and underscore are one; an unknown preset is refused with the nearest name."""
    assert load_config(preset="cpu-small").model == load_config(preset="cpu_small").model
    with pytest.raises(ConfigError, match="did you mean 'medium'"):
        load_config(preset="mediun")


def test_settling_auto_leaves_given_values() -> None:
    """`settle` fills what nobody gave, and says so in the origins."""
    config = load_config(d_model=64, max_time="2h", warmup_ratio=0.3)
    config.apply_preset("auto-x", {"d_model": 128, "num_layers": 2, "epochs": 3, "warmup_steps": 5})
    assert (config.model.d_model, config.model.num_layers, config.training.epochs) == (64, 2, None)
    assert (config.training.warmup_steps, config.training.warmup_ratio) == (None, 0.3)
    assert config.origins["num_layers"] == "preset auto-x"
    assert load_config(config).origins["num_layers"] == "preset auto-x"


def test_derived_values_do_not_outlive_what_they_follow_from() -> None:
    """A Config that was resolved and is loaded again with another width derives its shape anew."""
    config = load_config(d_model=64)
    config.model = config.model.resolved()
    assert config.model.d_ff == 192
    wider = load_config(config, d_model=128)
    assert wider.model.d_ff is None
    assert wider.model.resolved().d_ff == 384


def test_absurdly_many_epochs_are_refused() -> None:
    """1e300 of them made a plan with a number of 300 digits; a billion is accepted."""
    with pytest.raises(ConfigError, match="epochs: must be at most 1000000000, not '1e300'"):
        load_config(epochs="1e300")
    assert load_config(epochs=1e9).training.epochs == 1e9

"""Each preset named after a guide has the values that the guide's own text states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from textmill.cli.main import main
from textmill.config import DataConfig, ModelConfig, TrainingConfig, load_config
from textmill.config.aliases import canonical
from textmill.config.presets import presets

ELSEWHERE = {"dataset_name", "dataset_config", "output_dir", "report_to", "wandb_project", "preprocessing_num_workers"}
ELSEWHERE |= {"device", "precision"}
"""What a guide states and no preset sets: where text and results are, and the machine."""

OF_PROGRAMS: dict[str, dict[str, Any]] = {
    "guide-characters": {"tokenizer": "char", "norm": "rmsnorm", "weight_decay": 0.01, "lr_schedule": "constant"},
    "guide-configurations": {"packing_strategy": "greedy", "min_lr_ratio": 0.1},
    "guide-wikitext": {"min_lr_ratio": 0.0, "label_smoothing": 0.1, "tie_embeddings": False, "save_steps": "epoch"},
    "guide-toolkit": {"vocab_size": 16000, "d_model": 512, "num_layers": 8, "num_heads": 8, "max_seq_len": 1024},
    "guide-arrays": {"decay_steps": 90000, "eval_batches": 100, "save_steps": 5000, "precision": "fp32"},
}
"""What the guides' texts leave to their programs, as these have it."""


def guide(shared: Path, name: str) -> str:
    return next((shared / "guides").glob(f"*{name}*.md")).read_text(encoding="utf-8")


def executed(blocks: list[str]) -> dict[str, Any]:
    """Return what the guide's own lines choose: constructions of configuration classes."""
    names: dict[str, Any] = {"ModelConfig": ModelConfig, "TrainingConfig": TrainingConfig, "DataConfig": DataConfig}
    code = "\n".join(re.sub(r"^from .* import .*$", "", block, flags=re.MULTILINE) for block in blocks)
    exec(re.sub(r"(\w+)=(\w+)\(", r"\1=\2(", code), names)
    config = load_config(*[value for key, value in names.items() if key.endswith("config")])
    return {name: value for name, value in config.values().items() if config.given(name)}


def stated_by_characters(shared: Path) -> dict[str, Any]:
    text = guide(shared, "fundamentallm").partition("## Training Strategies")[0]
    stated = re.findall(r"\(`--([\w-]+)`\)\n.*\n\*\*Default:\*\* ([\d.]+) ", text.replace(" (", " ("))
    return {canonical(name): float(value) for name, value in stated}


def stated_by_configurations(shared: Path) -> dict[str, Any]:
    text = guide(shared, "llm_trainer").partition("## Training Strategies")[0]
    return executed(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))


def stated_by_wikitext(shared: Path, tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "config.yaml"
    file.write_text(re.findall(r"```yaml\n(data:.*?)```", guide(shared, "wikitext"), flags=re.DOTALL)[0])
    config = load_config(file)
    return {name: value for name, value in config.values().items() if config.given(name) and name != "max_steps"}


def stated_by_toolkit(shared: Path) -> dict[str, Any]:
    text = guide(shared, "llmbuilder").partition("### Core Training Parameters")[2]
    return executed(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[:1])


def stated_by_arrays(shared: Path) -> dict[str, Any]:
    stated = re.findall(r"- `--(\w+)`: .* \(default: ([\d.e-]+)\)", guide(shared, "train_script"))
    return {canonical(name): float(value) for name, value in stated}


@pytest.mark.parametrize(
    ("preset", "least"),
    [
        ("guide-characters", 8),
        ("guide-configurations", 25),
        ("guide-wikitext", 11),
        ("guide-toolkit", 11),
        ("guide-arrays", 13),
    ],
)
def test_a_preset_has_the_values_of_its_guide(shared: Path, tmp_path: Path, preset: str, least: int) -> None:
    """Every number that the guide's text gives as a default, or writes into its configuration, is the preset's."""
    stated = {
        "guide-characters": lambda: stated_by_characters(shared),
        "guide-configurations": lambda: stated_by_configurations(shared),
        "guide-wikitext": lambda: stated_by_wikitext(shared, tmp_path),
        "guide-toolkit": lambda: stated_by_toolkit(shared),
        "guide-arrays": lambda: stated_by_arrays(shared),
    }[preset]()
    assert len(stated) >= least
    values = load_config(preset=preset).values()
    for name in stated.keys() - ELSEWHERE:
        assert values[name] == stated[name], name


@pytest.mark.parametrize("preset", OF_PROGRAMS)
def test_what_guides_leave_to_their_programs(preset: str) -> None:
    """What the text is silent about is as the guide's program does it: GPT-2's parts or llama's, Adam's usual betas."""
    config = load_config(preset=preset)
    expected = OF_PROGRAMS[preset] | {"beta2": 0.999, "optimizer": "adamw"}
    expected |= {"architecture": "llama" if preset == "guide-arrays" else "gpt2"}
    assert {name: config.values()[name] for name in expected} == expected


def test_a_preset_states_only_what_differs_or_is_stated() -> None:
    """A preset of a guide has a length, a batch and a shape of its own, and no setting that says where files are."""
    guides = {name: preset for name, preset in presets().items() if name.startswith("guide-")}
    assert guides.keys() == OF_PROGRAMS.keys()
    for preset in guides.values():
        assert not preset.values.keys() & {"data", "dataset_name", "output_dir", "device"}
        assert {"batch_size", "d_model", "learning_rate"} <= preset.values.keys()


def test_such_a_preset_trains(guide_folder: Path, tmp_path: Path) -> None:
    """The first guide's defaults on a small text: characters, 128 wide, the warm-up shortened to the run."""
    words = [
        "train",
        str(guide_folder / "data.txt"),
        "--preset",
        "guide-characters",
        "--max-steps",
        "2",
        "--num-layers",
        "1",
    ]
    assert main([*words, "--num-layers", "1", "--max-seq-len", "32", "--output-dir", str(tmp_path / "run")]) == 0
    config = load_config(tmp_path / "run")
    assert (config.model.d_model, config.tokenizer.tokenizer, config.training.beta2) == (128, "char", 0.999)

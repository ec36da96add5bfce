"""Every command line and configuration of the guides means what the guide says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from textmill.cli.main import main
from textmill.config import Config, DataConfig, ModelConfig, TrainingConfig, load_config
from textmill.config.aliases import canonical

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    # character models, guide 000
    (
        "shakespeare.txt --output-dir my_model --epochs 20 --batch-size 32",
        {"data": ["shakespeare.txt"], "output_dir": "my_model", "epochs": 20, "batch_size": 32},
    ),
    (
        "a.txt --model-dim 64 --num-layers 2 --num-heads 2",
        {"data": ["a.txt"], "d_model": 64, "num_layers": 2, "num_heads": 2},
    ),
    ("--model-dim 256 --num-heads 8 --ff-dim 1024", {"d_model": 256, "num_heads": 8, "d_ff": 1024}),
    (
        "a.txt --model-dim 512 --num-heads 16 --learning-rate 0.0003 --dropout 0.2 --mixed-precision "
        "--gradient-clip 1.0",
        {
            "data": ["a.txt"],
            "d_model": 512,
            "num_heads": 16,
            "learning_rate": 3e-4,
            "dropout": 0.2,
            "precision": "auto",
            "max_grad_norm": 1.0,
        },
    ),
    ("--mixed-precision a.txt", {"data": ["a.txt"], "precision": "auto"}),
    ("--lr-schedule cosine --warmup-steps 1000", {"lr_schedule": "cosine", "warmup_steps": 1000}),
    (
        "data.txt --output-dir my_model --resume-from my_model/checkpoint_epoch_10.pt",
        {"data": ["data.txt"], "output_dir": "my_model", "resume_from": "my_model/checkpoint_epoch_10.pt"},
    ),
    ("--max-seq-len 128 --val-split 0.05", {"max_seq_len": 128, "val_split": 0.05}),
    ("--batch-size 8 --accumulation-steps 4", {"batch_size": 8, "gradient_accumulation_steps": 4}),
    ("--early-stopping --patience 5", {"early_stopping_patience": 5}),
    ("--early-stopping a.txt", {"data": ["a.txt"], "early_stopping_patience": 5}),
    ("--tensorboard --log-dir runs/", {"report_to": ["tensorboard"], "log_dir": "runs/"}),
    ("--wandb --project fundamentallm", {"report_to": ["wandb"], "wandb_project": "fundamentallm"}),
    # a trainer with JSON configurations, guide 001
    (
        "--resume_from_checkpoint ./checkpoints/checkpoint-10000.pt",
        {"resume_from": "./checkpoints/checkpoint-10000.pt"},
    ),
    # one command with --data, guide 003
    (
        "model --data training_data.txt --tokenizer ./tokenizer --output ./model --epochs 10 --batch-size 16",
        {
            "data": ["training_data.txt"],
            "tokenizer": "./tokenizer",
            "output_dir": "./model",
            "epochs": 10,
            "batch_size": 16,
        },
    ),
    (
        "--data_dir ./texts --output_dir ./out --epochs 5 --batch_size 1 --block_size 64 --embed_dim 256 --layers 4 "
        "--heads 8 --lr 6e-4 --prompt 'Security is' --max_new_tokens 80 --temperature 0.8 --top_p 0.9",
        {
            "data": ["./texts"],
            "output_dir": "./out",
            "epochs": 5,
            "batch_size": 1,
            "max_seq_len": 64,
            "d_model": 256,
            "num_layers": 4,
            "num_heads": 8,
            "learning_rate": 6e-4,
            "sample_prompt": "Security is",
            "sample_tokens": 80,
            "sample_temperature": 0.8,
            "sample_top_p": 0.9,
        },
    ),
    # memory-mapped arrays, guide 004
    (
        "--train_data data/train.npy --val_data data/val.npy --d_model 512 --num_heads 8 --d_ff 2048 --num_layers 6 "
        "--vocab_size 32000 --context_length 1024 --rope_theta 10000.0 --batch_size 32 --learning_rate 3e-4 "
        "--min_learning_rate 3e-5 --warmup_steps 1000 --max_steps 100000 --grad_clip 1.0",
        {
            "data": ["data/train.npy"],
            "val_data": ["data/val.npy"],
            "d_model": 512,
            "num_heads": 8,
            "d_ff": 2048,
            "num_layers": 6,
            "vocab_size": 32000,
            "max_seq_len": 1024,
            "rope_theta": 10000.0,
            "batch_size": 32,
            "learning_rate": 3e-4,
            "min_learning_rate": 3e-5,
            "warmup_steps": 1000,
            "max_steps": 100_000,
            "max_grad_norm": 1.0,
        },
    ),
    (
        "--train_data t.npy --val_data v.npy --resume_from checkpoints/checkpoint_step_50000.pt --max_steps 150000",
        {
            "data": ["t.npy"],
            "val_data": ["v.npy"],
            "resume_from": "checkpoints/checkpoint_step_50000.pt",
            "max_steps": 150_000,
        },
    ),
    (
        "--train_data t.npy --val_data v.npy --use_wandb --wandb_project my-transformer --wandb_run_name lr_1e-4",
        {
            "data": ["t.npy"],
            "val_data": ["v.npy"],
            "report_to": ["wandb"],
            "wandb_project": "my-transformer",
            "run_name": "lr_1e-4",
        },
    ),
    (
        "--train_data t.npy --dtype float16 --compile --device cuda",
        {"data": ["t.npy"], "precision": "fp16", "compile": True, "device": "cuda"},
    ),
    ("--compile --device cpu --dtype float32", {"compile": True, "device": "cpu", "precision": "fp32"}),
    ("--beta1 0.9 --beta2 0.999 --cosine_steps 90000", {"beta1": 0.9, "beta2": 0.999, "decay_steps": 90000}),
    (
        "--log_interval 100 --eval_interval 1000 --checkpoint_interval 5000",
        {"logging_steps": 100, "eval_steps": 1000, "save_steps": 5000},
    ),
]


def given_on(command: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the settings that a command line gives, by canonical name."""
    code = main(["config", "show", "--json", *shlex.split(command)])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    tree = json.loads(captured.out)
    return {
        setting: item["value"]
        for section in tree.values()
        for setting, item in section.items()
        if not item["origin"].startswith(("default", "derived", "fitted", "preset auto-"))
    }


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[command[:40] for command, _ in COMMANDS])
def test_command_lines(command: str, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The flags of a guide give exactly these settings."""
    words = shlex.split(command)
    if words[0] == "model":  # belongs to the verb of that guide
        words = words[1:]
    assert given_on(shlex.join(words), capsys) == expected


def test_the_launchers_flag_before_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """torch.distributed.launch puts --local-rank first; it is dropped in each of its spellings."""
    for flag in (["--local-rank=1"], ["--local_rank", "1"]):
        assert main([*flag, "config", "show", "--json", "--seed", "7"]) == 0
        assert json.loads(capsys.readouterr().out)["training"]["seed"]["value"] == 7


def test_a_hyperparameter_file_with_model_keys_in_training(tmp_path: Path) -> None:
    """A YAML file may keep the model's keys under `training` and `device` at the top."""
    file = tmp_path / "config.yaml"
    file.write_text(
        "data: {dataset_name: wikitext, dataset_config: wikitext-2-raw-v1, seq_length: 128}\n"
        "training: {epochs: 3, batch_size: 2, dim_model: 256, num_layers: 4, num_heads: 4, dim_ff: 1024,\n"
        "  dropout: 0.1, learning_rate: 3e-4, weight_decay: 0.01, num_steps: 3000, warmup_steps: 300, patience: 2}\n"
        'device: "cpu"\n'
    )
    config = load_config(file)
    assert (config.model.max_seq_len, config.model.d_model, config.model.d_ff, config.model.dropout) == (
        128,
        256,
        1024,
        0.1,
    )
    assert (config.training.epochs, config.training.max_steps, config.training.early_stopping_patience) == (3, 3000, 2)
    assert (config.training.learning_rate, config.training.device) == (3e-4, "cpu")
    assert (config.data.dataset_name, config.data.dataset_config) == ("wikitext", "wikitext-2-raw-v1")


MODEL: dict[str, Any] = {
    "vocab_size": 50000,
    "d_model": 768,
    "n_heads": 12,
    "n_layers": 12,
    "d_ff": 3072,
    "max_seq_len": 1024,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation": "gelu",
    "pre_norm": True,
    "gradient_checkpointing": False,
}
TRAINING: dict[str, Any] = {
    "batch_size": 8,
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
    "num_epochs": 3,
    "lr_scheduler": "cosine",
    "warmup_steps": 2000,
    "optimizer": "adamw",
    "gradient_accumulation_steps": 8,
    "use_amp": True,
    "max_grad_norm": 1.0,
    "save_steps": 2000,
    "eval_steps": 1000,
    "logging_steps": 100,
    "checkpoint_dir": "./checkpoints",
    "report_to": ["tensorboard"],
}
DATA: dict[str, Any] = {
    "dataset_name": "wikitext",
    "dataset_config": "wikitext-103-raw-v1",
    "dataset_split": "train",
    "validation_split": "validation",
    "text_column": "text",
    "max_length": 1024,
    "min_length": 10,
    "pack_sequences": True,
    "preprocessing_num_workers": 8,
}
OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"use_amp": True, "amp_dtype": "float16"}, {"precision": "fp16"}),
    ({"use_amp": True, "amp_dtype": "bfloat16"}, {"precision": "bf16"}),
    ({"use_amp": False, "amp_dtype": "float16"}, {"precision": "fp32"}),
    (
        {"use_deepspeed": True, "deepspeed_config": "deepspeed_config.json"},
        {"engine": "deepspeed", "deepspeed_config": "deepspeed_config.json"},
    ),
    ({"use_deepspeed": True}, {"engine": "deepspeed"}),
    ({"world_size": 4, "distributed_backend": "nccl"}, {"world_size": 4, "distributed_backend": "nccl"}),
    (
        {"resume_from_checkpoint": "./checkpoints/checkpoint-10000.pt"},
        {"resume_from": "./checkpoints/checkpoint-10000.pt"},
    ),
    ({"save_total_limit": 5}, {"save_total_limit": 5}),
    ({"report_to": ["wandb"], "logging_steps": 100}, {"report_to": ["wandb"], "logging_steps": 100}),
    (
        {"pack_sequences": True, "packing_strategy": "first_fit", "max_length": 1024},
        {"pack_sequences": True, "packing_strategy": "first_fit", "max_seq_len": 1024},
    ),
]


def given_in(config: Config) -> dict[str, Any]:
    """Return the settings of a configuration that somebody chose, by canonical name."""
    return {setting: value for setting, value in config.values().items() if config.given(setting)}


def test_three_configuration_classes() -> None:
    """Model, training and data as keyword arguments of their classes, with the names of the guide."""
    config = load_config(model=ModelConfig(**MODEL), training=TrainingConfig(**TRAINING), data=DataConfig(**DATA))
    same = {"n_heads": "num_heads", "n_layers": "num_layers", "num_epochs": "epochs", "lr_scheduler": "lr_schedule"}
    same |= {"checkpoint_dir": "output_dir", "max_length": "max_seq_len", "use_amp": "precision"}
    expected = {same.get(name, name): value for name, value in (MODEL | TRAINING | DATA).items()}
    assert given_in(config) == {**expected, "precision": "auto"}
    assert config.model.resolved().architecture == "gpt2"


@pytest.mark.parametrize(("options", "expected"), OPTIONS)
def test_single_options(options: dict[str, Any], expected: dict[str, Any]) -> None:
    """The guide's further options mean exactly these settings, in a section and as keywords."""
    assert given_in(load_config(TrainingConfig(**options))) == given_in(load_config(**options)) == expected


def test_a_dictionary_with_flat_and_nested_keys() -> None:
    """Top-level keys beside sections, as a script passes them."""
    config = load_config(
        {
            "vocab_size": 8000,
            "block_size": 64,
            "training": {"batch_size": 1, "learning_rate": 6e-4, "num_epochs": 5, "save_every": 1, "log_every": 10},
            "model": {"embedding_dim": 256, "num_layers": 4, "num_heads": 8, "max_seq_length": 64, "dropout": 0.1},
        },
        data_path="texts",
        output_dir="out",
        clean=False,
    )
    assert (config.model.vocab_size, config.model.max_seq_length, config.data.data) == (8000, 64, ["texts"])  # type: ignore[attr-defined]
    assert (config.training.save_steps, config.training.overwrite) == ("epoch", False)


def test_a_training_configuration_can_be_edited() -> None:
    """Attributes are assigned one by one, under the names of the guide."""
    options: dict[str, Any] = {"scheduler": "cosine", "save_every": 1000, "eval_every": 500, "max_checkpoints": 5}
    options |= {"log_every": 100, "wandb_project": None, "mixed_precision": "fp16", "min_lr_ratio": 0.1}
    config = TrainingConfig(**options)
    config.batch_size = 8
    config.optimizer = "adam"
    config.max_grad_norm = 0.5
    assert (config.save_steps, config.eval_steps, config.save_total_limit, config.precision) == (1000, 500, 5, "fp16")
    assert load_config(preset="cpu_small").model.max_seq_length == 256  # type: ignore[attr-defined]


def test_presets_are_the_models_of_the_guides(shared: Path) -> None:
    """Tiny, small, medium and large are the first guide's four commands; three more are the second guide's recipes."""
    text = (shared / "guides" / "000_fundamentallm.md").read_text().partition("## Example Configurations")[2]
    commands = re.findall(
        r"^fundamentallm train \S+ (.*?)\n```", text.replace("\\\n", ""), flags=re.DOTALL | re.MULTILINE
    )
    for preset, command in zip(("tiny", "small", "medium", "large"), commands, strict=True):
        words = command.replace("--mixed-precision", "").split()
        config = load_config(preset=preset)
        values = config.values()
        for flag, value in zip(words[2::2], words[3::2], strict=True):
            name = canonical(flag.removeprefix("--"))
            assert values[name] == float(value), (preset, flag)
    text = (shared / "guides" / "001_llm_trainer.md").read_text().partition("## Training Strategies")[2]
    recipes = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[:3]
    for preset, recipe in zip(("quick", "gpt2-small-recipe", "gpt2-medium-recipe"), recipes):
        names: dict[str, Any] = {"ModelConfig": ModelConfig, "TrainingConfig": TrainingConfig, "DataConfig": DataConfig}
        exec(recipe, names)
        sections = [names[name] for name in ("model_config", "training_config", "data_config") if name in names]
        config = load_config(preset=preset)
        wanted = given_in(load_config(*sections))
        for setting in wanted.keys() - {"dataset_name", "dataset_config", "engine", "precision"}:
            assert config.values()[setting] == wanted[setting], (preset, setting)


def test_every_flag_anywhere_in_the_guides(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands behind two hyphens, in commands or in prose, is a flag of ours with either kind of hyphen."""
    values = {"device": "cpu", "min_learning_rate": "1e-5", "dtype": "fp16", "tokenizer": "byte", "lr_schedule": "step"}
    words = {"data", "data_dir", "train_data", "val_data", "output", "output_dir", "log_dir", "project", "prompt"}
    words |= {"wandb_project", "wandb_run_name", "resume_from", "resume_from_checkpoint"}
    text = " ".join(path.read_text(encoding="utf-8") for path in sorted((shared / "guides").glob("*.md")))
    flags = {flag.replace("-", "_") for flag in re.findall(r"(?<![\w-])--([a-z][\w-]*)", text)}
    flags -= {"logdir", "nproc_per_node", "config"}  # of TensorBoard and torchrun; the last is a file
    assert len(flags) > 40
    for flag in sorted(flags):
        for name in (flag, flag.replace("_", "-")):
            value = values.get(flag, "text" if flag in words else "0.5")
            code = main(["config", "show", "--json", f"--{name}", value])
            said = capsys.readouterr().err
            assert code == 0 or ("no such flag" not in said and "whole number" in said), (name, said)

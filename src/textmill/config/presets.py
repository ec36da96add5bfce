"""Named sets of values: those of well-known recipes, and the ones that `auto` chooses from machine and data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from textmill.config.values import closest
from textmill.console.format import size
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from textmill.config.tree import Config


class Preset(NamedTuple):
    """What the preset is for, in one line, and its settings by canonical name."""

    purpose: str
    values: dict[str, Any]


def _shape(d_model: int, num_layers: int, num_heads: int, max_seq_len: int, **others: Any) -> dict[str, Any]:
    return {
        "d_model": d_model,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "max_seq_len": max_seq_len,
        **others,
    }


def _gpt2(d_model: int, num_layers: int, num_heads: int, learning_rate: float, tokens: int) -> dict[str, Any]:
    """Return a GPT-2 size with half a million tokens per step and about 20 tokens per parameter."""
    return {
        "architecture": "gpt2",
        "vocab_size": 50257,
        **_shape(d_model, num_layers, num_heads, 1024),
        "batch_size": 8,
        "gradient_accumulation_steps": 64,
        "learning_rate": learning_rate,
        "warmup_steps": 2000,
        "max_tokens": tokens,
    }


PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        "characters, 0.1 M parameters: to see that everything works, in a minute or two on a CPU",
        {
            "tokenizer": "char",
            **_shape(64, 2, 2, 256, dropout=0.1),
            "batch_size": 16,
            "epochs": 5,
            "learning_rate": 1e-3,
        },
    ),
    "small": Preset(
        "characters, 0.8 M parameters: to watch how training behaves, on a CPU",
        {
            "tokenizer": "char",
            **_shape(128, 4, 4, 256, dropout=0.1),
            "batch_size": 32,
            "epochs": 20,
            "learning_rate": 1e-3,
        },
    ),
    "medium": Preset(
        "characters, 5 M parameters: readable text from a few MB, on a GPU or a patient CPU",
        {
            "tokenizer": "char",
            **_shape(256, 6, 8, 256, dropout=0.1),
            "batch_size": 32,
            "epochs": 30,
            "learning_rate": 5e-4,
        },
    ),
    "large": Preset(
        "characters, 38 M parameters: the best character model for some MB of text, on a GPU",
        {
            "tokenizer": "char",
            **_shape(512, 12, 16, 256, dropout=0.2),
            "batch_size": 64,
            "epochs": 50,
            "learning_rate": 3e-4,
        },
    ),
    "quick": Preset(
        "a 4-layer GPT of width 256 for quick experiments on a dataset such as WikiText-2",
        {
            "architecture": "gpt2",
            **_shape(256, 4, 4, 512, d_ff=1024, dropout=0.1),
            "batch_size": 16,
            "gradient_accumulation_steps": 2,
            "epochs": 3,
            "learning_rate": 5e-4,
        },
    ),
    "gpt2-small-recipe": Preset(
        "GPT-2 small's shape, trained for epochs with little memory: 64 rows per step on one GPU",
        {
            "architecture": "gpt2",
            **_shape(768, 12, 12, 1024, d_ff=3072, dropout=0.1, gradient_checkpointing=True),
            "batch_size": 8,
            "gradient_accumulation_steps": 8,
            "epochs": 3,
            "learning_rate": 1e-4,
        },
    ),
    "gpt2-medium-recipe": Preset(
        "GPT-2 medium's shape with a context of 2048, for one epoch over a large dataset on several GPUs",
        {
            "architecture": "gpt2",
            **_shape(1024, 24, 16, 2048, d_ff=4096, dropout=0.1, gradient_checkpointing=True),
            "batch_size": 4,
            "gradient_accumulation_steps": 16,
            "epochs": 1,
            "learning_rate": 1e-4,
        },
    ),
    "cpu_small": Preset(
        "words, 5 M parameters: a model that speaks, on a laptop's CPU",
        {
            "vocab_size": 8000,
            **_shape(256, 4, 4, 256, dropout=0.1),
            "batch_size": 16,
            "epochs": 10,
            "learning_rate": 6e-4,
        },
    ),
    "gpu_medium": Preset(
        "words, 42 M parameters: for 100 MB of text and more, on one GPU",
        {
            "vocab_size": 16000,
            **_shape(512, 8, 8, 1024, dropout=0.1),
            "batch_size": 32,
            "gradient_accumulation_steps": 2,
            "epochs": 10,
            "learning_rate": 5e-4,
        },
    ),
    "gpu_large": Preset(
        "words, 0.2 G parameters: for gigabytes of text, on a large GPU",
        {
            "vocab_size": 32000,
            **_shape(1024, 16, 16, 1024, gradient_checkpointing=True),
            "batch_size": 16,
            "gradient_accumulation_steps": 8,
            "epochs": 3,
            "learning_rate": 3e-4,
        },
    ),
    "inference": Preset(
        "words, few key/value heads: a shape that generates fast and in little memory",
        {
            "vocab_size": 16000,
            **_shape(512, 8, 8, 1024, num_kv_heads=2),
            "batch_size": 16,
            "epochs": 10,
            "learning_rate": 5e-4,
        },
    ),
    "gpt2": Preset("GPT-2, 124 M parameters, as published", _gpt2(768, 12, 12, 6e-4, 2_500_000_000)),
    "gpt2-medium": Preset("GPT-2 medium, 355 M parameters, as published", _gpt2(1024, 24, 16, 3e-4, 7_000_000_000)),
    "gpt2-large": Preset("GPT-2 large, 774 M parameters, as published", _gpt2(1280, 36, 20, 2.5e-4, 15_500_000_000)),
    "gpt2-xl": Preset("GPT-2 XL, 1.56 G parameters, as published", _gpt2(1600, 48, 25, 2e-4, 31_000_000_000)),
}
"""Name -> preset. `auto` is none of them: see `choose_preset`."""


class AutoPreset(NamedTuple):
    """A choice of `auto`: for corpora below `bytes_below` on a device of this kind."""

    name: str
    bytes_below: float
    values: dict[str, Any]


_MUON = {
    "optimizer": "muon",
    "learning_rate": 0.01,
    "lr_schedule": "wsd",
    "warmup_ratio": 0.02,
    "min_lr_ratio": 0.0,
    "weight_decay": 0.0,
}
"""What small models learn fastest with: see docs/decisions.md."""

OWN_OPTIMIZER = ("optimizer", "learning_rate")
"""Settings that, once given, take the choice of the optimizer and of what goes with it from `auto`."""


def without_optimizer(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an automatic preset without its optimizer: a learning rate is no measure for another optimizer."""
    return {**{leaf: value for leaf, value in values.items() if leaf not in _MUON}, "learning_rate": 1e-3}


AUTO: dict[str, tuple[AutoPreset, ...]] = {
    "cpu": (
        AutoPreset(
            "auto-cpu-tiny",
            2e5,
            {
                "vocab_size": 1024,
                **_shape(128, 4, 4, 128, dropout=0.1),
                "batch_size": 16,
                "epochs": 20,
                **_MUON,
            },
        ),
        AutoPreset(
            "auto-cpu-small",
            3e6,
            {
                "vocab_size": 2048,
                **_shape(192, 4, 6, 128, dropout=0.1),
                "batch_size": 16,
                "epochs": 5,
                **_MUON,
            },
        ),
        AutoPreset(
            "auto-cpu-medium",
            float("inf"),
            {
                "vocab_size": 2048,
                **_shape(192, 4, 6, 128),
                "batch_size": 16,
                "val_split": 0.05,
                "max_steps": 900,
                **_MUON,
            },
        ),
    ),
    "gpu": (
        AutoPreset(
            "auto-gpu-small",
            3e6,
            {
                "vocab_size": 4096,
                **_shape(384, 6, 6, 256, dropout=0.2),
                "batch_size": 64,
                "epochs": 10,
                "learning_rate": 1e-3,
            },
        ),
        AutoPreset(
            "auto-gpu-medium",
            3e8,
            {
                "vocab_size": 8192,
                **_shape(512, 8, 8, 512, dropout=0.1),
                "batch_size": 64,
                "epochs": 4,
                "learning_rate": 6e-4,
            },
        ),
        AutoPreset(
            "auto-gpu-large",
            float("inf"),
            {
                "vocab_size": 32768,
                **_shape(768, 12, 12, 1024),
                "batch_size": 32,
                "gradient_accumulation_steps": 8,
                "epochs": 1,
                "learning_rate": 6e-4,
            },
        ),
    ),
}
"""What `auto` chooses from, by kind of device and size of the text."""


def preset_values(name: str) -> dict[str, Any]:
    """Return the settings of a preset, `auto-...` ones included. Raises ConfigError for an unknown name."""
    for auto in (*AUTO["cpu"], *AUTO["gpu"]):
        if auto.name == name:
            return dict(auto.values)
    for spelled in (name, name.replace("-", "_"), name.replace("_", "-")):
        if spelled in PRESETS:
            return dict(PRESETS[spelled].values)
    hint = closest(name, PRESETS) or f"; there are auto, {', '.join(PRESETS)}"
    raise ConfigError(f"preset: there is no preset {name!r}{hint}")


def choose_preset(device_kind: str, corpus_bytes: int) -> tuple[str, dict[str, Any], str]:
    """Return what `auto` means for a device ("cpu", "cuda", "mps") and a corpus: name, settings, a sentence to say."""
    kind = "cpu" if device_kind == "cpu" else "gpu"
    auto = next(auto for auto in AUTO[kind] if corpus_bytes < auto.bytes_below)
    machine = {"cpu": "a CPU", "cuda": "a CUDA GPU", "mps": "an Apple GPU"}.get(device_kind, device_kind)
    said = f"{auto.name}, for {size(corpus_bytes)} of text on {machine}; --preset NAME or any flag overrides it"
    return auto.name, dict(auto.values), said


def settle_auto(config: Config, device_kind: str, corpus_bytes: int) -> str:
    """What nobody chose in `config` is what `auto` chooses; return the sentence to say.

    A given optimizer or learning rate takes the preset's optimizer away: its learning rate is no measure for another.
    """
    name, values, said = choose_preset(device_kind, corpus_bytes)
    own = [leaf for leaf in OWN_OPTIMIZER if config.given(leaf)]
    if own and "optimizer" in values:
        values = without_optimizer(values)
        said += f"; without its optimizer, because {' and '.join(own)} {'is' if len(own) == 1 else 'are'} given"
    config.settle(name, values)
    return said

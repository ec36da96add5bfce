"""A model, metrics and text given from Python: their own names and sizes, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import textmill as tm
from support.own_network import SHORT, Network
from textmill.errors import ConfigError, TextmillError

# --- weights of one's own -------------------------------------------------------------------------


class Named(Network):
    """Has weights and a stored buffer with names that known families leave out or write another way."""

    def __init__(self) -> None:
        super().__init__()
        self.h, self.layers, self.attn = nn.Linear(8, 8), nn.Linear(8, 8), nn.Module()
        self.attn.register_buffer("bias", torch.ones(8))

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.layers(self.h(self.embedding(tokens))) * self.attn.bias)


def test_own_weights_are_resumed_by_their_own_names(book: Path, tmp_path: Path) -> None:
    """Six steps and three more end as nine in one go, whatever a known family calls its weights."""
    settings = {**SHORT, "save_steps": 3, "cache_dir": tmp_path / "cache"}
    tm.train(data=book, model=Named(), **settings, max_steps=6, output_dir=tmp_path / "run")
    tm.train(data=book, model=Named(), **settings, max_steps=9, resume=True, output_dir=tmp_path / "run")
    checkpoint = tmp_path / "run/checkpoints/step-0000009/model.safetensors"
    assert {"h.weight", "layers.weight", "attn.bias"} <= load_file(checkpoint).keys()


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"), [(100, 257, "cannot read the id"), (257, 100, "scores for 100")]
)
def test_a_model_of_a_smaller_vocabulary_is_refused(
    book: Path, tmp_path: Path, inputs: int, outputs: int, said: str
) -> None:
    """Before anything is written; the sentence names the vocabulary to build the model with."""
    model = Network()
    model.embedding, model.head = nn.Embedding(inputs, 8), nn.Linear(8, outputs)
    with pytest.raises(ConfigError, match=rf"{said}.*vocab_size=257"):
        tm.train(data=book, model=model, **SHORT, max_steps=2, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert model.training


# --- what does not fit is said in one line ----------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": 2}, "model is int, not a torch.nn.Module; architecture= and preset="),
        ({"model": "gpt2"}, "model: must name an object as package.module:attribute, not 'gpt2'; .* architecture"),
        (
            {"metrics": {"m": lambda logits, batch: logits.mean()}},
            r"the metric m returned a tensor, not the pair",
        ),
        ({"metrics": {"m": lambda logits, batch: (None, 1)}}, "the metric m returned None as its sum: .* numbers or"),
        ({"metrics": {"m": lambda logits, batch: (1, "x")}}, "the metric m returned str as its count: .* numbers or"),
        ({"metrics": {"m": lambda logits: (0, 1)}}, r"the metric m cannot be measured: it takes \(logits\), and is"),
        ({"metrics": {"m": lambda a, b, c: (0, 1)}}, r"it takes \(a, b, c\), and is called with \(logits, batch\)"),
        ({"metrics": {"loss": lambda logits, batch: (0, 1)}}, "the metric name loss is built in: choose another"),
        ({"optimizer": lambda: None}, "optimizer .* cannot be made of groups of parameters: TypeError"),
        ({"data": iter([{"input_ids": [1, 2]}])}, "'input_ids' is list, not text: .* ids are trained on from a .npy"),
    ],
)
def test_parts_of_the_wrong_kind_are_named(book: Path, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    """A name for a model, a mean for a metric, ids for text, refused before there is a run folder."""
    call: dict[str, Any] = {"data": book, **SHORT, "max_steps": 1, "cache_dir": tmp_path / "cache", **given}
    with pytest.raises(TextmillError, match=said):
        tm.train(**call, output_dir=tmp_path / "run")
    assert (tmp_path / "run").exists() == ("returned" in said)  # what a metric returns is known when it measures


def test_functions_for_objects_name_those_for_folders(tmp_path: Path) -> None:
    """`evaluate` takes a module, and a tokenizer is not made where text is generated."""
    with pytest.raises(ConfigError, match=r"model is str.*evaluate_model"):
        tm.evaluate("runs/one", "text.txt")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TextmillError, match="a byte tokenizer is made in training"):
        tm.generate_text(Network(), prompt="I", tokenizer="byte")


def test_a_shape_given_with_a_model_is_said_to_have_no_effect(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is what it is."""
    settings = {**SHORT, "cache_dir": tmp_path / "cache", "max_steps": 1, "num_layers": 7}
    tm.train(data=book, model=Network(), **settings, output_dir=tmp_path / "run")
    assert "d_model, num_layers, num_heads: no effect on the model that was given" in capsys.readouterr().out


def test_a_loop_that_was_left_can_be_resumed(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last lines say how."""
    config = tm.Config(data=book, **SHORT, cache_dir=tmp_path / "cache", max_steps=6, output_dir=tmp_path / "run")
    with tm.assemble(config) as run:
        for step in tm.steps(run):
            if step.number == 2:
                break
    assert f"next        textmill train --output-dir {tmp_path}/run --resume\n" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["one text"], iter(["one text"]), b"text"])
def test_a_text_in_the_place_of_a_configuration_is_named(given: Any) -> None:
    """The first argument is a configuration, as in every function of the package."""
    with pytest.raises(ConfigError, match="is no configuration; text to train on is given as data="):
        tm.train(given)

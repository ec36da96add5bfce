"""Build a model from its configuration."""

import torch

from textmill.config import ModelConfig
from textmill.model.decoder import Decoder
from textmill.model.gpt2 import GPT2Decoder
from textmill.model.initialisation import initialise
from textmill.model.llama import LlamaDecoder

BYTES = 257
"""Default vocabulary size: that of the byte tokenizer, every byte and the EOS token."""


def build_model(config: ModelConfig, *, seed: int | None = None) -> Decoder:
    """Return a new model of this shape on the CPU, in float32, with random weights.

    The same `seed` gives the same weights, and the global random state is not touched; without a seed the weights come
    from the global random state. Without vocab_size the model is one for bytes.

    Raises:
        ConfigError: the numbers of the configuration contradict each other.
    """
    model = empty_model(config)
    initialise(model, torch.Generator().manual_seed(seed) if seed is not None else None)
    return model


def empty_model(config: ModelConfig) -> Decoder:
    """Return a model of this shape with uninitialised weights, to load weights into."""
    config = config.resolved()
    config.derive("vocab_size", BYTES)
    return GPT2Decoder(config) if config.architecture == "gpt2" else LlamaDecoder(config)

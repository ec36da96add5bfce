"""Text from a model: sampling, the token loop with its cache, streaming and stopping."""

from textmill.generation.sampling import Sampling
from textmill.generation.text_generation import generate_text
from textmill.generation.token_loop import generate

__all__ = ["Sampling", "generate", "generate_text"]

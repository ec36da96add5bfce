"""Text from a model: sampling, the token loop with its cache, streaming and stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.imports import lazy_attributes

if TYPE_CHECKING:
    from textmill.generation.sampling import Sampling
    from textmill.generation.text_generation import generate_text
    from textmill.generation.token_loop import generate

__all__ = ["Sampling", "generate", "generate_text"]

__getattr__ = lazy_attributes(
    __name__, {"sampling": ["Sampling"], "token_loop": ["generate"], "text_generation": ["generate_text"]}
)

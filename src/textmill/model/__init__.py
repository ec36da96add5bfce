"""The network: from a configuration to a module that computes logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.imports import lazy_attributes

if TYPE_CHECKING:
    from textmill.model.cross_entropy import cross_entropy_sum
    from textmill.model.decoder import Decoder
    from textmill.model.from_config import build_model
    from textmill.model.kv_cache import Cache

__all__ = ["Cache", "Decoder", "build_model", "cross_entropy_sum"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "kv_cache": ["Cache"],
        "decoder": ["Decoder"],
        "from_config": ["build_model"],
        "cross_entropy": ["cross_entropy_sum"],
    },
)

"""The network, and nothing else: shape in, logits out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmill.model.build import build_model
    from textmill.model.cache import Cache
    from textmill.model.decoder import Decoder
    from textmill.model.loss import cross_entropy_sum

__all__ = ["Cache", "Decoder", "build_model", "cross_entropy_sum"]

_HOMES = {"Cache": "cache", "Decoder": "decoder", "build_model": "build", "cross_entropy_sum": "loss"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""The network: from a configuration to a module that computes logits."""

from textmill.model.cross_entropy import cross_entropy_sum, forward, output_of
from textmill.model.decoder import Decoder
from textmill.model.from_config import build_model
from textmill.model.kv_cache import Cache
from textmill.model.mlp import make_mlp

__all__ = ["Cache", "Decoder", "build_model", "cross_entropy_sum", "forward", "make_mlp", "output_of"]

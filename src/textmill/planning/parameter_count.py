"""The number of parameters of a model and the FLOPs per token, from its shape alone. Exact, without torch.

Letters: D width, F feed-forward width, H query heads, K key/value heads, E head size, L layers, V vocabulary, T tokens.
"""

from dataclasses import dataclass

from textmill.config import ModelConfig
from textmill.errors import ConfigError


@dataclass(frozen=True)
class ParameterCount:
    """Parameters by purpose. A head tied to the embedding counts once, in `embedding`."""

    embedding: int
    positions: int
    attention: int
    feed_forward: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.embedding + self.positions + self.attention + self.feed_forward + self.norms + self.head

    @property
    def without_embeddings(self) -> int:
        """The parameters that scaling laws count: everything but token and position embeddings and the head."""
        return self.attention + self.feed_forward + self.norms


def count_parameters(model: ModelConfig, vocab_size: int | None = None) -> ParameterCount:
    """Return the parameters of `model`; `vocab_size` is used if the model has none of its own.

    Raises:
        ConfigError: no vocabulary size is known, or the shape contradicts itself.
    """
    model = model.resolved()
    vocabulary = model.vocab_size or vocab_size
    if vocabulary is None:
        raise ConfigError("vocab_size: the number of parameters depends on it; set it")
    weights = _matrix_weights(model)
    biases = _biases(model) if model.bias else {"attention": 0, "feed_forward": 0}
    per_norm = model.d_model * (2 if model.norm == "layernorm" and model.bias else 1)
    final_norm = 1 if model.pre_norm else 0
    query_key_norms = 2 * (model.head_dim or 0) if model.qk_norm else 0
    return ParameterCount(
        embedding=vocabulary * model.d_model,
        positions=model.max_seq_len * model.d_model if model.pos_encoding == "learned" else 0,
        attention=model.num_layers * (weights["attention"] + biases["attention"]),
        feed_forward=model.num_layers * (weights["feed_forward"] + biases["feed_forward"]),
        norms=model.num_layers * (2 * per_norm + query_key_norms) + final_norm * per_norm,
        head=0 if model.tie_embeddings else vocabulary * model.d_model,
    )


def flops_per_token(model: ModelConfig, seq_len: int | None = None, *, vocab_size: int | None = None) -> float:
    """Return the floating-point operations that training spends on one token of a row of `seq_len` tokens.

    A multiplication and an addition are two operations; the backward pass costs twice the forward pass. Only
    matrix products are counted, with attention over all T positions and without gradient checkpointing's recomputation:
    the convention of model FLOP utilisation (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).

    Raises:
        ConfigError: as `count_parameters`.
    """
    return 3.0 * forward_flops_per_token(model, seq_len, vocab_size=vocab_size)


def forward_flops_per_token(model: ModelConfig, seq_len: int | None = None, *, vocab_size: int | None = None) -> float:
    """Return the floating-point operations of the forward pass alone, counted as in `flops_per_token`."""
    model = model.resolved()
    length = seq_len or model.max_seq_len
    weights = _matrix_weights(model)
    head = count_parameters(model, vocab_size).embedding  # a tied head multiplies by the embedding too
    scores_and_sums = 2 * length * model.num_heads * (model.head_dim or 0)  # QK^T and AV, weights per query
    return 2.0 * (model.num_layers * (weights["attention"] + weights["feed_forward"] + scores_and_sums) + head)


def _matrix_weights(model: ModelConfig) -> dict[str, int]:
    """Return the entries of one block's matrices: Q, K, V and output, then up (and gate) and down."""
    assert model.num_kv_heads and model.head_dim and model.d_ff
    queries, keys = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    return {
        "attention": model.d_model * (2 * queries + 2 * keys),  # (D, HE) twice, (D, KE) twice
        "feed_forward": model.d_model * model.d_ff * (3 if model.gated else 2),  # (D, F)
    }


def _biases(model: ModelConfig) -> dict[str, int]:
    """Return the entries of one block's biases, where it has them."""
    assert model.num_kv_heads and model.head_dim and model.d_ff
    return {
        "attention": (model.num_heads + 2 * model.num_kv_heads) * model.head_dim + model.d_model,
        "feed_forward": model.d_ff * (2 if model.gated else 1) + model.d_model,
    }

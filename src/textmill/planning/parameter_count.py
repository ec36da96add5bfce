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


def count_parameters(model: ModelConfig) -> ParameterCount:
    """Return the parameters of `model`.

    Raises:
        ConfigError: no vocabulary size is known, or the shape contradicts itself.
    """
    model = model.resolved()
    if model.vocab_size is None:
        raise ConfigError("vocab_size: the number of parameters depends on it; set it")
    blocks = {
        part: model.num_layers * sum(inputs * outputs + outputs * bool(model.bias) for inputs, outputs in maps)
        for part, maps in block_matrices(model).items()
    }
    per_norm = model.d_model * (2 if model.norm == "layernorm" and model.bias else 1)
    final_norm = 1 if model.pre_norm else 0
    query_key_norms = 2 * (model.head_dim or 0) if model.qk_norm else 0
    return ParameterCount(
        embedding=model.vocab_size * model.d_model,
        positions=model.max_seq_len * model.d_model if model.pos_encoding == "learned" else 0,
        **blocks,
        norms=model.num_layers * (2 * per_norm + query_key_norms) + final_norm * per_norm,
        head=0 if model.tie_embeddings else model.vocab_size * model.d_model,
    )


def flops_per_token(model: ModelConfig) -> float:
    """Return the floating-point operations that training spends on one token of a row of full length.

    A multiplication and an addition are two operations; the backward pass costs twice the forward pass. Only
    matrix products are counted, with attention over all T positions and without gradient checkpointing's recomputation:
    the convention of model FLOP utilisation (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).

    Raises:
        ConfigError: as `count_parameters`.
    """
    model = model.resolved()
    matrices = sum(inputs * outputs for maps in block_matrices(model).values() for inputs, outputs in maps)
    head = count_parameters(model).embedding  # a tied head multiplies by the embedding too
    scores_and_sums = 2 * model.max_seq_len * model.num_heads * (model.head_dim or 0)  # QK^T and AV, per query
    return 3.0 * 2.0 * (model.num_layers * (matrices + scores_and_sums) + head)


def block_matrices(model: ModelConfig) -> dict[str, list[tuple[int, int]]]:
    """Return the inputs and outputs of each linear map in one block of a resolved model."""
    assert model.num_kv_heads and model.head_dim and model.d_ff
    width, queries, keys = model.d_model, model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    joined = model.architecture == "gpt2"  # one map for queries, keys and values
    projections = [(width, queries + 2 * keys)] if joined else [(width, queries), (width, keys), (width, keys)]
    return {
        "attention": [*projections, (queries, width)],
        "feed_forward": [(width, model.d_ff)] * (2 if model.gated_mlp else 1) + [(model.d_ff, width)],  # gate, up, down
    }

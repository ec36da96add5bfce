"""How many logits exist at once, in the loss of a micro-batch and in an evaluation: the largest tensors of a run.

Letters: N tokens of a micro-batch, V tokens in the vocabulary, D width of the model.
"""

from textmill.config import ModelConfig

LOGITS_AT_ONCE = 2**26
"""Elements of N*V above which the loss is computed in parts of about so many (256 MB in float32)."""

TILE = 64
"""The tokens of a part and the vocabulary are filled up to a multiple of this, which the products of a GPU need."""

EVALUATION_NUMBERS = 2**24
"""Elements of the largest tensor of an evaluation batch (64 MB), unless training's batch is larger."""

EVALUATION_LOGITS = 2**28
"""Elements of the logits of an evaluation batch, whose metrics need them whole: in a run where the loss is computed in
parts, and when a saved model is evaluated."""


def tokens_at_once(tokens: int, vocab_size: int) -> int | None:
    """Return how many of N tokens have logits at once in the loss, or None: all."""
    if tokens * vocab_size <= LOGITS_AT_ONCE:
        return None
    parts = -(-tokens * vocab_size // LOGITS_AT_ONCE)
    return filled_up(-(-tokens // parts))


def filled_up(number: int) -> int:
    """Return `number`, or the next multiple of TILE: of tokens, or of the columns of a part's logits."""
    return -(-number // TILE) * TILE


def loss_bytes(tokens: int, vocab_size: int, width: int, *, element: int, device: str) -> tuple[int, int]:
    """Return the bytes that the loss takes while it is computed, and those that the backward pass keeps of it.

    At once: logarithms in float32, their gradient, and the gradient of the logits. In parts: the logits of one part,
    their logarithms, and a copy of the head or of its gradient; the gradient of the head is kept.

    element: bytes of a number in the precision of the matrix products.
    """
    numbers = 4  # bytes of a float32
    at_once = tokens_at_once(tokens, vocab_size)
    if at_once is None:
        return 3 * numbers * tokens * vocab_size, 0
    columns = filled_up(vocab_size)
    number = element + numbers + (numbers if device == "cpu" and element < numbers else 0)  # there a copy in float32
    copy = element * columns * width if element < numbers or columns != vocab_size else 0  # of the head
    kept = numbers * columns * width
    return max(at_once * columns * number + copy, kept), kept  # the backward pass multiplies what is kept


def evaluation_rows(model: ModelConfig, batch_size: int, vocab_size: int) -> int:
    """Return the rows of an evaluation batch: as many as fit EVALUATION_NUMBERS, but at least as many as in training.

    The largest is the scores, B*T*V, the attention weights, B*H*T*T, or the three of the feed-forward layer, B*T*F.
    Where training computes the loss in parts, no more rows than EVALUATION_LOGITS allows.
    """
    model = model.resolved()
    widest = max(vocab_size, model.num_heads * model.max_seq_len, 3 * (model.d_ff or 0))
    if tokens_at_once(batch_size * model.max_seq_len, vocab_size) is not None:
        batch_size = min(batch_size, max(1, EVALUATION_LOGITS // (model.max_seq_len * vocab_size)))
    return max(batch_size, EVALUATION_NUMBERS // (model.max_seq_len * widest))

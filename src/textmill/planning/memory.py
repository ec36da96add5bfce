"""The memory of training in bytes: weights, gradients, optimizer, activations, logits. Arithmetic on shapes, no torch.

Weights, gradients and optimizer state are exact. Activations are counted tensor by tensor, as the backward pass keeps
them; tests compare them with what torch really keeps. The overhead of the framework (allocator, compiled code, GPU
context) is an allowance.

Letters: B rows of a micro-batch, T tokens of a row, D width, F feed-forward width, H query heads, K key/value heads,
E head size, L layers, V vocabulary; c bytes of a number in the precision of the matrix products.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from textmill.config import Config, ModelConfig
from textmill.machine.device_memory import RUNTIME
from textmill.planning.logits import evaluation_rows, loss_bytes
from textmill.planning.parameter_count import block_matrices, count_parameters

FLOAT, LONG = 4, 8
"""Bytes of a float32 and of an int64."""

WRITTEN_OUT_LIMIT = 64 * 2**20
"""Attention scores of a layer, B*H*T*S, above which a CPU too uses the fused kernel, which does not store them."""

FLASH = (8, 0)
"""Compute capability of NVIDIA's GPUs from which flash attention runs on them: Ampere."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one process by purpose. `total` is the peak.

    weights, gradients, optimizer: float32 state, exact; an imported optimizer counts as Adam.
    copies: the matrices in half precision, made in every forward pass.
    activations: what is kept for the backward pass. logits: the scores, their logarithms and their gradients.
    working: what one block needs in the backward pass; both gradients of a table that is embedding and head.
    recomputed: the activations of one block, with gradient checkpointing.
    update: what the optimizer's step needs besides its state. evaluation: the scores of an evaluation batch.
    batch: token ids. runtime: the allowance for PyTorch itself.
    accumulated: whether gradients exist already when a backward pass starts.
    """

    weights: int
    gradients: int
    optimizer: int
    copies: int
    activations: int
    logits: int
    working: int
    recomputed: int
    update: int
    evaluation: int
    batch: int
    runtime: int
    accumulated: bool = False

    @property
    def state(self) -> int:
        """Weights and optimizer, allocated during the whole run."""
        return self.weights + self.optimizer

    @property
    def moments(self) -> dict[str, int]:
        """Bytes besides state, batch and runtime, at each moment of a step that may be the peak.

        Gradients are allocated while activations are freed, so the backward pass peaks at its start or end.
        """
        earlier = self.gradients if self.accumulated else 0
        return {
            "start of the backward pass": earlier + self.copies + self.activations + max(self.logits, self.recomputed),
            "end of the backward pass": self.gradients + self.working,
            "update of the weights": self.gradients + self.update,
            "evaluation": self.copies + self.evaluation,
        }

    @property
    def peak_moment(self) -> str:
        """The moment of the peak."""
        return max(self.moments, key=lambda name: self.moments[name])

    @property
    def total(self) -> int:
        """The most bytes in use at once."""
        return self.state + self.batch + self.runtime + self.moments[self.peak_moment]

    def as_dict(self) -> dict[str, Any]:
        """Return all terms in bytes, with the peak and its moment."""
        terms = {name: value for name, value in asdict(self).items() if name != "accumulated"}
        return {**terms, "total": self.total, "peak_moment": self.peak_moment}


@dataclass(frozen=True)
class Shape:
    """A resolved model with the sizes of a micro-batch, for the formulas.

    element: c. masked: a mask keeps documents apart. flash: whether a GPU is new enough for flash attention.
    """

    model: ModelConfig
    rows: int
    element: int
    device: str
    masked: bool = False
    flash: bool = True

    @property
    def tokens(self) -> int:
        return self.rows * self.model.max_seq_len

    @property
    def heads(self) -> tuple[int, int, int]:
        """H, K and E."""
        assert self.model.num_kv_heads and self.model.head_dim
        return self.model.num_heads, self.model.num_kv_heads, self.model.head_dim

    @property
    def logits(self) -> int:
        """B*T*V."""
        assert self.model.vocab_size
        return self.tokens * self.model.vocab_size

    @property
    def feed_forward(self) -> int:
        """B*T*F."""
        assert self.model.d_ff
        return self.tokens * self.model.d_ff

    @property
    def scores(self) -> int:
        """B*H*T*T: the attention scores of a layer."""
        return self.tokens * self.model.num_heads * self.model.max_seq_len

    @property
    def written_out(self) -> bool:
        """Whether the scores are stored, because no fused kernel is used."""
        return self.device == "cpu" and self.scores <= WRITTEN_OUT_LIMIT

    @property
    def by_hand(self) -> bool:
        """Whether a block's attention has a derivative written by hand, and maps of one input are one product."""
        return self.written_out

    @property
    def half(self) -> bool:
        return self.element < FLOAT

    @property
    def repeats_keys(self) -> bool:
        """Whether a GPU gets the keys and values of several queries once for each of them."""
        heads, kv_heads, _ = self.heads
        flash = groups_heads(half=self.half, masked=self.masked, flash=self.flash)
        return self.device == "cuda" and heads != kv_heads and not flash


@dataclass(frozen=True)
class StepSettings:
    """How a step is executed, as far as memory depends on it.

    batch_size: rows of a micro-batch. accumulation: micro-batches per step. validation_rows: rows of an evaluation
    batch (None: `evaluation_rows`). precision: fp32, bf16 or fp16. device: cpu, cuda or mps. processes: with several,
    gradients are exchanged and stay allocated from the first to the last step. sharded: weights, gradients and
    optimizer state are divided among the processes. masked: a mask keeps documents of one row apart.
    """

    batch_size: int
    accumulation: int = 1
    validation_rows: int | None = None
    optimizer: str = "adamw"
    momentum: float | None = None
    precision: str = "fp32"
    device: str = "cpu"
    processes: int = 1
    sharded: bool = False
    masked: bool = False

    @classmethod
    def of(cls, config: Config, *, precision: str, device: str, processes: int = 1) -> StepSettings:
        """Return the settings of a run's steps."""
        training = config.training
        return cls(
            batch_size=training.batch_size,
            accumulation=training.gradient_accumulation_steps,
            validation_rows=training.eval_batch_size,
            optimizer=training.optimizer,
            momentum=training.momentum,
            precision=precision,
            device=device,
            processes=processes,
            sharded=training.engine == "fsdp",
            masked=config.data.pack_sequences and config.data.mask_documents,
        )


def estimate_memory(model: ModelConfig, step: StepSettings) -> Memory:
    """Return the memory that training `model` on rows of its full context takes in each process.

    Raises:
        ConfigError: no vocabulary size is known, or the shape contradicts itself.
    """
    model = model.resolved()
    count = count_parameters(model).total
    shape = Shape(
        model,
        step.batch_size,
        FLOAT if step.precision == "fp32" else 2,
        step.device,
        masked=step.masked,
        flash=step.precision != "fp16",  # which is chosen on a GPU that is too old for bf16, and for flash attention
    )
    size = model.vocab_size or 0
    rows = step.validation_rows or evaluation_rows(model, step.batch_size, size)
    loss, kept_of_loss = loss_bytes(shape.tokens, size, model.d_model, element=shape.element, device=step.device)
    block = block_activations(shape)
    stream = shape.tokens * model.d_model * FLOAT
    block_copies, head_copy = weight_copies(shape)
    differentiated = block + block_copies + 2 * (stream + shape.feed_forward * shape.element)
    again = model.gradient_checkpointing  # then only the input of each block is kept
    table = FLOAT * size * model.d_model if model.tie_embeddings else 0
    share = 1.0 / step.processes if step.sharded else 1.0
    return Memory(
        weights=int(count * FLOAT * share),
        gradients=int(count * FLOAT * share),
        optimizer=int(optimizer_bytes(model, step.optimizer, momentum=step.momentum) * share),
        copies=head_copy + (0 if again else model.num_layers * block_copies),
        activations=model.num_layers * (stream if again else block) + outer_activations(shape) + kept_of_loss,
        logits=loss,
        working=max(differentiated, 2 * table),
        recomputed=differentiated if again else 0,
        update=update_bytes(shape, step.optimizer),
        evaluation=_evaluation(replace(shape, rows=rows)),
        batch=2 * LONG * shape.tokens * step.accumulation,
        runtime=RUNTIME.get(step.device, RUNTIME["cpu"]),
        accumulated=step.accumulation > 1 or step.processes > 1,
    )


def groups_heads(*, half: bool, masked: bool, flash: bool) -> bool:
    """Whether a CUDA GPU has a kernel for queries that share keys which does not store the attention scores.

    Flash attention alone: in half precision, without a mask, on a GPU that is new enough (`FLASH`). The other kernel
    that stores no scores wants as many keys as queries. flash: whether the GPU is new enough.

    Source: sdp_utils.cpp of PyTorch 2.11, can_use_flash_attention and can_use_mem_efficient_attention.
    """
    return half and flash and not masked


def optimizer_bytes(model: ModelConfig, optimizer: str, *, momentum: float | None = None) -> int:
    """Return the bytes of the optimizer's state: exact for ours; an imported one counts as Adam."""
    model = model.resolved()
    total = count_parameters(model).total
    matrices, others = _tensors(model)
    if optimizer == "sgd":
        return 0 if momentum == 0 else FLOAT * total
    if optimizer == "muon":
        in_matrices = _matrix_parameters(model)
        return FLOAT * (in_matrices + 2 * (total - in_matrices) + others)
    return FLOAT * (2 * total + matrices + others)  # two moments, and a counter per tensor


def update_bytes(shape: Shape, optimizer: str) -> int:
    """Return the bytes that the optimizer's step needs besides its state: none where one kernel works in place."""
    if optimizer != "muon":
        return 0
    # Muon keeps the updates of all matrices. Those of one shape are stacked; an iteration needs the matrices before and
    # after it, two Gram matrices and in float32 a transposed copy; half precision is converted back at the end.
    most = 0
    for (rows, columns), count in _matrix_shapes(shape.model).items():
        stacked, gram = rows * columns * count, min(rows, columns) ** 2 * count
        iterating = (FLOAT + (2 if shape.half else 3) * shape.element) * stacked + 2 * shape.element * gram
        most = max(most, iterating, (FLOAT + shape.element + FLOAT) * stacked)
    return FLOAT * _matrix_parameters(shape.model) + most


def weight_copies(shape: Shape) -> tuple[int, int]:
    """Return the bytes of the copies of one block's matrices, and of the head's: in half precision, or side by side."""
    if not shape.half:
        return FLOAT * _side_by_side(shape), 0
    block = _matrix_parameters(shape.model) // shape.model.num_layers
    return shape.element * block, shape.element * (shape.model.vocab_size or 0) * shape.model.d_model


def block_activations(shape: Shape) -> int:
    """Return the bytes that the backward pass keeps of one block."""
    model, c, tokens = shape.model, shape.element, shape.tokens
    heads, kv_heads, size = shape.heads
    width = model.d_model
    stream = 2 * tokens * (width * FLOAT + _norm_statistics(model))  # inputs of both norms, with their statistics
    # Inputs of the linear maps. Half precision makes one copy for each map of llama's separate projections.
    separate = model.architecture != "gpt2"
    attention_inputs = 3 if shape.half and separate and not shape.by_hand else 1
    mlp_inputs = 2 if shape.half and model.gated_mlp and not _by_hand(shape) else 1
    inputs = tokens * c * ((attention_inputs + mlp_inputs) * width + heads * size)
    normed = 0
    if model.qk_norm and separate:
        norm_input = FLOAT if shape.device == "cuda" else c  # autocast on a GPU computes norms in float32
        normed = tokens * (heads + kv_heads) * (FLOAT if shape.by_hand else size * norm_input + FLOAT)
        normed += (heads + kv_heads) * size * FLOAT if shape.by_hand else 0  # the gains, once per head
    return stream + inputs + normed + _attention(shape) + _feed_forward(shape) + 2 * _dropout(shape, c)


def outer_activations(shape: Shape) -> int:
    """Return the bytes that the backward pass keeps outside the blocks, without logits."""
    model, tokens = shape.model, shape.tokens
    final_norm = tokens * (model.d_model * FLOAT + _norm_statistics(model)) if model.pre_norm else 0
    head_input = tokens * model.d_model * shape.element
    angles = 2 * model.max_seq_len * shape.heads[2] * shape.element if model.pos_encoding == "rope" else 0
    mask = tokens * model.max_seq_len * shape.element if shape.masked and shape.device == "cuda" else 0
    return final_norm + head_input + angles + mask + _dropout(shape, FLOAT)


def _attention(shape: Shape) -> int:
    """Return the bytes of queries, keys and values, and of the weights, B*H*T*T, or of one number per query."""
    heads, kv_heads, size = shape.heads
    c, dropout = shape.element, bool(shape.model.attention_dropout)
    kept = shape.tokens * (heads + 2 * (heads if shape.repeats_keys else kv_heads)) * size * c
    if shape.by_hand:  # before and after norms and rotation; stacked once more if several queries share a key
        kept = 2 * kept - (shape.tokens * size * c if kv_heads == 1 else 0)  # a single head of values is not copied
        kept += shape.tokens * heads * size * c if heads != kv_heads else 0
        return kept + shape.scores * c * (2 if dropout else 1)
    if shape.written_out or (shape.device != "cuda" and dropout) or shape.device == "mps":
        return kept + shape.scores * c * (3 if dropout else 1)
    return kept + shape.tokens * heads * FLOAT


def _by_hand(shape: Shape) -> bool:
    """Whether the gate has a derivative of its own, which keeps less: SwiGLU on a CPU."""
    return shape.device == "cpu" and bool(shape.model.gated_mlp) and shape.model.activation == "silu"


def _feed_forward(shape: Shape) -> int:
    """Return the bytes of gate, its activation, up and their product; or of the activation's input and output."""
    gated = 3 if _by_hand(shape) else 4
    tensors = gated if shape.model.gated_mlp else 1 if shape.model.activation == "relu" else 2
    return tensors * shape.feed_forward * shape.element


def _dropout(shape: Shape, element: int) -> int:
    """Return the bytes of one dropout mask: as large as its input on a CPU, a byte per element on a GPU."""
    per_element = element if shape.device == "cpu" else 1
    return shape.tokens * shape.model.d_model * per_element if shape.model.dropout else 0


def _norm_statistics(model: ModelConfig) -> int:
    """Return the bytes that a norm keeps of one token besides its input."""
    return FLOAT if model.norm == "rmsnorm" else 2 * FLOAT


def _evaluation(shape: Shape) -> int:
    """Return the peak bytes of an evaluation batch: in the head and the loss, or in the widest part of a block."""
    heads, kv_heads, size = shape.heads
    tokens, c = shape.tokens, shape.element
    logits = shape.logits * (c + FLOAT + (FLOAT if shape.half else 0))
    attention = 2 * tokens * (heads + 2 * kv_heads) * size * c + (2 * shape.scores * c if shape.written_out else 0)
    feed_forward = (3 if shape.model.gated_mlp else 2) * shape.feed_forward * c
    return max(logits, attention, feed_forward) + 2 * tokens * shape.model.d_model * FLOAT


def _matrix_shapes(model: ModelConfig) -> Counter[tuple[int, int]]:
    """Return how many matrices of each shape the blocks have; Muon stacks those of one shape."""
    shapes = [shape for maps in block_matrices(model).values() for shape in maps]
    return Counter(shapes * model.num_layers)


def _matrix_parameters(model: ModelConfig) -> int:
    return sum(rows * columns * count for (rows, columns), count in _matrix_shapes(model).items())


def _side_by_side(shape: Shape) -> int:
    """Return the numbers in the matrices of one block that are stacked to be one product."""
    if shape.device != "cpu":
        return 0
    maps = block_matrices(shape.model)
    stacked = maps["attention"][:-1] if shape.by_hand and shape.model.architecture != "gpt2" else []
    stacked = stacked + (maps["feed_forward"][:-1] if _by_hand(shape) else [])
    return sum(rows * columns for rows, columns in stacked)


def _tensors(model: ModelConfig) -> tuple[int, int]:
    """Return the number of matrices in the blocks and of other parameter tensors."""
    maps = (2 if model.architecture == "gpt2" else 4) + (3 if model.gated_mlp else 2)
    per_norm = 2 if model.norm == "layernorm" and model.bias else 1
    norms = 2 * per_norm + (2 if model.qk_norm else 0)
    outer = 1 + (model.pos_encoding == "learned") + (0 if model.tie_embeddings else 1)
    outer += per_norm if model.pre_norm else 0
    return maps * model.num_layers, model.num_layers * (norms + (maps if model.bias else 0)) + outer

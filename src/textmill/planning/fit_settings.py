"""Fit a configuration to its text and compute the length of the run: one rule for plan and run."""

from textmill.config import consistency
from textmill.config.run_config import Config
from textmill.planning.run_length import Length, plan_length


def fit_run(
    config: Config,
    *,
    num_rows: int,
    row_tokens: int,
    vocab_size: int,
    learned: bool,
    world_size: int = 1,
    own_model: bool = True,
) -> tuple[Length, list[str]]:
    """Fit the values of `config` that nobody chose to the text and each other; return the run's length and the changes.

    num_rows: rows of the training set, of row_tokens targets each. vocab_size: the tokenizer's; learned: a BPE
    tokenizer was trained on this text and may have fewer tokens than it was asked for. own_model: the configuration
    describes the model, which was not passed as an object.

    Raises:
        ConfigError: a chosen value does not fit.
    """
    said = consistency.fit_model(config) if own_model else []
    said += consistency.fit_vocab(config, vocab_size, "bpe" if learned else "given")
    said += consistency.fit_batch(config, num_rows, world_size)
    settings = config.training
    length = plan_length(
        rows_per_epoch=num_rows,
        rows_per_step=settings.batch_size * settings.gradient_accumulation_steps * world_size,
        row_tokens=row_tokens,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        max_tokens=settings.max_tokens,
        max_time=settings.max_time,
    )
    if length.total_steps is not None:
        said += consistency.fit_warmup(config, length.total_steps)
    return length, said

"""How good the model in training is: its metrics on the validation set, and text that it writes."""

import re

from textmill.console.whole_characters import cut
from textmill.data.store.corpus import Corpus
from textmill.evaluation import evaluate_batches as evaluation
from textmill.generation.text_generation import generate_text
from textmill.machine.kernel_choices import random_order_allowed
from textmill.training.progress import Step
from textmill.training.run import Run

_PROMPT_CHARACTERS = 32
"""Length of the text that samples continue when no prompt is set, approximately."""


def evaluate(run: Run) -> dict[str, float]:
    """Return the run's metrics over its whole validation set, over all processes; empty without validation text.

    For every set with a name they include `val_loss/NAME` [nats per token], and `val_bits_per_byte/NAME` where the size
    of its text is known.
    """
    with run.reporting.screen.during("evaluating"):  # the first batch may compile the model again
        return _evaluate(run)


def _evaluate(run: Run) -> dict[str, float]:
    result: dict[str, float] = {}
    show = run.reporting.screen.evaluating
    for index, text in enumerate(run.held_out):
        total = text.batches.num_targets
        part = evaluation.evaluate(
            run.model,
            text.batches,
            run.metrics if index == 0 else {},
            num_bytes=text.num_bytes,
            unknown=evaluation.Unknown.of(run.tokenizer),
            autocast=run.engine.precision.autocast,
            interrupted=run.stop_together,
            reduce=run.world.sum,
            progress=lambda done, total=total: show(min(done * run.world.size, total), total),
        )
        if index == 0:
            result |= part
        if text.name is not None:
            result |= {f"val_{key}/{text.name}": part[key] for key in ("loss", "bits_per_byte") if key in part}
    return result


def sample(run: Run) -> str:
    """Return the sample prompt and its continuation by the model as it is now.

    The draw depends on the seed and the step only. Returns "" without a tokenizer.
    """
    if run.tokenizer is None:
        return ""
    settings = run.config.training
    with random_order_allowed():  # a GPU sums probabilities so, and the text is not learned from
        return generate_text(
            run.model,
            run.tokenizer,
            run.sample_prompt,
            max_new_tokens=settings.sample_tokens,
            temperature=settings.sample_temperature,
            top_p=settings.sample_top_p,
            seed=settings.seed + run.progress.step,
            interrupted=run.signals.check if run.world.size == 1 else None,  # several wait for each other
        )


def answers_prompt(run: Run, step: Step) -> bool:
    """Whether the run ends with this step and was given a prompt, which the finished model continues."""
    asked = run.config.training.sample_prompt is not None and run.tokenizer is not None
    return asked and (step.last or run.stopped_early)


def first_words(prompt: str | None, corpus: Corpus) -> str:
    """Return the prompt of a run's samples: the one that was set, else the first words of the held-out text."""
    if prompt is not None or corpus.tokenizer is None:
        return prompt or ""
    store = corpus.validation or corpus.train
    text = corpus.tokenizer.decode(store.read(0, min(2 * _PROMPT_CHARACTERS, store.num_tokens))).rstrip("\ufffd")
    if text[:1].islower():  # perhaps the end of a word: the held-out part of a single text begins anywhere
        text = re.sub(r"^\S{1,20}\s+(?=\S)", "", text)
    words = re.match(rf"(?s).{{1,{_PROMPT_CHARACTERS}}}(?!\S)", text)
    return words[0] if words else cut(text, _PROMPT_CHARACTERS)

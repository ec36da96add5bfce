"""Text that the model in training writes, for a person to see how good it is."""

from textmill.data.store.corpus import Corpus
from textmill.generation.text_generation import generate_text
from textmill.training.progress import Step
from textmill.training.run import Run

DEFAULT_PROMPT_TOKENS = 8
"""Tokens of the validation text (else the training text) that samples continue when no prompt is set."""


def sample(run: Run) -> str:
    """Return the sample prompt and its continuation by the model as it is now.

    The draw depends on the seed and the step only. Returns "" without a tokenizer.
    """
    if run.tokenizer is None:
        return ""
    settings = run.config.training
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
    return asked and (step.last or run.progress.early_stopped)


def first_words(prompt: str | None, corpus: Corpus) -> str:
    """Return the prompt of a run's samples: the one that was set, else the first tokens of the held-out text."""
    if prompt is not None or corpus.tokenizer is None:
        return prompt or ""
    store = corpus.validation or corpus.train
    return corpus.tokenizer.decode(store.read(0, min(DEFAULT_PROMPT_TOKENS, store.num_tokens)))

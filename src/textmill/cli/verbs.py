"""The verbs of the command line, and the parser that knows them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

VERBS = {
    "train": ("textmill.cli.train:train", "Train a model on your text."),
    "plan": ("textmill.cli.plan:plan", "Estimate what a run will take: parameters, steps, memory, disk, time."),
    "evaluate": ("textmill.cli.evaluate:evaluate", "Measure a model: loss, perplexity, bits per byte, accuracy."),
    "generate": ("textmill.cli.generate:generate", "Continue a prompt with a model."),
    "prepare": ("textmill.cli.prepare:prepare", "Read and tokenize text once, to train on it many times."),
    "data": (
        "textmill.cli.data:data",
        "Look at a corpus: lengths, scripts, languages, suspicious text.",
    ),
    "sweep": ("textmill.cli.sweep:sweep", "Try many values of settings, and rank them."),
    "report": ("textmill.cli.report:report", "Write a report of a run as one HTML page."),
    "runs": ("textmill.cli.runs:app", "List runs, and compare them."),
    "verify": ("textmill.cli.verify:verify", "Check that all files of a run are intact."),
    "tokenizer": ("textmill.cli.tokenizer:app", "Train, use and inspect tokenizers."),
    "config": ("textmill.cli.config:app", "Show every setting of a run, and where its value comes from."),
    "presets": ("textmill.cli.presets:presets", "List the presets, or show the values of one."),
    "doctor": ("textmill.cli.doctor:doctor", "Examine this machine: what it has, how fast it is, what is slow."),
    "cache": ("textmill.cli.cache:app", "List and clear the prepared text that is kept for later runs."),
    "completion": ("textmill.cli.completion:completion", "Print the script that completes commands in a shell."),
}
"""Verb -> the function or app that runs it, and its line in the list of verbs."""


def make_app() -> App:
    """Return the parser of the command line. A verb is imported when it is called."""
    from cyclopts import App, Group

    from textmill.cli.help_pages import formatter
    from textmill.version import VERSION

    app = App(
        name="textmill",
        help="Train transformer language models from scratch on your own text.",
        help_epilogue="textmill COMMAND --help explains a command. --debug shows where an error comes from.",
        help_format="plaintext",
        help_formatter=formatter(),
        version=VERSION,
        result_action="return_value",
        group_commands=Group("Commands", sort_key=0),
    )
    for order, (name, (target, text)) in enumerate(VERBS.items()):
        app.command(target, name=name, help=text, sort_key=order)
    return app

"""textmill generate: text from a model."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from textmill.cli.help_pages import Builder, Device, Json, Model
from textmill.console.screen import Screen, waiting
from textmill.console.standard_streams import note, piped_in, read_input, write, write_json, write_text
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from textmill.checkpoint.model_folder import Loaded


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """How a continuation is made: arguments of `textmill.generate_text`.

    Parameters
    ----------
    max_new_tokens
        Length of the continuation, in tokens.
    temperature
        Randomness: 0 always takes the most likely token, 1 samples from the model's own distribution.
    top_k
        Choose among this many of the most likely tokens.
    top_p
        Choose among the most likely tokens that together have this share of the probability.
    min_p
        Leave out tokens below this share of the most likely token's probability.
    repetition_penalty
        Above 1, tokens that occurred already become less likely.
    suffix
        Text that follows: what is between prompt and suffix is written. For models trained with --fim-rate.
    stop
        Text at which to stop; may be repeated.
    num_samples
        Number of continuations.
    seed
        Equal seeds give equal text.
    tokenizer
        Tokenizer to use instead of the model's own.
    """

    max_new_tokens: int = 100
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    suffix: str | None = None
    stop: Annotated[list[str] | None, Parameter(negative=())] = None
    num_samples: int = 1
    seed: int | None = None
    tokenizer: str | Path | None = None


def generate(
    model: Model,
    /,
    *,
    prompt: str | None = None,
    options: Options = Options(),
    builder: Builder = None,
    device: Device = "auto",
    interactive: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Json = False,
) -> int:
    """Continue a prompt, and print prompt and continuation.

    Parameters
    ----------
    prompt
        Text to continue. Unset: standard input if it is a pipe, else nothing.
    interactive
        Ask for one prompt after the other; Ctrl-D ends.

    Examples
    --------
    textmill generate runs/book --prompt "Once"
    textmill generate runs/book --prompt "Once" --temperature 1 --top-p 0.95
    textmill generate runs/book --interactive
    """
    if interactive and (json or prompt is not None or options.suffix is not None):
        raise ConfigError("--interactive asks for prompts: leave --prompt, --suffix and --json out")
    if interactive and sys.stdin is None:
        raise ConfigError("--interactive asks for prompts, and standard input is closed")
    if prompt is None and not interactive:
        prompt = read_input("--prompt") if piped_in() else ""
    with waiting("loading the model") as screen:
        from textmill.checkpoint.model_folder import load_model
        from textmill.machine.device_choice import choose_device
        from textmill.machine.kernel_choices import limit_threads

        limit_threads()
        loaded = load_model(model, choose_device(device), builder=builder, say=screen.say)
    if prompt is None:
        return _converse(loaded, replace(options, num_samples=1))
    _print(loaded, prompt, options, json)
    return 0


def _continue(loaded: Loaded, prompt: str, options: Options, **listeners: Any) -> list[str]:
    """Return the continuations, as many as came before an interruption."""
    from textmill.generation import generate_text
    from textmill.training.signals import SignalFlag

    screen, done = Screen(stream=sys.stderr), count()
    with SignalFlag() as signals:

        def interrupted() -> bool:  # asked before every token
            if not listeners:  # else the text itself is the progress
                screen.generating(next(done), options.max_new_tokens)
            return signals.interrupted()

        try:
            text = generate_text(
                loaded,
                prompt=prompt,
                include_prompt=False,
                say=note,
                interrupted=interrupted,
                **{**asdict(options), "stop": tuple(options.stop or ())},
                **listeners,
            )
        finally:
            screen.end()
    if signals.raised == signal.SIGINT:
        raise KeyboardInterrupt
    signals.check()
    return [text] if isinstance(text, str) else text


def _print(loaded: Loaded, prompt: str, options: Options, as_json: bool) -> None:
    if as_json:
        texts = _continue(loaded, prompt, options)
        suffix = {} if options.suffix is None else {"suffix": options.suffix}
        write_json({"model": loaded.path, "prompt": prompt, **suffix, "seed": options.seed, "continuations": texts})
    elif options.num_samples == 1:
        _stream(loaded, prompt, options)
    else:
        for number, text in enumerate(_continue(loaded, prompt, options), 1):
            write_text(f"--- {number} of {options.num_samples} ---\n{prompt}{text}{options.suffix or ''}")


def _stream(loaded: Loaded, prompt: str, options: Options) -> None:
    """Print the text while it is generated; what is refused prints nothing."""
    begun = False

    def show(_: int, text: str) -> None:
        nonlocal begun
        write_text(text if begun else prompt + text, end="")
        begun = True

    try:
        _continue(loaded, prompt, options, on_text=show)
        show(0, options.suffix or "")
    finally:
        if begun:
            write("")


def _converse(loaded: Loaded, options: Options) -> int:
    """Ask for prompts until the input ends. Ctrl-C stops a text, and at the prompt the conversation."""
    if not piped_in():
        note("Ctrl-C stops a text, Ctrl-D ends")
    while True:
        try:
            prompt = input("" if piped_in() else "prompt> ")
        except EOFError:
            write("")
            return 0
        except KeyboardInterrupt:
            write("")
            return 130
        try:
            _stream(loaded, prompt, options)
        except KeyboardInterrupt:
            continue

"""textmill generate: text from a model."""

from __future__ import annotations

import json as json_format
import sys
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from textmill.cli.help_pages import Json, Model
from textmill.console.terminal import piped_in, read_input, write
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from textmill.checkpoint.model_folder import Loaded


def generate(
    model: Model,
    /,
    *,
    prompt: str | None = None,
    max_new_tokens: int = 100,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: Annotated[list[str] | None, Parameter(negative=())] = None,
    num_samples: int = 1,
    seed: int | None = None,
    device: str = "auto",
    tokenizer: str | None = None,
    interactive: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Json = False,
) -> int:
    """Let a model go on from a prompt, and print prompt and continuation.

    Parameters
    ----------
    prompt
        Text to go on from; without it, standard input if it is a pipe, else nothing.
    max_new_tokens
        Length of the continuation, in tokens.
    temperature
        Randomness: 0 always takes the likeliest token, 1 draws as the model says.
    top_k
        Choose among this many likeliest tokens.
    top_p
        Choose among the likeliest tokens that hold this share of the probability.
    min_p
        Leave out tokens below this share of the likeliest token's probability.
    repetition_penalty
        Above 1, tokens that are there already become less likely.
    stop
        Text at which to stop; may be given several times.
    num_samples
        Number of continuations.
    seed
        Equal seeds give equal text.
    device
        auto, cpu, cuda, cuda:N or mps.
    tokenizer
        Tokenizer to use instead of the model's own.
    interactive
        Ask for one prompt after the other; Ctrl-D ends.

    Examples
    --------
    textmill generate runs/book --prompt "Once"
    textmill generate runs/book --prompt "Once" --temperature 1 --top-p 0.95
    textmill generate runs/book --interactive
    """
    if interactive and (json or prompt is not None):
        raise ConfigError("--interactive asks for prompts: leave --prompt and --json out")
    if prompt is None and not interactive:
        prompt = read_input("--prompt") if piped_in() else ""
    if interactive and sys.stdin is None:
        raise ConfigError("--interactive asks for prompts, and standard input is closed")
    loaded = _load(model, device)
    options: dict[str, Any] = {
        "tokenizer": tokenizer,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop": tuple(stop or ()),
        "num_samples": num_samples,
    }
    if prompt is None:
        return _converse(loaded, options, seed)
    _print(loaded, prompt, options, seed, json)
    return 0


def _load(model: str, device: str) -> Loaded:
    from textmill.console.progress import waiting

    with waiting("loading the model ...") as say:
        from textmill.checkpoint.model_folder import load_model
        from textmill.machine.device_choice import choose_device

        return load_model(model, choose_device(device), say=say)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _continue(loaded: Loaded, prompt: str, options: dict[str, Any], seed: int | None, **listeners: Any) -> list[str]:
    """Return the continuations, as many as came before an interruption."""
    from textmill.console.progress import counting
    from textmill.generation import generate_text
    from textmill.training.signals import SignalFlag

    with SignalFlag() as signals, counting("writing", "tokens") as progress:
        done = count()

        def interrupted() -> bool:  # asked before every token
            if not listeners:  # else the text itself is the progress
                progress(next(done), options["max_new_tokens"])
            return signals.interrupted()

        text = generate_text(
            loaded,
            prompt=prompt,
            seed=seed,
            include_prompt=False,
            say=_say,
            interrupted=interrupted,
            **options,
            **listeners,
        )
    if signals.raised is not None:
        raise KeyboardInterrupt
    return [text] if isinstance(text, str) else text


def _print(loaded: Loaded, prompt: str, options: dict[str, Any], seed: int | None, as_json: bool) -> None:
    if as_json:
        texts = _continue(loaded, prompt, options, seed)
        result = {"model": str(loaded.path), "prompt": prompt, "seed": seed, "continuations": texts}
        write(json_format.dumps(result, indent=2, ensure_ascii=False))
    elif options["num_samples"] == 1:
        _stream(loaded, prompt, options, seed)
    else:
        for number, text in enumerate(_continue(loaded, prompt, options, seed), 1):
            write(f"--- {number} of {options['num_samples']} ---\n{prompt}{text}")


def _stream(loaded: Loaded, prompt: str, options: dict[str, Any], seed: int | None) -> None:
    """The text appears while it is made; what is refused prints nothing."""
    begun = False

    def show(_: int, text: str) -> None:
        nonlocal begun
        write(text if begun else prompt + text, end="")
        begun = True

    try:
        _continue(loaded, prompt, options, seed, on_text=show)
        show(0, "")
    finally:
        if begun:
            write("")


def _converse(loaded: Loaded, options: dict[str, Any], seed: int | None) -> int:
    """One prompt after the other, until the input ends. Ctrl-C stops a text, and at the prompt the conversation."""
    options = {**options, "num_samples": 1}
    if not piped_in():
        _say("Ctrl-C stops a text, Ctrl-D ends")
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
            _stream(loaded, prompt, options, seed)
        except KeyboardInterrupt:
            continue

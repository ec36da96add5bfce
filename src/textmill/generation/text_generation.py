"""Generate text: prompt, tokenizer, model, and the characters as they become complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from textmill.checkpoint.find_model import resolve_model
from textmill.checkpoint.model_folder import Loaded, load_model
from textmill.console.number_format import plural
from textmill.errors import ConfigError
from textmill.generation.fill_in import fill_in_ids, puts_suffix_first
from textmill.generation.sampling import Sampling
from textmill.generation.stop_strings import StopStrings
from textmill.generation.token_loop import Decoding, decode
from textmill.tokenizers import Tokenizer, load_tokenizer
from textmill.tokenizers.detokenizer import INCOMPLETE

Say = Callable[[str], None]


def generate_text(
    model: nn.Module | Loaded | str | Path | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
    prompt: str = "",
    *,
    suffix: str | None = None,
    max_new_tokens: int = 100,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: Sequence[str] = (),
    num_samples: int = 1,
    seed: int | None = None,
    include_prompt: bool = True,
    on_text: Callable[[int, str], None] | None = None,
    use_cache: bool = True,
    device: str = "cpu",
    interrupted: Callable[[], bool | None] | None = None,
    say: Say | None = None,
    model_path: str | Path | None = None,
    tokenizer_path: str | Path | None = None,
) -> Any:
    """Return `prompt` and its continuation as text; a list of `num_samples` texts if more than one is requested.

    A text ends at `max_new_tokens`, at an EOS token, or before one of the `stop` strings, without special tokens.

    Args:
        model: a model, what `load_model` returned, or whatever `resolve_model` accepts. `model_path` is the same.
        tokenizer: a tokenizer or its path; by default that of the model folder. `tokenizer_path` is the same.
        prompt: tokens that the tokenizer puts around a text, such as BOS, are put around it. If empty and without them,
            the text starts after the EOS token or, if the tokenizer has none, after a line break.
        max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, use_cache: see `generate`.
        suffix: text that follows; what comes between is written, by a model that was trained with fim_rate.
        stop: strings that end a text. num_samples: continuations of the prompt, each with its own random draws.
        include_prompt: False returns the continuation alone. device: of a model that is loaded here.
        on_text: called with (sample, characters) as soon as characters of a continuation are final.
        interrupted: called before every token; true returns the text so far. say: called with remarks on the prompt.

    Raises:
        ConfigError, MissingInputError, DataError: an argument is out of range or missing, or a file cannot be read.
    """
    network, tokenizer, stops = _open(model, tokenizer, model_path, tokenizer_path, device, say)
    ids = prompt_ids(tokenizer, prompt, say)
    if suffix is not None:
        ids, end = fill_in_ids(tokenizer, prompt, suffix, suffix_first=_puts_suffix_first(model, model_path))
        stops |= {end}
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
        raise ConfigError(f"num_samples must be a whole number of at least 1, not {num_samples!r}")
    on_text = on_text or (lambda sample, text: None)
    writers = [_Writer(tokenizer, ids, stop, partial(on_text, sample)) for sample in range(num_samples)]
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    banned = tuple(unprintable_ids(tokenizer, network))
    decoding = Decoding(sampling, max_new_tokens, stops, banned, seed, use_cache, interrupted)
    _write(decode(network, [ids] * num_samples, decoding), writers)
    texts = [f"{prompt}{writer.text}{suffix or ''}" if include_prompt else writer.text for writer in writers]
    return texts if num_samples > 1 else texts[0]


def _puts_suffix_first(model: Any, model_path: str | Path | None) -> bool:
    """Return whether a model that is a folder, or was loaded from one, was trained with the suffix first."""
    path = model.path if isinstance(model, Loaded) else model if isinstance(model, str | Path) else model_path
    return path is not None and puts_suffix_first(resolve_model(path))


def _write(steps: Iterable[list[int | None]], writers: Sequence[_Writer]) -> None:
    """Pass every id to its writer until all texts have ended."""
    for step in steps:
        for writer, token in zip(writers, step):
            if token is not None:
                writer.push(token)
        if all(writer.stop.stopped for writer in writers):
            break
    for writer in writers:
        writer.flush()


class _Writer:
    """One continuation: turns ids into final characters, collects them in `text` and passes them to `show`."""

    def __init__(
        self, tokenizer: Tokenizer, prompt: Sequence[int], stop: Sequence[str], show: Callable[[str], None]
    ) -> None:
        self._stream = tokenizer.stream()
        for token in prompt:  # some tokenizers treat the first token of a text specially
            self._stream.push(token)
        self.stop = StopStrings(stop, tokenizer.normalized)
        self.text = ""
        self._show = show

    def push(self, token: int) -> None:
        self._write(self.stop.push(self._stream.push(token)))

    def flush(self) -> None:
        rest = self._stream.flush().rstrip(INCOMPLETE)  # a text that ends at its limit may end within a character
        self._write(self.stop.push(rest) + self.stop.flush())

    def _write(self, text: str) -> None:
        self.text += text
        if text:
            self._show(text)


def prompt_ids(tokenizer: Tokenizer, prompt: str, say: Say | None = None) -> list[int]:
    """Return the ids that a continuation of `prompt` starts from, at least one.

    `say` is called if an empty prompt was replaced, and if the tokenizer does not know all of the prompt.
    """
    say = say or (lambda sentence: None)
    if tokenizer.drops_text and (lost := tokenizer.unknown_in(prompt)):
        say(f"the tokenizer has no token for {', '.join(map(repr, lost))}: left out of the prompt")
    ids = [*tokenizer.prefix_ids, *map(int, tokenizer.encode(prompt)), *tokenizer.suffix_ids]
    if ids:
        unknown = ids.count(tokenizer.unk_id) if tokenizer.unk_id is not None else 0
        if unknown:
            verb = "is" if unknown == 1 else "are"
            say(f"{unknown} of the prompt's {plural(len(ids), 'token')} {verb} unknown to the tokenizer")
        return ids
    if tokenizer.eos_id is not None:
        return [tokenizer.eos_id]
    newline = [int(token) for token in tokenizer.encode("\n")]
    if newline and newline[0] != tokenizer.unk_id:
        say("the prompt is empty: the text starts after a line break")
        return newline
    say(f"the prompt is empty: the text starts after token 0, {tokenizer.token_text(0)!r}")
    return [0]


def unprintable_ids(tokenizer: Tokenizer, model: nn.Module) -> list[int]:
    """Return the ids that a text must not contain: the unknown token, and ids of the model beyond the tokenizer's."""
    vocab_size = getattr(getattr(model, "config", None), "vocab_size", None) or tokenizer.vocab_size
    banned = list(range(tokenizer.vocab_size, vocab_size))
    if tokenizer.unk_id is not None:
        banned.append(tokenizer.unk_id)
    return banned


def _open(
    model: nn.Module | Loaded | str | Path | None,
    tokenizer: Tokenizer | str | Path | None,
    model_path: str | Path | None,
    tokenizer_path: str | Path | None,
    device: str,
    say: Say | None,
) -> tuple[nn.Module, Tokenizer, frozenset[int]]:
    """Return the model, the tokenizer and the ids that end a text. Raises ConfigError, MissingInputError, DataError."""
    if (model is None) == (model_path is None):
        raise ConfigError("give either model or model_path")
    if tokenizer is not None and tokenizer_path is not None:
        raise ConfigError("give either tokenizer or tokenizer_path")
    source = model if model is not None else model_path
    assert source is not None
    loaded = load_model(source, device, say=say) if isinstance(source, str | Path) else source
    chosen = tokenizer if tokenizer is not None else tokenizer_path
    if chosen is None and isinstance(loaded, Loaded):
        chosen = loaded.tokenizer
        if chosen is None:
            raise ConfigError(f"the model in {loaded.path} has no tokenizer: pass a tokenizer or its folder")
    if chosen is None:
        raise ConfigError("a tokenizer is needed to encode the prompt")
    if not isinstance(chosen, Tokenizer):  # a path written on Windows has backslashes
        chosen = load_tokenizer(str(chosen) if Path(chosen).exists() else str(chosen).replace("\\", "/"))
    ends = frozenset() if chosen.eos_id is None else frozenset((chosen.eos_id,))
    if not isinstance(loaded, Loaded):
        return loaded, chosen, ends
    if loaded.generation.problem is not None:
        raise ConfigError(loaded.generation.problem)
    return loaded.model, chosen, loaded.generation.end_ids or ends

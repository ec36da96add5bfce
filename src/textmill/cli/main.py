"""The command line: one verb per file, imported when it is called, and one line on stderr when something is wrong."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.cli.verbs import VERBS, make_app
from textmill.console.standard_streams import note
from textmill.errors import ConfigError, Interrupted, TextmillError
from textmill.files import not_accessible
from textmill.machine.launcher import launcher_variable
from textmill.machine.memory import NO_THREADS, is_out_of_threads
from textmill.training.signals import CommandSignals

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError

_HELP = frozenset({"--help", "-h", "--help-all"})

BROKEN_PIPE = 141
"""What a shell reports of a program that SIGPIPE ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name, default the process's own."""
    arguments = _strip_launcher(sys.argv[1:] if argv is None else argv)
    before_end = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in before_end
    if debug:
        arguments.remove("--debug")
    _open_missing_streams()
    try:
        with CommandSignals():
            code = parse(arguments)()
            _flush_stdout()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _failed("interrupted", 130, debug)
    except Interrupted as interruption:
        return _failed("interrupted", interruption.exit_code, debug)
    except TextmillError as error:
        return error.exit_code if error.told else _failed(str(error), error.exit_code, debug)
    except OSError as error:
        refusal = not_accessible(error)
        return _failed(str(refusal), refusal.exit_code, debug)
    except MemoryError as error:
        return _failed(f"out of memory{f': {error}' if str(error) else ''}", 70, debug)
    except Exception as error:
        if is_out_of_threads(error):
            return _failed(NO_THREADS, 70, debug)
        advice = "" if debug else "; run it again with --debug, and report what it prints"
        code = _failed(f"a defect of textmill: {type(error).__name__}: {error}{advice}", 70, debug)
        if launcher_variable("WORLD_SIZE", 1) > 1:
            _end_now(code)
        return code


def console() -> None:
    """Run the `textmill` command."""
    sys.exit(main())


def _strip_launcher(argv: Sequence[str]) -> list[str]:
    """Return `argv` without the --local-rank that older launchers put before the verb; the environment has it too."""
    arguments = list(argv)
    while arguments and re.fullmatch(r"--local[-_]rank(=.*)?", arguments[0]):
        arguments = arguments[1 if "=" in arguments[0] else 2 :]
    return arguments


def parse(arguments: list[str]) -> Callable[[], Any]:
    """Return what a command line calls, its arguments converted and bound. Raises ConfigError."""
    app = make_app()
    words = _check_verb(arguments)
    before_end = words[: words.index("--")] if "--" in words else words
    if wants_help := not _HELP.isdisjoint(before_end):
        words = [word for word in before_end if word not in _HELP]
    chain, apps, rest = app.parse_commands(words)
    spelling: dict[str, str] = {}
    if wants_help:
        from textmill.cli.help_pages import complete

        complete(apps[-1], chain, everything="--help-all" in before_end)
        words = [*chain, "--help"]
    elif rest and apps[-1].default_command is not None:
        words, spelling = _canonical(words[: len(words) - len(rest)], apps[-1], rest)
    if words[-1] in ("--help", "--version"):
        from textmill.cli.help_pages import console

        app.console = console()
    return _bind(app, words, spelling)


def _bind(app: App, words: list[str], spelling: dict[str, str]) -> Callable[[], Any]:
    from cyclopts import CycloptsError

    try:
        command, bound, injected = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise ConfigError(_sentence(error)) from None
    given = {"app": app, "spelling": spelling}
    verb = partial(command, *bound.args, **bound.kwargs, **{name: given[name] for name in injected if name in given})
    return partial(_call, verb, spelling)


def _call(verb: Callable[[], Any], spelling: Mapping[str, str]) -> Any:
    """Return what the verb returns. An error about a setting that was typed names it as it was typed."""
    try:
        return verb()
    except TextmillError as error:
        name = re.match(r"(\w+)(?=: | must | is )", str(error))
        if name is not None and name[1] in spelling:
            error.args = (spelling[name[1]] + str(error).removeprefix(name[1]),)
        raise


def _canonical(chain: list[str], app: App, rest: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the whole command line in canonical flags, and how each flag was typed; `app` then knows these alone."""
    from textmill.cli.rewrite_flags import Rewriter
    from textmill.cli.setting_flags import settings_of, with_flags_for

    verb = app.default_command
    assert verb is not None
    app.default_command = with_flags_for(verb, ())  # until the next call
    own = {
        name.removeprefix("--").replace("-", "_"): not argument.is_flag()
        for argument in app.assemble_argument_collection()
        for name in argument.names
        if name.startswith("--") and name not in argument.negatives
    }
    rewriter = Rewriter(chain[0], own | dict.fromkeys(settings_of(verb), True))
    words = rewriter.rewrite(rest)
    app.default_command = with_flags_for(verb, rewriter.spelling)
    return [*chain, *words], rewriter.spelling


def _check_verb(arguments: list[str]) -> list[str]:
    """Return the arguments if their first word is a command or a flag of the program. Raises ConfigError."""
    if not arguments:
        return ["--help"]
    first = arguments[0]
    if first in VERBS:
        return arguments
    if first in _HELP:
        return [*(word for word in arguments[1:2] if word in VERBS), "--help"]
    if first == "--version":
        return [first]
    if first.startswith("-"):
        raise ConfigError(f"{first}: a flag needs a command before it, such as textmill train {first} ...")
    from textmill.config.field_types import closest

    hint = closest(first, VERBS) or f"; the commands are {', '.join(VERBS)}"
    if Path(first).exists():
        hint = f"; to train on it: textmill train {first}"
    raise ConfigError(f"unknown command {first!r}{hint}")


def _sentence(error: CycloptsError) -> str:
    """Return the parser's complaint as one line in our words."""
    from cyclopts import CoercionError, MissingArgumentError, UnusedCliTokensError

    if isinstance(error, MissingArgumentError) and error.argument is not None:
        verb = " ".join(error.command_chain or ())
        return f"{error.argument.name} is missing; textmill {verb} --help explains it"
    if isinstance(error, UnusedCliTokensError):
        return f"{(error.unused_tokens or [''])[0]!r}: one argument too many"
    if isinstance(error, CoercionError) and error.token is not None and error.target_type in (int, float):
        kind = "a whole number" if error.target_type is int else "a number"
        return f"{error.token.keyword}: must be {kind}, not {error.token.value!r}"
    return " ".join(str(error).split()).removesuffix(".")


def _failed(message: str, code: int, debug: bool) -> int:
    if debug:
        for line in traceback.format_exc().splitlines():
            note(line)
    note(f"textmill: error: {' '.join(message.split())}")
    return code


def _end_now(code: int) -> None:
    """End one of several processes that train together: the others are waiting for it.

    What the failed call left behind includes its half of communication under way, and freeing that may wait for them.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _open_missing_streams() -> None:
    """Discard what is printed by a process that was started without standard output or error, or has closed it.

    Their descriptors are taken too: the first file that is opened would get one of them, and all that is printed to it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(getattr(sys, name), "closed", True):
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def _flush_stdout() -> None:
    """Write out what is still in a buffer. The verb has done its work: that nobody reads it is no failure."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        _silence_stdout()


def _silence_stdout() -> None:
    """Keep the interpreter from writing to the closed pipe when it flushes at exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

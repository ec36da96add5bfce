"""Signals set a flag; a second Ctrl-C ends the command, or interrupts the program; the handlers from before return."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress

import pytest

from textmill.errors import ConfigError, Interrupted
from textmill.training.signals import CommandSignals, SignalFlag

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("number", CODES)
def test_the_first_signal_only_sets_the_flag(number: signal.Signals) -> None:
    """Nothing is raised until the run asks; then with the exit code that shells expect."""
    with SignalFlag() as flag:
        flag.check()
        assert flag.raised is None
        assert not flag.interrupted()
        os.kill(os.getpid(), number)
        assert flag.raised == number
        assert flag.interrupted()
        with pytest.raises(Interrupted) as caught:
            flag.check()
        assert caught.value.exit_code == CODES[number]


def test_the_first_of_two_kinds_counts() -> None:
    """SIGTERM followed by Ctrl-C is still a SIGTERM, and does not end the process at once."""
    with SignalFlag() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert flag.raised == signal.SIGTERM


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    """Under nohup SIGHUP is ignored before the program starts: the run goes on when its terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with CommandSignals(), SignalFlag() as flag:
            signal.raise_signal(signal.SIGHUP)
            assert flag.raised is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_break_of_windows_ends_like_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGBREAK, simulated by another signal under its name, is reported as SIGTERM, with its exit code."""
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    with SignalFlag() as flag:
        signal.raise_signal(signal.SIGUSR1)
        assert flag.raised == signal.SIGTERM
    with pytest.raises(Interrupted) as caught, CommandSignals():
        signal.raise_signal(signal.SIGUSR1)
    assert caught.value.exit_code == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_a_library_swallows_ends_the_command(number: signal.Signals) -> None:
    """What goes wrong because of it is not reported, a run inside ends too, and Ctrl-C alone may end an answer."""
    kind = KeyboardInterrupt if number == signal.SIGINT else Interrupted

    def swallowed() -> None:
        with suppress(BaseException):
            signal.raise_signal(number)

    with pytest.raises(kind), CommandSignals():
        swallowed()
        raise AttributeError("half of a module is missing")
    with pytest.raises(ConfigError), CommandSignals():  # said as it is: the command came to its own end
        swallowed()
        raise ConfigError("refused")
    with nullcontext() if number == signal.SIGINT else pytest.raises(Interrupted), CommandSignals():
        swallowed()
        with SignalFlag() as flag:
            assert flag.raised == number


def test_a_second_interrupt_in_a_program_is_a_keyboard_interrupt() -> None:
    """A notebook's kernel lives on: the second interrupt ends the cell, not the process."""
    with SignalFlag() as flag:
        signal.raise_signal(signal.SIGINT)
        assert flag.raised == signal.SIGINT
        time.sleep(0.35)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handlers_from_before_come_back() -> None:
    """After an error too, and when blocks are nested."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(RuntimeError), SignalFlag() as outer:
        with SignalFlag() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
        assert inner.raised == signal.SIGTERM
        assert outer.raised is None
        os.kill(os.getpid(), signal.SIGINT)
        assert outer.raised == signal.SIGINT
        raise RuntimeError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_it_is_inert() -> None:
    """Python allows handlers in the main thread only; a server's worker may train all the same."""
    seen: list[object] = []
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with SignalFlag() as flag:
            seen.append(signal.getsignal(signal.SIGTERM))
            flag.check()
            seen.append(flag.raised)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, None]


PROGRAM = """
import sys, time
from textmill.training.signals import CommandSignals, SignalFlag
with CommandSignals(), SignalFlag(), SignalFlag() as flag:
    flag.notice, flag.last_words = "saving", "ended: that was all"
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
        if flag.raised:
            number, flag.raised = flag.raised, None  # before it is told: the next signal may come at once
            print("raised", number, flush=True)
"""


def start() -> subprocess.Popen[str]:
    command, pipe = [sys.executable, "-c", PROGRAM], subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_ctrl_c_ends_the_command_at_once_with_130() -> None:
    """Of the command, whatever blocks are nested: a person presses again because it takes too long.

    Each time a line on standard error, here a pipe, says what follows.
    """
    with start() as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "raised 2\n"
        time.sleep(0.35)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "saving\nended: that was all\n"


def test_signals_count_where_nobody_reads_standard_error() -> None:
    """The pipe is closed: the first still sets the flag, and the second ends the command with its code."""
    with start() as process:
        assert process.stdout is not None and process.stderr is not None
        process.stderr.close()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "raised 2\n"
        time.sleep(0.35)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130


def test_the_same_key_press_passed_on_by_a_launcher_counts_once() -> None:
    """A launcher sends its workers the SIGINT that the terminal has already sent them: the run must still save."""
    with start() as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "raised 2\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "raised 2\n"
        assert process.poll() is None
        process.kill()

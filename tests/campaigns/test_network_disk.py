"""A run on file systems of networks: without hard links, locks and flushed names, with stale handles and names."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import textmill
from support.interrupted_runs import assert_goes_on, quietly
from support.network_disks import cached_names, network_disk, open_files_stay, stale_handles
from support.run_commands import assert_same_run, assert_same_weights, wait_for
from support.run_moments import after_steps
from textmill.errors import DataError, StaleFileError, TextmillError
from textmill.files import not_accessible

CALLS_BETWEEN = 257
"""The default suite lets one call in so many meet ESTALE, the campaign every one."""

FOR_EVER = 1 << 30


def test_a_run_on_a_network_disk_is_that_on_a_local_one(
    train: Callable[[Path], None], whole: Path, tmp_path: Path
) -> None:
    """The same files to the bit, and one sentence about the missing locks."""
    with network_disk():
        assert quietly(lambda: train(tmp_path / "run")) == 0
    assert_same_run(whole, tmp_path / "run")
    assert (tmp_path / "run/train.log").read_text().count("cannot be locked") == 1


def test_a_run_killed_on_a_network_disk_goes_on(train: Callable[[Path], None], whole: Path, tmp_path: Path) -> None:
    """Killed at nine instants of its first second, and continued there."""

    def die_in_time(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        train(tmp_path / "run")

    with network_disk():
        for tenths in range(1, 10):
            assert quietly(lambda seconds=tenths / 10: die_in_time(seconds)) in (0, -signal.SIGALRM)
        assert_goes_on(tmp_path / "run", train, whole)


@pytest.fixture(scope="module")
def calls(train: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """The calls that a run makes on its files."""
    folder = tmp_path_factory.mktemp("counted") / "run"
    with stale_handles(folder) as stale:
        train(folder)
    return stale.calls


def exit_code(act: Callable[[], None]) -> int:
    """Do `act` in a child process and return its exit code, as the command line would have it."""

    def ended() -> None:
        try:
            act()
        except (TextmillError, OSError) as error:
            traceback.print_exc()
            os._exit((error if isinstance(error, TextmillError) else not_accessible(error)).exit_code)

    return quietly(ended)


@pytest.mark.parametrize(
    ("times", "between"),
    [
        pytest.param(1, CALLS_BETWEEN, id="once-sample"),
        pytest.param(FOR_EVER, 2 * CALLS_BETWEEN, id="for ever-sample"),
        pytest.param(1, 1, id="once-all", marks=pytest.mark.slow),
        pytest.param(FOR_EVER, 1, id="for ever-all", marks=pytest.mark.slow),
    ],
)
def test_stale_handles(
    train: Callable[[Path], None],
    whole: Path,
    calls: list[tuple[str, str]],
    tmp_path: Path,
    times: int,
    between: int,
) -> None:
    """A call that meets ESTALE once costs nothing; one that always does ends the run with 74, and it can go on."""
    assert {kind for kind, _ in calls} >= {"stat", "open", "fsync", "mkdir", "create", "close", "replace", "pwrite"}
    folder = tmp_path / "run"
    for at in range(0, len(calls), between):

        def train_there(at: int = at) -> None:
            with stale_handles(folder, at, times):
                train(folder)

        code = exit_code(train_there)
        assert code in ((0,) if times == 1 else (0, 74)), calls[at]
        if code != 0:
            assert_goes_on(folder, train, whole)
        elif "are lost: they could not be written" in (folder / "train.log").read_text():
            assert times != 1  # a log is never worth a run
            assert_same_weights(whole, folder)
        else:
            assert_same_run(whole, folder)
        shutil.rmtree(folder)


def test_a_machine_that_does_not_see_the_run_yet_resumes_it(
    train: Callable[[Path], None], whole: Path, tmp_path: Path
) -> None:
    """Another machine began the run in a folder that this one remembers as empty: the run goes on, nothing is lost."""
    shared, go, gone = tmp_path / "shared", tmp_path / "go", tmp_path / "gone"
    folder = shared / "run"
    folder.mkdir(parents=True)

    def begin() -> None:
        wait_for(go)
        with after_steps(lambda step: os._exit(0) if step == 10 else None):
            train(folder)

    def look_and_resume() -> None:
        with cached_names(shared, looks=1000):
            assert not (folder / "config.yaml").exists()
            go.touch()
            wait_for(gone)
            assert not (folder / "config.yaml").exists()
            train(folder)

    other_machine = threading.Thread(target=lambda: (quietly(begin), gone.touch()))
    other_machine.start()
    assert quietly(look_and_resume) == 0
    other_machine.join()
    assert_same_run(whole, folder)
    assert "resumed     at step 8 of 12" in (folder / "train.log").read_text()


def test_what_is_open_stays_and_stops_nothing(train: Callable[[Path], None], whole: Path, tmp_path: Path) -> None:
    """Somebody reads the checkpoints and models that a run deletes: it says nothing, and clears up afterwards."""
    folder, readers = tmp_path / "run", []

    def read(step: int) -> None:
        readers.extend(path.open("rb") for path in folder.glob("*/**/*.safetensors"))

    with open_files_stay(tmp_path), after_steps(read):
        train(folder)
    left = list(folder.rglob(".nfs*"))
    assert left
    assert all(path.parent.name.startswith(".tmp-") for path in left)
    assert_same_run(whole, folder)
    assert "cannot be" not in (folder / "train.log").read_text()
    for reader in readers:
        reader.close()
    textmill.train(output_dir=str(folder), resume=True, max_steps=13, threads=1)
    assert not list(folder.rglob(".tmp-*"))


def test_a_prepared_corpus_that_another_machine_replaces(tmp_path: Path) -> None:
    """The same ids are read on from the new files; other ids are refused (65), no file at all is 74."""
    text = tmp_path / "text.txt"

    def prepared(words: str) -> textmill.data.Corpus:
        shutil.rmtree(tmp_path / "corpus", ignore_errors=True)
        text.write_text(words * 300)
        return textmill.prepare(str(text), tokenizer="byte", cache_dir=str(tmp_path / "c"), output=tmp_path / "corpus")

    corpus = prepared("the cat sat on the mat. ")
    expected = corpus.train.read(100, 50).tolist()
    prepared("the cat sat on the mat. ")

    def read() -> list[int]:
        with stale_handles(tmp_path, at=0, times=1):
            return corpus.train.read(100, 50).tolist()

    assert read() == expected
    prepared("the rat sat on the cat. ")
    with pytest.raises(DataError, match="was replaced by another while it was in use"):
        read()
    shutil.rmtree(tmp_path / "corpus")
    with pytest.raises(StaleFileError, match=r"cannot read .*00000\.bin: Stale file handle"):
        read()

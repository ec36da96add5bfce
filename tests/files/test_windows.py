"""Windows, simulated: its names, its locks and its rules for files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.windows_files import WindowsFiles, windows_files
from support.windows_names import loaded_on_windows
from textmill.console import command_line
from textmill.console.command_line import quoted

ROOT = Path(__file__).resolve().parents[2]

CODES = {
    "full disk": 74,
    "prepare": 143,
    "other text in its folder": 2,
    "second run": 2,
    "train": 143,
    "name": 2,
}
"""The exit codes of the commands that are refused or ended; all others end with 0."""

SAME = (".safetensors", ".bin", ".npy", "tokenizer.json", "config.json", "generation_config.json", "samples.jsonl")
"""Ends of the names of files that depend neither on the folder nor on the time."""


class Day:
    """What a day left: the commands by name with exit code and output, and the files."""

    def __init__(self, folder: Path) -> None:
        found = json.loads((folder.parent / "day.json").read_text(encoding="utf-8"))
        self.codes: dict[str, int] = {name: code for name, (code, _) in found["commands"].items()}
        self.printed: dict[str, str] = {name: text for name, (_, text) in found["commands"].items()}
        self.refused: list[str] = found["refused"]
        self.files = {str(path.relative_to(folder)): path for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, Day]:
    """The same day as on Windows and as here, side by side."""
    folders = [tmp_path_factory.mktemp(kind) / "day" for kind in ("windows", "here")]
    path = os.pathsep.join(map(str, (ROOT / "tests", ROOT / "src")))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "0"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "support.windows_day", str(folder), kind],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for folder, kind in zip(folders, ("windows", "here"))
    ]
    for process in started:
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
    return Day(folders[0]), Day(folders[1])


def test_every_command_ends_as_it_should(days: tuple[Day, Day]) -> None:
    """Prepare, train, resume, evaluate, generate, report, verify and clean work; what must be refused is refused."""
    windows, here = days
    for name, code in windows.codes.items():
        assert code == CODES.get(name, 0), f"{name}: {windows.printed[name]}"
    assert here.codes == {name: code for name, code in windows.codes.items() if name != "name"}


def test_the_second_run_is_refused_by_the_lock(days: tuple[Day, Day]) -> None:
    """The lock names its holder, whose text another process can read while the lock is held."""
    assert "runs/one & two is in use by process " in days[0].printed["second run"]


def test_ids_and_checkpoints_are_the_same_bytes(days: tuple[Day, Day]) -> None:
    """Names of files are the same as without Windows' rules, and so is what they contain of ids, weights and states."""
    windows, here = days
    assert sorted(windows.files) == sorted(here.files)
    compared = [name for name, path in windows.files.items() if path.is_file() and name.endswith(SAME)]
    assert len(compared) > 40
    assert [name for name in compared if windows.files[name].read_bytes() != here.files[name].read_bytes()] == []


def test_text_has_line_feeds_alone(days: tuple[Day, Day]) -> None:
    """Everything that is written as text is UTF-8 with LF, where Python's own default is cp1252 with CRLF."""
    read = 0
    for name, path in days[0].files.items():
        if path.suffix in (".json", ".jsonl", ".yaml", ".log", ".md", ".html", ".txt") and path.is_file():
            read += 1
            content = path.read_bytes()
            assert b"\r" not in content and content.decode("utf-8").encode() == content, name
    assert read > 40


def test_nothing_is_left(days: tuple[Day, Day]) -> None:
    """No temporary file, lock or half deleted folder stays, although open files cannot be deleted."""
    assert days[0].refused, "the rules were not asked"
    left = [name for name in days[0].files if Path(name).name.startswith(".") or Path(name).name.endswith("lock")]
    assert left == []


def test_names_differ_in_more_than_case(days: tuple[Day, Day]) -> None:
    """No two names are one where upper and lower case are the same."""
    assert len({name.lower() for name in days[0].files}) == len(days[0].files)


def test_a_name_that_windows_lacks_is_refused(days: tuple[Day, Day]) -> None:
    """A colon in the name of a run would make a hidden stream there, or fail at the first write."""
    assert "--run-name: must be a name that folders can have on Windows, not 'second: try'" in days[0].printed["name"]


@pytest.fixture(scope="module")
def system() -> Any:
    """operating_system as Windows loads it."""
    return loaded_on_windows("textmill.files.operating_system")


def test_positions_without_pread(system: Any, tmp_path: Path) -> None:
    """Bytes are read and written at positions where there is neither pread nor pwrite."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(10)))
    descriptor = os.open(path, os.O_RDWR)
    assert not system.IS_POSIX
    assert system.read_at(descriptor, 3, 4) == bytes([4, 5, 6])
    assert system.read_at(descriptor, 3, 9) == bytes([9])
    buffer = bytearray(4)
    assert system.read_into(descriptor, memoryview(buffer), 7) == 3
    assert buffer == bytes([7, 8, 9, 0])
    assert system.write_at(descriptor, b"\n\r\n", 8) == 3
    os.close(descriptor)
    assert path.read_bytes() == bytes(range(8)) + b"\n\r\n"


def test_the_lock_is_beyond_the_content(system: Any, tmp_path: Path) -> None:
    """One byte far behind the end is locked: others can read the file, but not lock it, until it is closed."""
    path = tmp_path / "lock"
    first = os.open(path, os.O_RDWR | os.O_CREAT)
    assert system.lock(first)
    os.write(first, b"process 7")
    assert path.read_bytes() == b"process 7"
    second = os.open(path, os.O_RDONLY)
    assert not system.lock(second, shared=True)
    os.close(first)
    assert system.lock(second)
    os.close(second)


def test_flushing_opens_for_writing_and_no_folder(system: Any, rules: WindowsFiles, tmp_path: Path) -> None:
    """What is flushed is opened for writing, as Windows demands."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    descriptor = system.open_to_flush(path)
    system.flush(descriptor)
    os.close(descriptor)
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        system.flush(file.fileno())
    assert not rules.refused


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("a:b", True),
        ("NUL", True),
        ("con.txt", True),
        ("com1", True),
        ("end.", True),
        ("end ", True),
        ('a"b', True),
        ("console", False),
        ("com", False),
        (".hidden", False),
        ("lr=1e-4, second", False),
    ],
)
def test_reserved_names(system: Any, name: str, reserved: bool) -> None:
    """Microsoft's list of names that files cannot have; on other systems all may be used."""
    from textmill.files.operating_system import is_reserved

    assert system.is_reserved(name) == reserved
    assert not is_reserved(name)


def test_numbers_of_windows_are_not_those_of_posix(system: Any) -> None:
    """Windows' error 112 is a full disk; the constructor of OSError translates it there, from its fourth argument."""
    from textmill.files.operating_system import system_error

    assert system.system_error(112).errno == 0 and "112" in str(system.system_error(112))
    assert system_error(28).errno == 28 and "No space left" in str(system_error(28))


def words_on_windows(line: str) -> list[str]:
    """Split a command line by the documented rules of Microsoft's C runtime, from 2008 on."""
    words, word, inside, index, begun = list[str](), "", False, 0, False
    while index < len(line):
        if line[index] in " \t" and not inside:
            words += [word] * begun
            word, begun, index = "", False, index + 1
            continue
        begun = True
        slashes = len(line) - index - len(line[index:].lstrip("\\"))
        index += slashes
        if slashes and line[index : index + 1] != '"':
            word += "\\" * slashes
        elif slashes:
            word += "\\" * (slashes // 2)
            if slashes % 2:
                word, index = word + '"', index + 1
        elif line[index] == '"' and inside and line[index + 1 : index + 2] == '"':
            word, index = word + '"', index + 2
        elif line[index] == '"':
            inside, index = not inside, index + 1
        else:
            word, index = word + line[index], index + 1
    return words + [word] * begun


@pytest.mark.parametrize(
    "words",
    [
        ["runs\\one & two"],
        ["C:\\Users\\Ann B\\"],
        ["plain", ""],
        ['say "yes"', "it's"],
        ["a|b", "a^b", "(x)", "50%"],
        ["C:\\texts\\a.txt"],
    ],
)
def test_printed_commands_arrive_whole(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A program on Windows gets the words that were printed, quoted where cmd.exe would act on a character."""
    monkeypatch.setattr(command_line, "IS_POSIX", False)
    line = quoted(*words)
    assert words_on_windows(line) == words
    assert not set("&|^()<>' ;") & set("".join(line.split('"')[::2]).replace(" ", ""))


@pytest.fixture
def rules(tmp_path: Path) -> Iterator[WindowsFiles]:
    """Windows' rules hold below tmp_path."""
    with windows_files(tmp_path) as found:
        yield found


def test_the_rules_are_those_of_windows(rules: WindowsFiles, tmp_path: Path) -> None:
    """The simulation refuses what Windows refuses, and with the same class of error."""
    folder, file = tmp_path / "folder", tmp_path / "folder" / "file"
    folder.mkdir()
    file.write_text("ä\n")
    assert file.read_bytes() == b"\xe4\r\n"
    with file.open("rb"):
        for act in (file.unlink, lambda: file.rename(tmp_path / "b"), lambda: folder.rename(tmp_path / "b")):
            with pytest.raises(PermissionError):
                act()
    (tmp_path / "b").write_bytes(b"")
    with pytest.raises(FileExistsError):
        file.rename(tmp_path / "b")
    assert file.replace(tmp_path / "b").exists()
    with pytest.raises(PermissionError):
        os.open(folder, os.O_RDONLY)
    for name in ("a:b", "nul", "a."):
        with pytest.raises(OSError, match="Windows' error 123"):
            (tmp_path / name).write_bytes(b"")
    with pytest.raises(OSError, match="1314"):
        (tmp_path / "link").symlink_to(folder)
    assert len(rules.refused) == 9

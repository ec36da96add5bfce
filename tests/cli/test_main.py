"""The frame: exit codes, one-line errors, the help pages and how fast they come."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from textmill import __version__
from textmill.cli.main import VERBS, console, main, parse
from textmill.config.setting_lookup import setting_names
from textmill.errors import ConfigError, DataError, Interrupted
from textmill.imports import resolve

PAGES = [
    [],
    *([verb] for verb in VERBS),
    *(["tokenizer", verb] for verb in ("train", "encode", "decode", "inspect")),
    *(["config", verb] for verb in ("show", "schema")),
    ["runs", "compare"],
    *(["cache", verb] for verb in ("list", "clean")),
]


def page(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return a help page."""
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_help_fits_a_narrow_terminal(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page says what it is about and keeps to 80 columns without cutting a word."""
    monkeypatch.setenv("COLUMNS", "80")
    text = page(words, capsys)
    assert text.startswith("Usage: textmill")
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_help_of_train_groups_every_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting has its flag under a heading, with choices and default; hidden spellings are not listed."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["train", "--help-all"]) == 0
    text = capsys.readouterr().out
    for setting in setting_names():
        assert setting == "data" or re.search(rf"--{setting.replace('_', '-')}\b", text), setting
    titles = re.findall(r"╭─ ([^─]+) ─", text)
    assert titles == [
        *("Arguments", "Run", "Data", "Tokenizer", "Model", "Length", "Batch and optimizer", "Machine"),
        *("Evaluation, checkpoints, samples", "Tracking"),
    ]
    flat = " ".join(text.replace("│", " ").split())
    assert "--d-model N Width" in flat and "[default: by preset, else 256]" in flat
    assert "qwen3|llama|gpt2" in flat
    assert "cosine, linear, constant, wsd, step, exponential, polynomial" in flat
    assert "--mixed-precision" not in flat and "spelling" not in flat


def test_help_of_train_is_short(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has what most runs need, and says how to see the rest; verbs with few flags show all of them."""
    monkeypatch.setenv("COLUMNS", "80")
    for verb in (["train"], ["plan"], ["sweep"], ["config", "show"]):
        text = page(verb, capsys)
        assert len(text.splitlines()) < 130 and "--d-model N" in text and "--rope-theta" not in text
        assert f"textmill {' '.join(verb)} --help-all explains" in text
    assert "--help-all" not in page(["prepare"], capsys)
    assert main(["prepare", "--help-all"]) == 0
    assert "--special-tokens" in capsys.readouterr().out


@pytest.mark.parametrize("words", [page for page in PAGES if page], ids=" ".join)
def test_help_says_all_of_the_docstring(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verb's page calls its arguments by their names, and its examples are commands that the parser takes."""
    monkeypatch.setenv("COLUMNS", "80")
    text = page(words, capsys)
    assert "ARGS" not in text.splitlines()[0]
    examples = [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip()]
    assert examples or words in (["completion"], ["tokenizer"], ["config"], ["cache"], ["cache", "list"])
    for example in examples:
        assert callable(parse(shlex.split(example.partition(" > ")[0])[1:]))


def test_where_the_scripts_of_completion_go(capsys: pytest.CaptureFixture[str]) -> None:
    """Its page names a place for each shell."""
    text = page(["completion"], capsys)
    assert "~/.bashrc" in text and "$fpath" in text and "~/.config/fish" in text


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]], ids=" ".join)
def test_help_is_instant(words: list[str]) -> None:
    """A help page comes within half a second of processor time, measured generously for a machine that is shared."""
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([sys.executable, "-m", "textmill", *words], capture_output=True, check=True)
        taken.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
        if taken[-1] < 0.8:
            return
    pytest.fail(f"{taken} seconds")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["generate", "--help"],
        ["presets"],
        ["presets", "gpt2", "--json"],
        ["config", "show", "--d-model", "64"],
        ["config", "schema"],
        ["train", "--dmodel", "3"],
        ["train", "--d-model", "256", "--num-heads", "7"],
    ],
    ids=" ".join,
)
def test_what_needs_no_torch_does_not_import_it(words: list[str]) -> None:
    """Explaining, showing and refusing is instant: what only reads settings leaves torch alone."""
    code = "import sys; from textmill.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the package's version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_no_arguments_show_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone, the command lists its verbs in the order of a run."""
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert sorted(VERBS, key=lambda verb: shown.index(f"│ {verb} ")) == list(VERBS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["xyz"], "unknown command 'xyz'; the commands are train, plan,"),
        (["--lr", "3"], "--lr: a flag needs a command before it, such as textmill train --lr ..."),
        (["train", "--lr", "x"], "--lr: must be a number, not 'x'"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml: no such configuration file"),
        (
            ["train", "--d-model", "256", "--heads", "7"],
            "num_heads 7 (--heads) does not fit d_model 256 (--d-model)",
        ),
        (["train", "-x"], "Unknown option: -x"),
        (["generate"], "MODEL is missing; textmill generate --help explains it"),
        (["generate", "m", "n"], "'n': one argument too many"),
        (["train", "a.txt", "model.dmodel=3"], "--model.dmodel: no such flag; did you mean '--d-model'?"),
        (["cache", "clean", "--older-than-days", "-1"], "--older-than-days: must be at least 0, not -1"),
        (["doctor", "--device", "tpu"], "--device: 'tpu' is not a device"),
        (["prepare", "x", "--output", "o", "--max-repetition", "4"], "--max-repetition is 4.0: give a share from"),
        (["generate", "m", "--top-k", "x"], "--top-k: must be a whole number, not 'x'"),
        (["prepare", "x"], "--output is missing; textmill prepare --help explains it"),
        (["presets", "mediun"], "preset: there is no preset 'mediun'; did you mean 'medium'?"),
        (
            ["generate", "m", "--interactive", "--json"],
            "--interactive asks for prompts: leave --prompt, --suffix and --json out",
        ),
    ],
)
def test_mistakes_get_one_line_and_a_code(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake on the command line is one line on stderr, nothing on stdout, and exit code 2 (66: not there)."""
    code = main(words)
    captured = capsys.readouterr()
    assert captured.err.startswith(f"textmill: error: {message}"[:60]) and message in captured.err
    assert captured.err.count("\n") == 1 and not captured.out
    assert code == (66 if "nowhere" in message else 2)


def test_a_file_in_place_of_a_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`textmill book.txt` is told how to train on the book."""
    book = tmp_path / "book.txt"
    book.write_text("x")
    assert main([str(book)]) == 2
    assert f"to train on it: textmill train {book}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("a.txt:\n broken"), 65, "textmill: error: a.txt: broken\n"),
        (Interrupted(15), 143, "textmill: error: interrupted\n"),
        (KeyboardInterrupt(), 130, "textmill: error: interrupted\n"),
        (
            ZeroDivisionError("oops"),
            70,
            "textmill: error: a defect of textmill: ZeroDivisionError: oops; run it again with ",
        ),
        (
            RuntimeError("can't start new thread"),
            70,
            "textmill: error: the system starts no more threads: ",
        ),
        (Interrupted(1), 129, "textmill: error: interrupted\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each family of errors has its code and its line; --debug adds the traceback."""

    def fail() -> int:
        raise error

    monkeypatch.setattr("textmill.cli.presets.presets", fail)
    assert main(["presets"]) == code
    assert capsys.readouterr().err.startswith(line)
    assert main(["presets", "--debug"]) == code
    assert ("Traceback" in capsys.readouterr().err) == (code != 141)


def test_a_closed_pipe_is_quiet() -> None:
    """`textmill ... | head -1` ends without a word on stderr."""
    command = f"{sys.executable} -m textmill config schema | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_config_show_is_itself_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is shown can be saved and given back, and shows the same values, now from the file."""
    assert main(["config", "show", "--preset", "tiny", "--d-model", "128", "--run-name", "a: #b"]) == 0
    shown = capsys.readouterr().out
    file = tmp_path / "shown.yaml"
    file.write_text(shown)
    assert main(["config", "show", "--config", str(file)]) == 0
    again = capsys.readouterr().out
    assert [line.partition("  #")[0] for line in shown.splitlines()] == [
        line.partition("  #")[0] for line in again.splitlines()
    ]
    assert re.search(r"d_model: 128 +# --d-model", shown)
    assert re.search(r"num_layers: 2 +# preset tiny", shown)


def test_presets_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The list has every preset with its purpose; one of them shows its values."""
    assert main(["presets", "--json"]) == 0
    assert {"auto", "tiny", "cpu_small", "gpt2-xl", "auto-cpu-tiny"} <= set(json.loads(capsys.readouterr().out))
    assert main(["presets", "gpt2"]) == 0
    assert "d_model: 768\n" in capsys.readouterr().out


def test_own_modules_are_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import string finds `likely.py` beside the text, behind all that is installed; nothing else is found there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["textmill", "--version"])
    (tmp_path / "likely_here.py").write_text("import neighbour_here\ntop5 = neighbour_here.top5\n")
    (tmp_path / "neighbour_here.py").write_text("def top5(logits, batch): return 0, 1\n")
    with pytest.raises(SystemExit):
        console()
    assert str(tmp_path) not in sys.path
    with pytest.raises(ConfigError, match="cannot import 'absent_here'"):
        resolve("absent_here:x")
    assert str(tmp_path) not in sys.path
    assert resolve("likely_here:top5").__module__ == "neighbour_here"
    assert sys.path[-1] == str(tmp_path)


def test_config_show_chooses_the_preset_by_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run would be made with has the values of preset auto; of a text that is not there it says so."""
    (tmp_path / "book.txt").write_text("Once upon a time. " * 500)
    assert main(["config", "show", str(tmp_path / "book.txt"), "--device", "cpu", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["model"]["d_model"] == {"value": 128, "origin": "preset auto-cpu-tiny"}
    assert "preset: auto-cpu-tiny, for 9.0 kB of text" in shown.err
    assert main(["config", "show", str(tmp_path / "nowhere.txt"), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["model"]["d_model"]["origin"] == "default"
    assert "preset: auto is not chosen yet, because cannot read" in shown.err

"""config.yaml is not believed when it has changed: the checkpoint has the settings, and what differs is said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import textmill as tm
from support.run_commands import assert_same_run
from textmill.checkpoint.manifest import write_manifest
from textmill.checkpoint.saved_settings import SETTINGS, read_settings
from textmill.cli.main import main
from textmill.config import Config, load_config
from textmill.report.verify_files import verify

STEPS = ["--max-steps", "6", "--save-steps", "3", "--eval-steps", "3"]


@pytest.fixture(scope="module")
def whole(small_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 6 steps with checkpoints at 3 and 6."""
    folder = tmp_path_factory.mktemp("golden") / "run"
    assert main([*small_command, *STEPS, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def half(whole: Path, tmp_path: Path) -> Path:
    """The same run, as a kill after step 3 would have left it."""
    folder = tmp_path / "half"
    shutil.copytree(whole, folder)
    for name in ("checkpoints/step-0000006", "final"):
        shutil.rmtree(folder / name)
    return folder


def config_text(run: Path) -> str:
    return (run / "config.yaml").read_text()


def edit(run: Path, before: str, after: str) -> None:
    """Replace one text in config.yaml."""
    text = config_text(run)
    assert text.count(before) == 1
    (run / "config.yaml").write_text(text.replace(before, after))


def resume(run: Path, *flags: str) -> int:
    return main(["train", "--output-dir", str(run), "--resume", *flags])


def read(run: Path) -> tuple[Config, list[str]]:
    """Return the settings with which the run would go on from step 3, and what is said."""
    said: list[str] = []
    return read_settings(run, run / "checkpoints" / "step-0000003", said.append).current, said


def without_settings(checkpoint: Path) -> None:
    """Make it a checkpoint of an older textmill, which had no settings in state.json."""
    state = json.loads((checkpoint / "state.json").read_text())
    del state[SETTINGS]
    (checkpoint / "state.json").write_text(json.dumps(state))
    (checkpoint / "MANIFEST.json").unlink()
    write_manifest(checkpoint, 3)


def test_a_checkpoint_has_the_settings(whole: Path) -> None:
    """Every checkpoint contains what config.yaml contains."""
    for state in whole.glob("checkpoints/*/state.json"):
        assert json.loads(state.read_text())[SETTINGS] == yaml.safe_load(config_text(whole))


def test_every_digit_and_every_line(half: Path) -> None:
    """Whichever digit is changed or line is cut, the checkpoint's settings stay, and what differs is said."""
    text, path = config_text(half), half / "config.yaml"
    settings = load_config(path)
    start = text.index("\ndata:") + 1
    damages = [text[: at.start()] + str(9 - int(at[0])) + text[at.end() :] for at in re.finditer(r"\d", text)]
    damages += [text[: at.start()] + text[at.end() :] for at in re.finditer(r"(?m)^.*\n", text) if at.start() >= start]
    assert len(damages) > 150
    for damaged in damages[::3]:
        path.write_text(damaged)
        found, said = read(half)
        assert found.values() == settings.values()
        if not said:  # a comment, or a value that is the default anyway
            assert load_config(path).values() == settings.values()


def test_a_changed_digit_changes_no_bit(whole: Path, half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run with a damaged config.yaml goes on as if it were whole, says which setting differs, and repairs it."""
    edit(half, "learning_rate: 0.003", "learning_rate: 0.007")
    assert resume(half) == 0
    assert (
        f"{half}/config.yaml has changed since the run wrote it and is not used: learning_rate is 0.007, was 0.003. "
        "The run continues with the settings of its checkpoint. To change one, resume with a flag "
        "(--learning-rate 0.007) or with --config and a file of your own" in capsys.readouterr().out
    )
    assert_same_run(whole, half)
    assert yaml.safe_load(config_text(half)) == yaml.safe_load(config_text(whole))


def test_settings_that_make_another_run(half: Path) -> None:
    """A changed seed or shape is not used either: it neither continues as another run nor refuses this one."""
    edit(half, "  seed: 7", "  seed: 8")
    edit(half, "  d_model: 32", "  d_model: 64")
    found, said = read(half)
    assert (found.seed, found.d_model) == (7, 32)
    assert "d_model is 64, was 32; seed is 8, was 7" in said[0]


def test_a_lost_configuration(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run without a readable config.yaml continues: its checkpoint has the settings."""
    for content in ("", "data: [", "\x00\x01", "training:\n  learning_rate: fast\n"):
        (half / "config.yaml").write_text(content)
        found, said = read(half)
        assert (found.learning_rate, "settings of its checkpoint" in said[0]) == (0.003, True)
    (half / "config.yaml").unlink()
    assert resume(half) == 0
    assert "config.yaml is missing: the run continues with the settings of its checkpoint" in capsys.readouterr().out
    assert load_config(half).learning_rate == 0.003


def test_flags_and_files_of_ones_own_change_settings(half: Path, tmp_path: Path) -> None:
    """What the sentence advises works: a flag, or --config with a file, changes a setting from here on."""
    own = tmp_path / "own.yaml"
    own.write_text("learning_rate: 0.002\n")
    edit(half, "learning_rate: 0.003", "learning_rate: 0.002")
    assert resume(half, "--config", str(own), "--max-steps", "7") == 0
    assert (load_config(half).learning_rate, load_config(half).max_steps) == (0.002, 7)
    state = json.loads((half / "checkpoints" / "step-0000007" / "state.json").read_text())
    assert state[SETTINGS]["training"]["learning_rate"] == 0.002


def test_a_session_that_died_before_it_saved(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags of a session that was killed before its first checkpoint stay in force: that session wrote config.yaml."""
    with tm.assemble(load_config(output_dir=str(half), resume=True, max_steps=9), quiet=True):
        session = config_text(half)
        shutil.copytree(half, half.with_name("killed"))
    killed = half.with_name("killed")
    assert "max_steps: 9" in session
    found, said = read(killed)
    assert (found.max_steps, said) == (9, [])
    assert resume(killed) == 0
    assert "max_steps: 9 instead of 6" in capsys.readouterr().out
    assert (killed / "checkpoints" / "step-0000009").is_dir()


def test_a_fork(half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that starts from another run's checkpoint takes that checkpoint's settings, not a changed config.yaml."""
    edit(half, "learning_rate: 0.003", "learning_rate: 0.007")
    fork, start = tmp_path / "fork", half / "checkpoints" / "step-0000003"
    assert main(["train", "--output-dir", str(fork), "--resume-from", str(start)]) == 0
    assert "learning_rate is 0.007, was 0.003" in capsys.readouterr().out
    assert load_config(fork).learning_rate == 0.003


def test_a_changed_file_that_is_given(half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--config with a config.yaml that was changed uses it, and notes that it was changed; a whole one is no note."""
    assert main(["train", "--config", str(half), "--output-dir", str(tmp_path / "a"), "--dry-run"]) == 0
    assert "has changed" not in capsys.readouterr().err
    edit(half, "learning_rate: 0.003", "learning_rate: 0.007")
    assert main(["train", "--config", str(half / "config.yaml"), "--output-dir", str(tmp_path / "b")]) == 0
    noted = f"{half}/config.yaml has changed since textmill wrote it: the settings that it has now are used"
    assert noted in capsys.readouterr().err
    assert load_config(tmp_path / "b").learning_rate == 0.007


def test_a_checkpoint_of_an_older_version(whole: Path, half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose files have neither settings nor hashes is continued by its config.yaml, which is said, once."""
    without_settings(half / "checkpoints" / "step-0000003")
    (half / "config.yaml").write_text(yaml.safe_dump(yaml.safe_load(config_text(half))))
    (half / "status.json").unlink()
    assert resume(half) == 0
    sentence = "is of an older textmill and has no settings"
    assert capsys.readouterr().out.count(sentence) == 1
    assert_same_run(whole, half)
    assert resume(half, "--max-steps", "7") == 0
    assert sentence not in capsys.readouterr().out


def test_an_older_version_with_an_empty_configuration(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has the settings: the file is named, and no default takes their place."""
    without_settings(half / "checkpoints" / "step-0000003")
    (half / "config.yaml").write_text("")
    assert resume(half) == 66
    assert "config.yaml is empty, and no checkpoint has the settings: without it the run" in capsys.readouterr().err


def test_resuming_from_python(whole: Path, half: Path, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """tm.train(resume=...), which sweeps use too, does the same."""
    edit(half, "beta2: 0.95", "beta2: 0.9")
    result = tm.train(output_dir=str(half), resume="auto")
    assert (result.total_steps, "beta2 is 0.9, was 0.95" in capsys.readouterr().out) == (6, True)
    assert_same_run(whole, half)


@pytest.mark.parametrize("content", [None, "", "data: ["])
def test_evaluation_without_a_readable_configuration(
    half: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings of the newest checkpoint are used, which is said in words for a run that does not go on."""
    assert main(["evaluate", str(half), "--json"]) == 0
    expected = capsys.readouterr().out
    if content is None:
        (half / "config.yaml").unlink()
    else:
        (half / "config.yaml").write_text(content)
    assert main(["evaluate", str(half), "--json"]) == 0
    measured = capsys.readouterr()
    state = {None: "is missing: ", "": "is empty: ", "data: [": "is damaged or was changed, and cannot be read ("}
    assert measured.out == expected
    assert f"{half}/config.yaml {state[content]}" in measured.err
    assert "the settings of the run's newest checkpoint are used" in measured.err
    assert "the run continues" not in measured.err


def test_evaluation_uses_what_the_model_was_trained_with(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config.yaml that was changed does not change how the model is evaluated."""
    assert main(["evaluate", str(half), "--json"]) == 0
    expected = capsys.readouterr().out
    edit(half, "mask_documents: false", "mask_documents: true")
    assert main(["evaluate", str(half), "--json"]) == 0
    measured = capsys.readouterr()
    assert (measured.out, "mask_documents is True, was False" in measured.err) == (expected, True)


FILES = ["config.yaml", "status.json", "environment.json", "metrics.jsonl", "steps.jsonl", "samples.jsonl"]
FILES += ["train.log", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"]


def problems(run: Path) -> dict[str, Any]:
    return {finding.name: finding.problems for finding in verify(run) if finding.problems}


@pytest.mark.parametrize("name", FILES)
def test_verify_sees_every_changed_digit(half: Path, name: str) -> None:
    """One other digit, or one other letter where there is none, in any file of a run folder is damage."""
    assert problems(half) == {}
    path = half / name
    text = path.read_text()
    digit = list(re.finditer(r"(?m)(?<=: )\d", text)) or list(re.finditer(r"[a-z]", text))
    at = digit[len(digit) // 2].start()
    path.write_text(text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :])
    assert list(problems(half)) == [name.partition("/")[0] if name.startswith("tokenizer") else name]
    assert main(["verify", str(half)]) == 65


def change_a_digit(path: Path) -> None:
    """Change the last digit of a number with many."""
    text = path.read_text()
    at = [match.end() - 1 for match in re.finditer(r"\d\.\d{4,}", text)][-1]
    path.write_text(text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :])


def test_a_resumed_run_says_which_log_has_changed(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the new session records its hashes anew, after which nothing would know of it."""
    change_a_digit(half / "steps.jsonl")
    assert resume(half) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{half}/steps.jsonl has changed (its SHA-256 differs): what it contains is kept as it is" in said


def test_what_a_run_was_made_with_is_not_read_if_damaged(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`evaluate` says that environment.json is not used, and measures the same; `--resume` says it and writes it."""
    assert main(["evaluate", str(half), "--json"]) == 0
    whole = capsys.readouterr().out
    path = half / "environment.json"
    path.write_text(path.read_text().replace('"data": "', '"data": "0'))
    assert main(["evaluate", str(half), "--json"]) == 0
    after = capsys.readouterr()
    assert after.out == whole
    assert "environment.json has" in after.err and "and is not used" in after.err
    assert resume(half) == 0
    assert "is not used, and written again" in " ".join(capsys.readouterr().out.split())
    assert problems(half) == {}


@pytest.mark.parametrize("name", ["config.yaml", "status.json", "environment.json", "metrics.jsonl", "samples.jsonl"])
def test_reports_say_what_has_changed(half: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`report` on the screen and on its page, `runs` and `runs compare`: a figure may be another than was measured."""
    path = half / name
    path.write_text(re.sub(r"(?<=\D)[2-8](?=\D)", "9", path.read_text(), count=1))
    page = half.parent / "page.html"
    sentence = f"{half}/{name} has changed"
    for command in (
        ["report", str(half), "--output", str(page)],
        ["runs", str(half.parent)],
        ["runs", "compare", str(half), str(half), "--json"],
    ):
        assert main(command) == 0
        assert sentence in capsys.readouterr().err
    assert sentence in page.read_text()


def test_verify_names_the_setting(half: Path) -> None:
    """The finding about config.yaml names what differs from the newest checkpoint."""
    edit(half, "learning_rate: 0.003", "learning_rate: 0.007")
    sentence = f"{half}/config.yaml has changed since the run wrote it: learning_rate differ from the newest checkpoint"
    assert problems(half) == {"config.yaml": [sentence.replace("learning_rate differ", "learning_rate differs")]}


def test_a_log_may_grow(half: Path) -> None:
    """Lines that a later command adds to a log are no damage."""
    with (half / "train.log").open("a") as log:
        log.write("one more line\n")
    assert problems(half) == {}

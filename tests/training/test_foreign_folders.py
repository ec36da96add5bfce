"""A run folder may be somebody else's: it runs no code, and nothing is written through links in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import textmill as tm
from textmill.cli.main import main
from textmill.config import load_config
from textmill.errors import ConfigError
from textmill.runs import layout
from textmill.runs.recorded_files import with_hash
from textmill.sweep.run_sweep import sweep

EVIL = "open({mark!r}, 'a').write('x')\ndef x(*anything): open({mark!r}, 'a').write('x'); return 0.0, 1\n"


@pytest.fixture(scope="module")
def run(book: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("mine") / "run"
    shape: dict[str, Any] = {"d_model": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 16}
    often: dict[str, Any] = {"max_steps": 2, "save_steps": 1}
    tm.train(data=str(book), tokenizer="byte", **shape, **often, output_dir=str(folder), cache_dir=str(cache_dir))
    (folder / layout.TENSORBOARD).mkdir()
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run, as it was received from somebody."""
    return Path(shutil.copytree(run, tmp_path / "received"))


def resume(run: Path, *flags: str) -> int:
    return main(["train", "--output-dir", str(run), "--resume", "--max-steps", "3", *flags])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [layout.LOCK, *layout.RUN_FILES])
def test_links_are_refused(copy: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A symbolic link where a run writes: 73, the link is named, and what it points to is as it was."""
    target = tmp_path / "precious"
    if (copy / name).is_dir():
        shutil.move(copy / name, target)
    else:
        target.write_text('{"kept": true}\n' * 9)
        (copy / name).unlink(missing_ok=True)
    before = content(target) if target.is_dir() else target.read_bytes()
    (copy / name).symlink_to(target)
    assert resume(copy) == 73
    error = capsys.readouterr().err
    assert f"{copy / name} is a symbolic link" in error
    assert ("add --trust" if name == layout.CHECKPOINTS else "writes only to files and folders of its own") in error
    assert (content(target) if target.is_dir() else target.read_bytes()) == before


def test_what_a_link_points_to_survives_an_overwrite(copy: Path, tmp_path: Path, book: Path, cache_dir: Path) -> None:
    """--overwrite deletes the links, broken ones too, and nothing behind them."""
    kept, names = tmp_path / "kept", (layout.METRICS, layout.TRAIN_LOG, layout.TENSORBOARD, layout.TOKENIZER)
    kept.mkdir()
    (kept / "file").write_text("precious")
    for name in names:
        shutil.rmtree(copy / name) if (copy / name).is_dir() else (copy / name).unlink()
        (copy / name).symlink_to(kept / "absent" if name == layout.METRICS else kept)
    command = ["train", str(book), "--cache-dir", str(cache_dir), "--tokenizer", "byte", "--d-model", "16"]
    command += ["--num-layers", "1", "--num-heads", "2", "--max-seq-len", "16", "--max-steps", "1"]
    assert main([*command, "--output-dir", str(copy), "--overwrite"]) == 0
    assert content(kept) == {"file": b"precious"}
    assert not any((copy / name).is_symlink() for name in names)


def test_a_lock_with_two_names(copy: Path, tmp_path: Path) -> None:
    """Its other name, as after `cp -al` of a run that was killed, keeps its content; the run has a lock of its own."""
    (tmp_path / "precious").write_text("kept")
    (copy / layout.LOCK).hardlink_to(tmp_path / "precious")
    assert resume(copy) == 0
    assert (tmp_path / "precious").read_text() == "kept"
    assert not (copy / layout.LOCK).exists()


def test_a_copy_by_hard_links_is_a_run_of_its_own(run: Path, tmp_path: Path) -> None:
    """Resuming `cp -al` of a run leaves the original as it was, byte for byte."""
    twin = Path(shutil.copytree(run, tmp_path / "twin", copy_function=os.link))
    before = content(run)
    assert resume(twin) == 0
    assert content(run) == before
    assert (twin / layout.STEPS).stat().st_nlink == 1


def test_a_pipe_in_place_of_a_log(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A named pipe would block the run for ever: 73."""
    (copy / layout.TRAIN_LOG).unlink()
    os.mkfifo(copy / layout.TRAIN_LOG)
    assert resume(copy) == 73
    assert "is neither a file nor a folder" in capsys.readouterr().err


def test_a_folder_may_be_reached_by_a_link(copy: Path, tmp_path: Path) -> None:
    """The person named the folder itself: it may be a link."""
    (tmp_path / "link").symlink_to(copy)
    assert resume(tmp_path / "link") == 0


@pytest.fixture
def evil(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return the run with settings that name `evilmod.py` in the current folder, which leaves a mark if it runs."""

    def make(section: str, setting: str, value: object, *, whole: bool = True) -> Path:
        tree = yaml.safe_load((copy / layout.CONFIG).read_text())
        tree[section][setting] = value
        tree["training"]["trust"] = True  # which a file of a run cannot say
        text = yaml.safe_dump(tree)
        (copy / layout.CONFIG).write_text(with_hash("", text) if whole else text)
        shutil.rmtree(copy / layout.CHECKPOINTS, ignore_errors=True)  # whose settings would count
        return copy

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "evilmod", raising=False)
    (tmp_path / "evilmod.py").write_text(EVIL.format(mark=str(tmp_path / "ran")))
    return make


CODE = [
    ("training", "metrics", ["evilmod:x"]),
    ("training", "optimizer", "evilmod:x"),
    ("data", "data", ["evilmod:x"]),
    ("data", "val_data", ["evilmod:x"]),
]


@pytest.mark.parametrize(("section", "setting", "value"), CODE)
def test_a_run_folder_names_no_code(
    evil: Callable[..., Path],
    section: str,
    setting: str,
    value: object,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Resumed, repeated, searched over or planned with: the name is refused (2), with what to add, and not imported."""
    run, out = evil(section, setting, value), str(tmp_path / "out")
    for words in (
        ["train", "--output-dir", str(run), "--resume"],
        ["train", "--config", str(run), "--output-dir", out],
        ["train", "--config", str(run / layout.CONFIG), "--dry-run"],
    ):
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert f"{run}/config.yaml: {setting} names code, evilmod:x" in error, words
        assert "If you trust it, add --trust" in error
    with pytest.raises(ConfigError, match=f"{setting} names code"):
        sweep(load_config(run), [], tmp_path / "out", trials=1)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_a_file_without_a_hash_is_no_way_around(evil: Callable[..., Path], tmp_path: Path) -> None:
    """A config.yaml written by hand in a run folder names no code either, even if nothing else of a run is there."""
    run = evil("training", "metrics", ["evilmod:x"], whole=False)
    assert main(["train", "--output-dir", str(run), "--resume"]) == 2
    for name in (layout.STATUS, layout.FINAL, layout.BEST_MODEL):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    assert main(["train", "--output-dir", str(run), "--resume"]) == 2
    assert not (tmp_path / "ran").exists()


def test_code_of_ones_own(evil: Callable[..., Path], tmp_path: Path) -> None:
    """--trust, a flag, a keyword or a file of one's own name code that is imported, from the current folder too."""
    run, mark = evil("training", "metrics", ["evilmod:x"]), tmp_path / "ran"
    assert main(["train", "--output-dir", str(run), "--resume", "--dry-run", "--trust"]) == 0
    assert mark.read_text().startswith("x")
    mark.unlink()
    assert main(["train", "--output-dir", str(run), "--resume", "--dry-run", "--metrics", "evilmod:x"]) == 0
    own = tmp_path / "own.yaml"
    own.write_text("metrics: [evilmod:x]\n")
    assert main(["train", "--output-dir", str(run), "--resume", "--dry-run", "--config", str(own)]) == 0


def test_reading_a_foreign_run(evil: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text of a run whose prepared corpus is gone is not got from code that the run names."""
    run = evil("data", "data", ["evilmod:x"])
    environment = (run / layout.ENVIRONMENT).read_text().replace("corpora", "elsewhere")
    (run / layout.ENVIRONMENT).write_text(environment)
    assert main(["evaluate", str(run)]) == 2
    assert "data names code, evilmod:x" in capsys.readouterr().err
    for words in (["verify", run], ["report", run], ["runs", tmp_path], ["runs", "compare", run, run]):
        assert main(list(map(str, words))) in (0, 65)
    assert main(["generate", str(run), "--prompt", "a", "--max-new-tokens", "1"]) == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["os:system", "os:getcwd", "builtins:print", "subprocess:run"])
def test_what_is_no_optimizer(
    name: str, book: Path, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that makes no optimizer is refused (2) before there is a run folder."""
    command = ["train", str(book), "--cache-dir", str(cache_dir), "--tokenizer", "byte", "--max-steps", "1"]
    assert main([*command, "--optimizer", name, "--output-dir", str(tmp_path / "out")]) == 2
    assert f"optimizer '{name}'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_current_folder_is_no_place_for_modules(tmp_path: Path) -> None:
    """A module beside the data that is called as one that textmill imports is not imported, by `python -m` either."""
    for module in ("yaml", "torch", "wandb", "cyclopts", "rich"):
        (tmp_path / f"{module}.py").write_text("open('ran', 'w')\n")
    source = str(Path(tm.__file__).parents[1])
    command = [sys.executable, "-m", "textmill", "evaluate", "nowhere"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True
    )
    assert (done.returncode, "there is no model at nowhere" in done.stderr) == (66, True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [layout.METRICS, layout.STEPS, layout.SAMPLES, layout.TRAIN_LOG, layout.LOCK])
def test_reading_does_not_wait_for_a_pipe(copy: Path, name: str) -> None:
    """A named pipe in place of a log or the lock is damage or nothing: no verb waits for its writer."""
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    signal.alarm(20)  # ends the process if it waits
    try:
        for words in (["runs", copy.parent], ["report", copy], ["evaluate", copy / "epoch-1"]):
            assert main(list(map(str, words))) in (0, 66), words
        assert main(["verify", str(copy)]) == (0 if name == layout.LOCK else 65)
    finally:
        signal.alarm(0)


@pytest.mark.parametrize("name", ["checkpoints/step-0000002", "checkpoints/step-0000009", "logs/wandb", "tokenizer/x"])
def test_links_in_folders_that_a_run_fills(
    copy: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """73, the link is named, nothing behind it has changed, however many checkpoints are to be deleted."""
    target = tmp_path / "precious"
    if (copy / name).exists():
        shutil.move(copy / name, target)
    else:
        target.mkdir()
        (target / "file").write_text("precious")
    before = content(target) or target.read_bytes()
    (copy / name).symlink_to(target)
    assert resume(copy, "--save-total-limit", "1") == 73
    assert f"{copy / name} is a symbolic link" in capsys.readouterr().err
    assert (content(target) or target.read_bytes()) == before


@pytest.mark.parametrize("folder", ["checkpoints/step-0000001", "best_model", "final"])
def test_links_in_folders_that_a_run_replaces(copy: Path, tmp_path: Path, folder: str) -> None:
    """What a link in a model's folder points to is left, and the folder is replaced or deleted around it."""
    target, path = tmp_path / "precious", copy / folder / "model.safetensors"
    shutil.move(path, target)
    before = target.read_bytes()
    path.symlink_to(target)
    assert resume(copy, "--save-total-limit", "1") == 0
    assert target.read_bytes() == before
    assert not path.is_symlink()


def test_a_checkpoint_of_links_is_not_used(copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Weights that are a link are damage: the checkpoint before is used, and the link's target is left."""
    path = copy / "checkpoints/step-0000002/model.safetensors"
    shutil.move(path, tmp_path / "precious")
    path.symlink_to(tmp_path / "precious")
    assert resume(copy) == 0
    assert "skipped damaged checkpoint step-0000002: model.safetensors is not a regular file" in capfd.readouterr().out
    assert (tmp_path / "precious").is_file()


def test_checkpoints_on_another_disk(
    copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`checkpoints` may be a link to a folder of one's own with --trust, which is said; nobody else's folder."""
    shutil.move(copy / "checkpoints", tmp_path / "elsewhere")
    (copy / "checkpoints").symlink_to(tmp_path / "elsewhere")
    assert resume(copy) == 73
    assert resume(copy, "--config", str(trusting(copy))) == 73
    capfd.readouterr()
    assert resume(copy, "--trust", "--save-total-limit", "1") == 0
    said = f"the checkpoints are in {tmp_path / 'elsewhere'}, to which {copy / 'checkpoints'} is a link"
    assert capfd.readouterr().out.count(said) == 1
    assert "step-0000003" in [path.name for path in (tmp_path / "elsewhere").iterdir()]
    assert (copy / "checkpoints").is_symlink()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert resume(copy, "--trust", "--cache-dir", str(tmp_path / "cache")) == 73


def trusting(run: Path) -> Path:
    """Let the run's own file ask for trust; return the file."""
    tree = yaml.safe_load((run / layout.CONFIG).read_text())
    tree["training"]["trust"] = True
    (run / layout.CONFIG).write_text(with_hash("", yaml.safe_dump(tree)))
    return run / layout.CONFIG


FOLDERS = [
    ("data", "cache_dir", "{out}"),
    ("data", "cache_dir", "{run}/../stolen"),
    ("tracking", "log_dir", "{out}"),
    ("training", "output_dir", "{out}"),
    ("training", "overwrite", True),
]


@pytest.mark.parametrize(("section", "setting", "value"), FOLDERS)
def test_a_run_folder_does_not_say_where_to_write(
    evil: Callable[..., Path],
    section: str,
    setting: str,
    value: str | bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Resumed or repeated: refused (2), with what to add, and nothing is written; --trust and a flag are obeyed."""
    out = tmp_path / "out"
    if isinstance(value, str):
        value = value.format(out=out, run=tmp_path / "received")
    run = evil(section, setting, value)
    if setting == "log_dir":
        run = evil("tracking", "report_to", ["tensorboard"])
    before = sorted(tmp_path.rglob("*"))
    repeat = ["train", "--config", str(run), "--dry-run"]
    for words in (["train", "--output-dir", str(run), "--resume", "--dry-run"], repeat):
        if setting in ("output_dir", "overwrite", "cache_dir") and words is not repeat:
            continue  # which the flags contradict, or for which there is a usual one
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert f"{run}/config.yaml: {setting} is {value}, and a run folder does not say where textmill writes" in error
        assert "If you trust it, add --trust" in error
        assert sorted(tmp_path.rglob("*")) == before
    for more in (["--cache-dir", str(tmp_path / "mine")], ["--trust"]) if setting == "cache_dir" else ():
        assert main([*repeat, *more]) == 0


def test_folders_that_a_run_folder_may_name(evil: Callable[..., Path], tmp_path: Path, cache_dir: Path) -> None:
    """Within the run folder, and a cache in which this user has prepared text."""
    run = evil("data", "cache_dir", str(tmp_path / "received/cache"))
    repeat = ["train", "--config", str(run), "--dry-run"]
    assert main(repeat) == 0
    assert main(["train", "--config", str(evil("data", "cache_dir", str(cache_dir))), "--dry-run"]) == 0


def test_evaluating_a_run_does_not_write_where_it_says(
    evil: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text is prepared again in the usual cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "usual"))
    run = evil("data", "cache_dir", str(tmp_path / "stolen"))
    environment = (run / layout.ENVIRONMENT).read_text().replace("corpora", "elsewhere")
    (run / layout.ENVIRONMENT).write_text(environment)
    assert main(["evaluate", str(run)]) == 0
    assert not (tmp_path / "stolen").exists()
    assert (tmp_path / "usual/textmill/corpora").is_dir()


@pytest.mark.parametrize("between", [pytest.param(5, id="sample"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_no_verb_waits_for_a_pipe(copy: Path, tmp_path: Path, book: Path, between: int) -> None:
    """One file after another of a run, a checkpoint and a model is a named pipe: an exit code within seconds."""
    names = sorted(name for name in content(copy) if not name.startswith("checkpoints/step-0000001"))
    assert len(names) > 25
    commands = [
        ["verify", str(copy)],
        ["report", str(copy)],
        ["evaluate", str(copy / "final"), str(book)],
        ["generate", str(copy / "checkpoints/step-0000002"), "--prompt", "a", "--max-new-tokens", "1"],
        ["train", "--output-dir", str(copy), "--resume", "--dry-run"],
        ["train", "--config", str(copy), "--output-dir", str(tmp_path / "out"), "--dry-run"],
        ["train", str(book), "--init-from", str(copy), "--output-dir", str(tmp_path / "out"), "--dry-run"],
        ["train", str(book), "--tokenizer", str(copy), "--output-dir", str(tmp_path / "out"), "--dry-run"],
    ]
    for number, name in enumerate(names):
        (copy / name).rename(tmp_path / "kept")
        os.mkfifo(copy / name)
        for words in commands[number % between :: between]:
            signal.alarm(20)
            assert main(words) in (0, 2, 65, 66, 73), (name, words)
            signal.alarm(0)
        (copy / name).unlink()
        (tmp_path / "kept").rename(copy / name)

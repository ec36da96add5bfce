"""Sweeps: every trial a run of its own, the best one found, stopped and continued, nothing overwritten."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.run_moments import after_steps
from textmill.cli.main import main
from textmill.errors import MissingExtraError
from textmill.report.run_record import Record, find_records

RATES = ("--search", "learning_rate=1e-5..9e-3:log")

NEEDS_OPTUNA = "needs optuna: pip install 'textmill[tune]'"


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments that all trials share: a run of a second."""
    folder = tmp_path_factory.mktemp("sweep")
    book = folder / "book.txt"
    book.write_text("to sweep, perchance to find; aye, there's the rub.\n" * 40)
    shape = ["--d-model", "16", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "16", "--batch-size", "4"]
    length = ["--max-steps", "12", "--eval-steps", "3", "--sample-steps", "0", "--save-steps", "12"]
    return [str(book), "--tokenizer", "byte", "--cache-dir", str(folder / "cache"), *shape, *length]


def sweep(folder: Path, words: list[str], *extra: str) -> int:
    return main(["sweep", *words, "--output-dir", str(folder), *extra])


def test_a_sweep_finds_the_better_value(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a rate that learns and one that does not the first is best, each once; its printed command makes that run."""
    pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    folder = tmp_path / "rates"
    assert sweep(folder, words, "--search", "learning_rate=1e-7,1e-2", "--trials", "4", "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert "all 2 combinations of the values have been tried: there is no trial 3" in captured.err
    assert json.loads((folder / "best.json").read_text()) == {
        f"trial {trial['number']}": trial["values"]
        for trial in sorted(result["trials"], key=lambda each: each["val_loss"])
    }
    best = next(trial for trial in result["trials"] if trial["number"] == result["best"])
    assert best["values"] == {"learning_rate": 1e-2}
    assert "--learning-rate 0.01" in result["command"] and "--max-steps 12" in result["command"]
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(trial["values"]["learning_rate"] for trial in result["trials"]) == [1e-7, 1e-2]
    assert [record.name for record in find_records(folder)] == [f"trial-{number:04d}" for number in range(2)]
    for trial in result["trials"]:
        record = Record(Path(trial["folder"]))
        assert record.values["learning_rate"] == trial["values"]["learning_rate"]
        assert record.best["val_loss"] == trial["val_loss"]


def test_searched_rates_are_those_of_one_optimizer(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over a configuration with Muon and its rate, searched rates are AdamW's: said, trained and in the command."""
    pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    config = tmp_path / "muon.yaml"
    config.write_text("optimizer: muon\nlearning_rate: 0.01\n")
    search = ["--search", "learning_rate=1e-3,1e-2", "--trials", "1"]
    assert sweep(tmp_path / "rates", words, "--config", str(config), *search) == 0
    shown = capsys.readouterr().out
    assert "optimizer: adamw in every trial" in shown and "--optimizer adamw" in shown.splitlines()[-1]
    assert Record(tmp_path / "rates" / "trial-0000").values["optimizer"] == "adamw"
    config.write_text("optimizer: muon\n")
    assert sweep(tmp_path / "muon", words, "--config", str(config), *search) == 0
    assert "optimizer: muon in every trial" in capsys.readouterr().out
    assert Record(tmp_path / "muon" / "trial-0000").values["optimizer"] == "muon"


def test_a_sweep_goes_on_where_it_stopped(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More trials are added to those there are; asked for no more nothing happens; another search is refused."""
    pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    folder = tmp_path / "more"
    search = ("--search", "learning_rate=1e-4..1e-2:log")
    assert sweep(folder, words, *search, "--trials", "1") == 0
    first = (folder / "trial-0000" / "metrics.jsonl").read_bytes()
    assert sweep(folder, words, *search, "--trials", "2") == 0
    assert sweep(folder, words, *search, "--trials", "2") == 0
    assert sorted(path.name for path in folder.glob("trial-*")) == ["trial-0000", "trial-0001"]
    assert (folder / "trial-0000" / "metrics.jsonl").read_bytes() == first
    rates = [Record(path).values["learning_rate"] for path in sorted(folder.glob("trial-*"))]
    assert rates[0] != rates[1]
    capsys.readouterr()
    assert sweep(folder, words, "--search", "num_layers=1,2", "--trials", "2") == 78
    assert sweep(folder, words, *search, "--trials", "2", "--beta1", "0.8") == 78
    assert "beta1" in capsys.readouterr().err


@pytest.fixture(scope="session")
def unfinished(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose first trial was stopped after step 6."""
    pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    folder = tmp_path_factory.mktemp("unfinished") / "sweep"
    with after_steps(lambda taken: os.kill(os.getpid(), signal.SIGTERM) if taken == 6 else None):
        assert sweep(folder, words, *RATES, "--trials", "1") == 143
    return folder


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            "sweep.json",
            lambda text: text.replace(b"1e-05", b"1e-04"),
            "sweep.json has changed since the sweep wrote it",
        ),
        ("sweep.json", lambda text: text[:200], "sweep.json has changed since the sweep wrote it: give the sweep"),
        ("sweep.json", None, "sweep.json is gone: give the sweep another --output-dir"),
        (
            "journal.log",
            lambda text: text.replace(b'_internal": 0.00', b'_internal": 0.01'),
            "line 3, has changed since",
        ),
        (
            "journal.log",
            lambda text: text.replace(b'"op_code": 4', b'"op_code": 6'),
            "journal.log, line 2, has changed",
        ),
        ("journal.log", lambda text: text[:100], "journal.log does not list the run in"),
        ("journal.log", lambda text: b"".join(text.splitlines(True)[:2]), "was trained with learning_rate 0.000"),
        ("journal.log", None, "it was cut, replaced or deleted; give the sweep another --output-dir; the trials here"),
    ],
)
def test_a_damaged_sweep_is_refused(
    unfinished: Path,
    words: list[str],
    tmp_path: Path,
    name: str,
    change: Callable[[bytes], bytes] | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Changed, cut and deleted: 65 with one sentence, and the trial's run stays as it was."""
    folder = Path(shutil.copytree(unfinished, tmp_path / "sweep"))
    if change is None:
        (folder / name).unlink()
    else:
        content = (folder / name).read_bytes()
        assert change(content) != content
        (folder / name).write_bytes(change(content))
    before = {path: path.read_bytes() for path in folder.glob("trial-*/**/*") if path.is_file()}
    assert sweep(folder, words, *RATES, "--trials", "1") == 65
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.glob("trial-*/**/*") if path.is_file()} == before


def test_a_trial_with_a_damaged_configuration_goes_on(unfinished: Path, words: list[str], tmp_path: Path) -> None:
    """Another rate in its config.yaml, or half of it: it ends in the bits of the trial whose file is whole."""
    weights = []
    for number, change in enumerate(
        (lambda text: text, lambda text: text.replace("e: 0.00", "e: 0.01"), lambda text: text[:300])
    ):
        folder = Path(shutil.copytree(unfinished, tmp_path / str(number)))
        config = folder / "trial-0000" / "config.yaml"
        config.write_text(change(config.read_text()))
        assert sweep(folder, words, *RATES, "--trials", "1") == 0
        weights.append((folder / "trial-0000/final/model.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]


def test_the_journal_stays_one_that_optuna_reads(words: list[str], tmp_path: Path) -> None:
    """Optuna's own reader finds the trial and its value; a line that a dying process did not finish is dropped."""
    optuna = pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    from optuna.storages.journal import JournalFileBackend

    from textmill.sweep.journal import CheckedJournal

    journal, path = CheckedJournal(tmp_path / "journal.log"), tmp_path / "journal.log"
    study = optuna.create_study(storage=optuna.storages.JournalStorage(journal), study_name="sweep")
    study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.25)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "wor')
    again = CheckedJournal(path)
    assert list(again.read_logs(0)) == list(journal.read_logs(0))
    again.append_logs([{"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": "2026-01-01T00:00:00"}])
    assert path.read_bytes().startswith(whole) and path.read_bytes().count(b"\n") == whole.count(b"\n") + 1
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    assert optuna.load_study(storage=storage, study_name="sweep").trials[0].value == 0.25


def test_an_unfinished_trial_is_finished_first(unfinished: Path, words: list[str], tmp_path: Path) -> None:
    """A trial whose process was stopped keeps its number and its values, and its run goes on from its checkpoint."""
    folder = Path(shutil.copytree(unfinished, tmp_path / "sweep"))
    rate = Record(folder / "trial-0000").values["learning_rate"]
    assert Record(folder / "trial-0000").last["step"] < 12
    assert sweep(folder, words, *RATES, "--trials", "1") == 0
    record = Record(folder / "trial-0000")
    assert record.values["learning_rate"] == rate and record.last["step"] == 12
    assert not (folder / "trial-0001").exists()


def test_values_that_do_not_fit_fail_one_trial_only(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A width whose heads have an odd size is a failed trial with its reason; the others count."""
    pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    assert sweep(tmp_path / "fail", words, "--search", "d_model=16,18", "--trials", "3") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ") and "d_model" in line]
    outcomes = {("failed" in line, "d_model 18" in line) for line in lines[:3]}
    assert outcomes <= {(True, True), (False, False)} and (False, False) in outcomes


def test_a_trial_that_falls_behind_is_pruned(words: list[str], tmp_path: Path) -> None:
    """The watch ends a run at the evaluation at which Optuna gives it up; the run is a whole run all the same."""
    pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    from textmill.config import load_config
    from textmill.sweep.trial import run_trial

    class Strict:
        number = 0

        def __init__(self) -> None:
            self.number, self.reported = 0, list[int]()

        def report(self, value: float, step: int) -> None:
            self.reported.append(step)

        def should_prune(self) -> bool:
            return self.reported[-1] >= 6

    settings: dict[str, Any] = {word[2:].replace("-", "_"): value for word, value in zip(words[1::2], words[2::2])}
    config = load_config({"data": [words[0]], **settings})
    strict: Any = Strict()
    outcome = run_trial(config, {"learning_rate": 1e-3}, tmp_path / "pruned", strict, "val_loss")
    assert outcome.pruned and outcome.step == 6 and strict.reported == [3, 6]
    assert Record(tmp_path / "pruned").state == "finished"


def test_text_of_a_program_is_read_once(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once per trial: all trials read the file that the sweep kept."""
    pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    monkeypatch.syspath_prepend(tmp_path)
    module = f"def texts():\n    open({str(tmp_path / 'reads')!r}, 'a').write('.')\n    return open({words[0]!r})\n"
    (tmp_path / "texts_for_a_sweep.py").write_text(module)
    options = [*words[1:], "--trials", "2", "--search", "dropout=0,0.1"]
    assert main(["sweep", "texts_for_a_sweep:texts", *options, "--output-dir", str(tmp_path / "sweep")]) == 0
    assert (tmp_path / "reads").read_text() == "."


def test_a_sweep_needs_a_validation_set_and_a_folder(words: list[str], tmp_path: Path) -> None:
    """Without validation there is nothing to compare; a folder that holds a run is not swept into."""
    pytest.importorskip("optuna", reason=NEEDS_OPTUNA)
    search = ("--search", "num_layers=1,2", "--trials", "1")
    assert sweep(tmp_path / "none", words, *search, "--val-split", "0") == 2
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("{}\n")
    assert sweep(tmp_path / "run", words, *search) == 2


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing library is one line that says what to install, before anything is read or written."""
    from textmill.sweep.study import import_optuna

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError):
        import_optuna()
    assert main(["sweep", "nowhere.txt", "--search", "num_layers=1,2"]) == 2
    assert "pip install 'textmill[tune]'" in capsys.readouterr().err


def test_a_shell_loop_overwrites_nothing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The guides' loop over learning rates, with a run name per rate, leaves one whole run for each."""
    command = f"{sys.executable} -m textmill train {' '.join(words)} --max-steps 2 --learning-rate $lr"
    command = command.replace("--max-steps 12 ", "")
    loop = f"for lr in 1e-4 1e-3; do {command} --use-wandb false --wandb-run-name lr_$lr || exit 1; done"
    done = subprocess.run(["bash", "-c", loop], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = {path.name: Record(path) for path in (tmp_path / "runs").iterdir()}
    assert set(records) == {"lr_1e-4", "lr_1e-3"}
    assert {record.values["learning_rate"] for record in records.values()} == {1e-4, 1e-3}
    assert all((record.folder / "final" / "model.safetensors").is_file() for record in records.values())
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words, "--run-name", "lr_1e-4"]) == 2
    assert "already contains a run" in capsys.readouterr().err

"""What a run leaves on the disk, and what may be done with it afterwards."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import textmill as tm
from support.run_commands import Command, wait_for
from textmill.checkpoint.find_model import resolve_model
from textmill.checkpoint.model_folder import load_model
from textmill.cli.main import main
from textmill.config import load_config
from textmill.console.screen import Screen
from textmill.errors import RunExistsError
from textmill.planning.parameter_count import flops_per_token
from textmill.tracking.metric_table import METRICS
from textmill.training.given_parts import Parts
from textmill.training.open_run import open_run
from textmill.training.start_run import start_run

RARE = {"train_objective", "loss_spikes", "rollbacks", "skipped_batches"}
"""What only label smoothing, or a loss spike, adds."""

STEPS = ["--max-steps", "12", "--eval-steps", "4", "--save-steps", "4"]


@pytest.fixture(scope="module")
def finished(small_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of twelve steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main([*small_command, *STEPS, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_every_promised_file_is_there(finished: Path) -> None:
    """A run leaves its configuration, environment, status, logs, curves, checkpoints and two model folders."""
    names = (
        *("config.yaml", "environment.json", "status.json", "metrics.jsonl", "steps.jsonl", "samples.jsonl"),
        *("train.log", "training_curves.png", "tokenizer/tokenizer.json", "final/model.safetensors"),
        *("best_model/config.json", "checkpoints/step-0000012/MANIFEST.json"),
    )
    assert [name for name in names if not (finished / name).exists()] == []
    status = json.loads((finished / "status.json").read_text())
    assert (status["state"], status["exit_code"], status["step"]) == ("finished", 0, 12)
    assert not (finished / "run.lock").exists()


def test_every_metric_of_the_table_is_in_every_row(finished: Path) -> None:
    """Rows of metrics.jsonl have all keys of the table of metrics, and the perplexity is that of the loss."""
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12]
    work = flops_per_token(load_model(finished).model.config)
    for row in rows:
        assert set(METRICS) - RARE <= set(row)
        assert row["val_perplexity"] == pytest.approx(torch.tensor(row["val_loss"], dtype=torch.float64).exp().item())
        assert row["best_val_loss"] <= row["val_loss"]
        assert row["flops"] == row["tokens"] * work


def test_config_yaml_repeats_the_run_elsewhere(finished: Path, tmp_path: Path) -> None:
    """The configuration that a run writes is a valid one and gives the same weights in another folder."""
    again = tmp_path / "again"
    assert main(["train", "--config", str(finished / "config.yaml"), "--output-dir", str(again)]) == 0
    ours, theirs = load_file(finished / "final/model.safetensors"), load_file(again / "final/model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    values = yaml.safe_load((finished / "config.yaml").read_text())
    assert Path(values["data"]["data"][0]).is_absolute()
    assert "output_dir" not in values["training"]


@pytest.mark.parametrize("name", ["final", "best_model", "checkpoints/step-0000012"])
def test_transformers_opens_every_model_folder(finished: Path, name: str) -> None:
    """AutoModelForCausalLM and AutoTokenizer load what a run leaves, and compute the same logits."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(finished / name).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(finished / name)
    ours = load_model(finished / name)
    assert ours.tokenizer is not None
    ids = tokenizer("import this\n")["input_ids"]
    assert ids == ours.tokenizer.encode("import this\n").tolist()
    with torch.no_grad():
        difference = ours.model(torch.tensor([ids])) - theirs(torch.tensor([ids])).logits
    assert difference.abs().max() <= 1e-4


def test_a_new_run_can_start_from_weights(finished: Path, small_command: list[str], tmp_path: Path) -> None:
    """--init-from begins at step 0 with the weights of a model folder: its loss is what that model had reached."""
    folder = tmp_path / "run"
    arguments = [*small_command, "--max-steps", "2", "--learning-rate", "1e-9", "--init-from", str(finished)]
    arguments.remove("3e-3")
    arguments.remove("--learning-rate")
    assert main([*arguments, "--output-dir", str(folder)]) == 0
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    best = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])["best_val_loss"]
    assert last["step"] == 2
    assert last["val_loss"] == pytest.approx(best, abs=0.02)


def test_weights_that_are_refused_cost_no_run(copy: Path, small_command: list[str], tmp_path: Path) -> None:
    """With --overwrite the old run stays, and without it no folder is left, when --init-from is missing or misfits."""
    weights = (copy / "final" / "model.safetensors").read_bytes()
    other = [*small_command, "--max-steps", "2", "--head-dim", "8", "--overwrite"]
    for init_from, code in ((tmp_path / "nothing", 66), (copy, 2)):
        words = ["--init-from", str(init_from)]
        assert main([*other, *words, "--output-dir", str(copy)]) == code
        assert main([*other, *words, "--output-dir", str(tmp_path / "new")]) == code
    assert (copy / "final" / "model.safetensors").read_bytes() == weights
    assert not (tmp_path / "new").exists()


def test_a_run_that_appeared_meanwhile_is_refused(copy: Path, tmp_path: Path) -> None:
    """Another process may train in the folder while this one still prepares its text: its run stays."""
    config = load_config(yaml.safe_load((copy / "config.yaml").read_text()), output_dir=str(tmp_path / "run"))
    with open_run(config, Parts(), screen=Screen(quiet=True)) as opened:
        shutil.copytree(copy, tmp_path / "run")
        with pytest.raises(RunExistsError, match="already contains a run"), start_run(opened):
            pass
    assert (tmp_path / "run" / "final" / "model.safetensors").exists()


def test_a_directory_with_a_run_is_not_overwritten(
    finished: Path, small_command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run into the same directory is refused with exit code 2, naming both ways out."""
    before = (finished / "metrics.jsonl").read_bytes()
    assert main([*small_command, *STEPS, "--output-dir", str(finished)]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "--resume" in error
    assert "--overwrite" in error
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_a_finished_run_has_nothing_to_do(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Resuming a finished run changes no weight, says that there is nothing to do and exits 0."""
    before = (finished / "final/model.safetensors").read_bytes()
    assert main(["train", "--output-dir", str(finished), "--resume"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (finished / "final/model.safetensors").read_bytes() == before


def test_a_longer_run_goes_on(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Raising the length on resume plans the schedule anew, says so, and trains the additional steps."""
    assert main(["train", "--output-dir", str(copy), "--resume", "--max-steps", "15"]) == 0
    assert "planned again" in capsys.readouterr().out
    assert json.loads((copy / "status.json").read_text())["step"] == 15


def test_an_interrupt_while_the_curves_are_drawn_hides_no_end(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """status.json says that the run has finished, although the picture was not waited for."""

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("textmill.training.around_the_loop.draw_training_curves", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tm.train(load_config(copy / "config.yaml"), output_dir=copy, resume=True, max_steps=14, quiet=True)
    status = json.loads((copy / "status.json").read_text(encoding="utf-8"))
    assert (status["state"], status["step"]) == ("finished", 14)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--d-model", "64"], "d_model"),
        (["--seed", "8"], "seed"),
        (["--tokenizer", "char"], "tokenizer"),
        (["--batch-size", "3"], "batch"),
    ],
)
def test_another_run_is_not_taken_for_this_one(
    copy: Path, capsys: pytest.CaptureFixture[str], change: list[str], word: str
) -> None:
    """A resumed run that would differ in shape, seed, tokenizer or global batch is refused with 78, naming it."""
    code = main(["train", "--output-dir", str(copy), "--resume", *change])
    if word == "batch":  # 3 rows do not divide the global batch of 8: it is split otherwise, and said
        assert code == 0
        return
    assert code == 78
    assert word in capsys.readouterr().err


@pytest.mark.parametrize("name", ["logs/mine", "tokenizer/mine", "report.html", "metrics.jsonl"])
def test_files_of_another_program_are_not_replaced(
    small_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A folder without a run that has a name which a run writes is refused with 2 and left as it is."""
    mine = tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert main([*small_command, *STEPS, "--output-dir", str(tmp_path / "run")]) == 2
    assert f"contains {Path(name).parts[0]}" in capsys.readouterr().err
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_changed_data_are_noticed(small_command: list[str], book: Path, tmp_path: Path) -> None:
    """A run whose text has changed since is refused with 78."""
    text = tmp_path / "text.txt"
    text.write_text(book.read_text())
    arguments = [str(text) if argument == str(book) else argument for argument in small_command]
    folder = tmp_path / "run"
    assert main([*arguments, *STEPS, "--output-dir", str(folder)]) == 0
    text.write_text(book.read_text() + "one more line\n")
    assert main(["train", "--output-dir", str(folder), "--resume", "--max-steps", "20"]) == 78


@pytest.mark.parametrize("name", ["metrics.jsonl", "steps.jsonl", "samples.jsonl"])
@pytest.mark.parametrize("damage", [b"\xff", b'{"step": {}, "val_loss": []', b"[" * 50])
def test_a_damaged_log_stops_no_resume(
    finished: Path, copy: Path, capsys: pytest.CaptureFixture[str], name: str, damage: bytes
) -> None:
    """The line is said and left out; training goes on to the same weights as from an intact log."""
    log = copy / name
    whole = log.read_bytes()
    log.write_bytes((damage + whole[len(damage) :])[: len(whole)])
    shutil.rmtree(copy / "checkpoints" / "step-0000012")
    assert main(["train", "--output-dir", str(copy), "--resume"]) == 0
    if name != "samples.jsonl":  # which nothing reads
        assert f"{name}, line 1" in capsys.readouterr().out
    weights = [(run / "final" / "model.safetensors").read_bytes() for run in (finished, copy)]
    assert weights[0] == weights[1]


def test_a_damaged_checkpoint_is_passed_over(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the newest checkpoint damaged, resuming goes on from the one before, says so, and ends alike."""
    before = load_file(copy / "final/model.safetensors")
    weights = copy / "checkpoints/step-0000012/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.unlink()
    weights.write_bytes(content)
    assert main(["train", "--output-dir", str(copy), "--resume"]) == 0
    assert "step-0000012" in capsys.readouterr().out
    after = load_file(copy / "final/model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_with_no_good_checkpoint_never_starts_over(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With every checkpoint damaged, resuming exits 65 and leaves the run as it is.

    Why each cannot be used is said once; the last line names a command, which makes use of the model that is left.
    """
    for manifest in copy.glob("checkpoints/*/MANIFEST.json"):
        manifest.write_text("{}")
    before = (copy / "metrics.jsonl").read_bytes()
    assert main(["train", "--output-dir", str(copy), "--resume"]) == 65
    told = capsys.readouterr()
    assert "skipped damaged checkpoint step-0000012" in told.out and "step-0000012" not in told.err
    assert f"all 3 checkpoints in {copy}/checkpoints are damaged. A new run can start from" in told.err
    assert (copy / "metrics.jsonl").read_bytes() == before
    words = shlex.split(told.err.strip().rpartition("textmill train ")[2])
    assert main(["train", *words]) == 0
    assert resolve_model(f"{copy}-2") == Path(f"{copy}-2/best_model")


@pytest.mark.parametrize(("name", "step"), [("best_model", "checkpoints/step-00000"), ("final", "step-0000012")])
def test_a_damaged_model_names_the_ways_out(
    copy: Path, name: str, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal names the checkpoint with the same model and the command that repairs it, which says that it did."""
    intact = (copy / name / "config.json").read_bytes()
    (copy / name / "config.json").write_bytes(intact + b" ")
    assert main(["generate", str(copy / name), "--prompt", "the"]) == 65
    told = capsys.readouterr().err
    assert step in told.partition(" has the same model; ")[0]
    assert f"train --output-dir {copy} --resume writes {name} anew from it. If you changed it yourself" in told
    assert main(["train", "--output-dir", str(copy), "--resume"]) == 0
    assert f"{copy / name} is damaged (config.json has" in (said := capsys.readouterr().out)
    assert "): it is written anew from the checkpoint of step" in said
    assert (copy / name / "config.json").read_bytes() == intact
    assert main(["generate", str(copy / name), "--prompt", "the", "--max-new-tokens", "1"]) == 0


def test_a_damaged_model_whose_checkpoint_is_damaged_too(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another model of the run is named; of a damaged manifest it is said what is lost without it."""
    best = json.loads((copy / "checkpoints/step-0000012/state.json").read_text())["progress"]["best_step"]
    (copy / f"checkpoints/step-{best:07d}/config.json").write_text("{}")
    (copy / "best_model/MANIFEST.json").write_text("{}")
    assert main(["generate", str(copy), "--prompt", "the"]) == 65
    told = capsys.readouterr().err
    assert f"Another model of the run is {copy / 'last'}, of the checkpoint step-" in told
    assert "Without MANIFEST.json nobody can tell whether the other files are as they were written; to use" in told
    assert "If you changed it yourself" not in told


def test_a_whole_best_model_is_not_replaced_by_a_damaged_checkpoint(copy: Path) -> None:
    """Without a better step best_model/ stays as it is, though the checkpoint of its step is damaged."""
    assert main(["train", "--output-dir", str(copy), "--resume", "--max-steps", "14", "--learning-rate", "3"]) == 0
    best = json.loads((copy / "checkpoints/step-0000014/state.json").read_text())["progress"]["best_step"]
    assert best == 12
    before = (copy / "best_model/config.json").read_bytes()
    (copy / "checkpoints/step-0000012/config.json").write_text("{}")
    assert main(["train", "--output-dir", str(copy), "--resume", "--max-steps", "15"]) == 0
    assert (copy / "best_model/config.json").read_bytes() == before
    assert resolve_model(copy) == copy / "best_model"


def test_nothing_to_resume(small_command: list[str], tmp_path: Path) -> None:
    """--resume of a directory without a run exits 66; --resume auto begins one there."""
    assert main([*small_command, *STEPS, "--output-dir", str(tmp_path / "none"), "--resume"]) == 66
    assert not (tmp_path / "none").exists()
    assert main([*small_command, "--max-steps", "2", "--output-dir", str(tmp_path / "some"), "--resume", "auto"]) == 0


def test_a_fork_goes_on_elsewhere(finished: Path, tmp_path: Path) -> None:
    """--resume-from another run's checkpoint with a new directory continues from its step and leaves that run alone."""
    before = sorted(path.name for path in (finished / "checkpoints").iterdir())
    fork = tmp_path / "fork"
    arguments = ["train", "--resume-from", str(finished / "checkpoints/step-0000008"), "--output-dir", str(fork)]
    assert main([*arguments, "--max-steps", "16"]) == 0
    assert json.loads((fork / "status.json").read_text())["step"] == 16
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == before


def test_one_process_per_directory(
    small_command: list[str],
    tmp_path: Path,
    start_command: Callable[[list[str]], Command],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While a run is under way, a second process on its directory is refused with exit code 2, naming the first."""
    folder = tmp_path / "run"
    first = start_command([*small_command, "--max-steps", "100000", "--output-dir", str(folder)])
    wait_for(folder / "steps.jsonl")
    assert main(["train", "--output-dir", str(folder), "--resume"]) == 2
    assert f"process {first.process.pid}" in capsys.readouterr().err
    first.process.kill()
    first.wait()


def test_config_yaml_says_what_a_vocabulary_became(tmp_path: Path) -> None:
    """It asks the same of the text again, names the size that was found, and the line it gives loads that shape."""
    text = tmp_path / "text.txt"
    text.write_text("what was asked for is not always what there is to be found\n" * 30)
    shape: dict[str, Any] = {"d_model": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 16, "batch_size": 2}
    run = tmp_path / "run"
    tm.train(data=str(text), vocab_size=5000, max_steps=1, output_dir=str(run), **shape)
    loaded = load_model(run)
    size = loaded.model.config.vocab_size
    assert size is not None and size < 5000
    written = (run / "config.yaml").read_text()
    assert f"# vocab_size 5000 is what was asked of the text; the tokenizer and the model have {size}." in written
    assert load_config(run).model.vocab_size == 5000

"""Loss spikes: found by the rule as it is written down, rolled back to the same bits, never seen in healthy runs."""

from __future__ import annotations

import json
import os
import random
import shlex
import statistics
import sysconfig
from pathlib import Path

import pytest
import torch

from support.disk_faults import in_child
from support.poisoned_text import LENGTH, poisoned_command, records
from support.run_commands import assert_same_run, rows
from support.run_moments import after_steps
from textmill.checkpoint.find_model import resolve_checkpoint
from textmill.cli.main import main
from textmill.config import load_config
from textmill.console.screen import Screen
from textmill.engine.world import World
from textmill.training.given_parts import Parts
from textmill.training.loss_spikes import Rollback, Rollbacks, SpikeWatch
from textmill.training.open_run import open_run
from textmill.training.training_rows import make_loader

ALONE = World(0, 1, torch.device("cpu"))


def spikes_by_hand(losses: list[float]) -> list[int]:
    """Return the steps at which spikes begin, counted from 1, by the formula of the documentation."""
    found, above = [], False
    for step, loss in enumerate(losses, 1):
        window = losses[max(0, step - 65) : step - 1]
        was, above = above, False
        if len(window) >= 32:
            median = statistics.median(window)
            changes = [abs(window[index] - window[index - 1]) for index in range(1, len(window))]
            deviation = 1.4826 * statistics.median(changes) / 2**0.5
            above = loss > median + max(10 * deviation, 0.5)
        if above and not was:
            found.append(step)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_rule_is_the_written_one_however_often_losses_are_read(seed: int) -> None:
    """Noise of any size around any curve, with spikes of one step and of many: the same steps as by hand."""
    draw = random.Random(seed)
    noise = draw.choice([0.001, 0.05, 0.3])
    losses = [3 * 0.99**step + draw.gauss(0, noise) for step in range(300)]
    for _ in range(4):
        first, length = draw.randrange(20, 280), draw.choice([1, 3, 40])
        losses[first : first + length] = [loss + draw.uniform(0.3, 5) for loss in losses[first : first + length]]
    targets = [draw.randrange(1, 500) for _ in losses]
    watch, found, step = SpikeWatch(), [], 0
    while step < len(losses):
        for _ in range(min(draw.randrange(1, 30), len(losses) - step)):
            nats = torch.tensor(losses[step] * targets[step], dtype=torch.float64)
            losses[step] = nats.item() / targets[step]  # as rounded as what is read
            watch, step = watch.add(nats, targets[step]), step + 1
            if draw.random() < 0.1:
                watch = SpikeWatch.from_state(json.loads(json.dumps(watch.state(ALONE))), ALONE)
        watch, spikes = watch.read(step, ALONE)
        found += [spike.first for spike in spikes]
    assert found == spikes_by_hand(losses)
    assert watch.found == len(found)


def test_losses_that_are_not_finite_are_no_spikes() -> None:
    """Their steps change no weights; the next finite loss is compared with the finite ones."""
    watch = SpikeWatch()
    for loss in [2.0] * 40 + [float("nan"), float("inf"), 2.1, 9.0]:
        watch = watch.add(torch.tensor(loss), 1)
    watch, spikes = watch.read(44, ALONE)
    assert [(spike.first, spike.last, spike.loss, spike.median, spike.bound) for spike in spikes] == [
        (44, 44, 9.0, 2.0, 2.5)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_skipped_rows_are_left_out_of_the_order_and_no_others(seed: int) -> None:
    """After any returns, overlapping or nested, the steps read the order of rows without the skipped ones."""
    draw = random.Random(seed)
    rollbacks = Rollbacks()
    gone: set[int] = set()
    for _ in range(draw.randrange(1, 6)):
        first = draw.randrange(60)
        end = first + draw.randrange(1, 20)
        rollbacks = rollbacks.with_one(Rollback(0, 0.0, 0.0, 0, first, end))
        gone |= set(range(first, end))
    left = [position for position in range(400) if position not in gone]
    assert [rollbacks.position(step) for step in range(200)] == left[:200]
    assert rollbacks.skipped_steps == len(gone)
    assert Rollbacks.from_state(json.loads(json.dumps(rollbacks.state()))) == rollbacks


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a run on one sentence, again and again, with a paragraph of noise in rows that come late."""
    return poisoned_command(tmp_path_factory.mktemp("poisoned"))


@pytest.fixture(scope="module")
def rolled_back(poisoned: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that goes back from the poisoned rows."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*poisoned, *LENGTH, "--on-spike", "rollback", "--output-dir", str(folder)]) == 0
    return folder


def test_poisoned_rows_are_found_and_skipped(
    poisoned: list[str], rolled_back: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss is high in the run that only warns; the other has each step once, no high loss, and says what it did."""
    warned = tmp_path / "warned"
    assert main([*poisoned, *LENGTH, "--output-dir", str(warned)]) == 0
    said = capsys.readouterr().out
    spiked = rows(warned / "steps.jsonl")
    assert "loss spike at step " in said and spiked[-1]["loss_spikes"] >= 1
    assert "rollbacks" not in spiked[-1]
    made = records(rolled_back)
    table = rows(rolled_back / "steps.jsonl")
    assert made and [row["step"] for row in table] == list(range(4, 89, 4))
    assert (table[-1]["rollbacks"], table[-1]["skipped_batches"]) == (
        len(made),
        sum(one["end"] - one["first"] for one in made),
    )
    assert rows(rolled_back / "metrics.jsonl")[-1]["rollbacks"] == len(made)
    for one in made:
        assert one["step"] <= one["spike_step"] - 2 and one["loss"] > one["bound"]
    log = (rolled_back / "train.log").read_text()
    assert f"rolled back to step {made[-1]['step']} (number {len(made)} of at most 5): the rows of" in log


def test_the_skipped_rows_are_the_poisoned_ones(rolled_back: Path, tmp_path: Path) -> None:
    """Every skipped range has a row of the noise at its spike, and no step that was kept after 32 has one."""
    config = load_config(rolled_back / "config.yaml", output_dir=str(tmp_path / "run"))
    with open_run(config, Parts(), screen=Screen(quiet=True)) as opened:
        tokenizer = opened.corpus.tokenizer
        assert tokenizer is not None
        loader = make_loader(opened.config, opened.rows, opened.augment, opened.world)

        def is_poisoned(position: int) -> bool:
            rows_read = (row.tolist() for batch in loader.batches(position) for row in batch.targets)
            return any(not tokenizer.decode([token for token in row if token >= 0]).isascii() for row in rows_read)

        made = Rollbacks.from_state(records(rolled_back))
        assert all(any(map(is_poisoned, range(one.first, one.end))) for one in made.made)
        assert not any(is_poisoned(made.position(step)) for step in range(60, 90))


@pytest.mark.slow
def test_a_count_alone_says_nothing(poisoned: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `none` the rows have the number of spikes, and the screen no word of them."""
    assert main([*poisoned, *LENGTH, "--on-spike", "ignore", "--output-dir", str(tmp_path / "run")]) == 0
    assert "spike" not in capsys.readouterr().out
    assert rows(tmp_path / "run" / "steps.jsonl")[-1]["loss_spikes"] >= 1


@pytest.mark.slow
def test_the_same_command_twice_rolls_back_to_the_same_bits(
    poisoned: list[str], rolled_back: Path, tmp_path: Path
) -> None:
    """Weights, optimizer and logs of a second run are equal."""
    assert main([*poisoned, *LENGTH, "--on-spike", "rollback", "--output-dir", str(tmp_path / "again")]) == 0
    assert_same_run(rolled_back, tmp_path / "again")
    assert records(rolled_back) == records(tmp_path / "again")


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("before it is found", marks=pytest.mark.slow),
        "just after",
        pytest.param("replaying", marks=pytest.mark.slow),
        pytest.param("after the next checkpoint", marks=pytest.mark.slow),
    ],
)
def test_killed_around_a_rollback_and_resumed_it_is_the_same_run(
    poisoned: list[str], rolled_back: Path, tmp_path: Path, moment: str
) -> None:
    """A process that dies at any step around the rollback, resumed, ends in the same bits and the same logs."""
    first = records(rolled_back)[0]
    found = -(-first["spike_step"] // 4) * 4  # the report that found it: so many steps were taken in the process
    steps = {
        "before it is found": found - 1,
        "just after": found + 1,
        "replaying": found + 5,
        "after the next checkpoint": found + 11,
    }
    run = tmp_path / "run"

    def train() -> None:
        after_steps(lambda taken: os._exit(9) if taken == steps[moment] else None)
        main([*poisoned, *LENGTH, "--on-spike", "rollback", "--output-dir", str(run)])

    assert in_child(train) == 9
    assert main(["train", "--output-dir", str(run), "--resume"]) == 0
    assert_same_run(rolled_back, run)
    assert records(rolled_back) == records(run)


JOLT = """
import torch

class Jolt(torch.optim.AdamW):
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if int(self.state[parameter]["step"]) >= 40:
                    with torch.no_grad():
                        parameter.normal_(0.0, 2.0)

def jolted(groups):
    return Jolt(groups, lr=3e-3)
"""


def test_rollbacks_have_a_bound(
    poisoned: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An optimizer that throws the weights off from step 40 on: five rollbacks, then the run goes on.

    The checkpoint before the spike stays, though one is kept, and the command that is said continues from it.
    """
    (tmp_path / "jolting.py").write_text(JOLT)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    command = [*poisoned, *LENGTH, "--on-spike", "rollback"]
    command[command.index("adamw")] = "jolting:jolted"
    assert main([*command, "--save-total-limit", "1", "--output-dir", str(run)]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("rolled back")][-1].startswith(
        "rolled back to step 30 (number 5 of at most 5)"
    )
    again = f"train --output-dir {run} --resume-from step-30 --learning-rate 0.003 --trust"
    assert (
        "the run was rolled back 5 times, which is the most: it goes on. Lower --learning-rate, from step 30, which is "
        f"kept: textmill {again}\n"
    ) in said
    assert said.splitlines()[-1].split(maxsplit=2)[::2] == ["next", again]
    assert "is above that of guessing (5.55): the model in best_model/ is of no use" in " ".join(said.split())
    assert rows(run / "steps.jsonl")[-1]["rollbacks"] == 5
    assert {path.name for path in (run / "checkpoints").iterdir()} >= {"step-0000030", "step-0000090"}
    assert main([*shlex.split(again), "--max-steps", "36"]) == 0
    assert "at step 30 of 36" in capsys.readouterr().out
    assert [row["step"] for row in rows(run / "steps.jsonl")][-2:] == [32, 36]


def test_a_spike_before_the_first_checkpoint(
    poisoned: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to go back to: it is said, and the run goes on."""
    command = [*poisoned, "--max-steps", "90", "--save-steps", "1000", "--eval-steps", "1000", "--on-spike", "rollback"]
    assert main([*command, "--output-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "there is no checkpoint from before step " in said
    assert "rolled back" not in said


HEALTHY = ("argparse.py", "stringprep.py", "this.py", "mimetypes.py", "quopri.py", "colorsys.py", "token.py")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_a_healthy_run_has_no_spike(number: int, tmp_path: Path) -> None:
    """Twenty runs of different widths, depths, batches, tokenizers, optimizers, rates and seeds on mixed text."""
    library = Path(sysconfig.get_paths()["stdlib"])
    text = tmp_path / "mixed.txt"
    text.write_text("".join((library / name).read_text() for name in HEALTHY))
    tokenizer = ("byte", "char", "bpe")[number % 3]
    command = [
        *("train", str(text), "--cache-dir", str(tmp_path / "cache"), "--tokenizer", tokenizer),
        *(("--vocab-size", "512") if tokenizer == "bpe" else ()),
        *("--d-model", str((16, 32, 48, 64)[number % 4]), "--num-layers", str(1 + number % 3), "--num-heads", "2"),
        *("--max-seq-len", "32", "--batch-size", str((1, 2, 4, 8, 16)[number % 5])),
        *("--optimizer", ("adamw", "muon")[number % 2], "--learning-rate", ("1e-3", "3e-3", "1e-2")[number % 3]),
        *("--max-steps", "200", "--eval-steps", "200", "--save-steps", "200", "--sample-steps", "0"),
        *("--seed", str(number), "--device", "cpu", "--output-dir", str(tmp_path / "run")),
    ]
    assert main(command) == 0
    assert "loss_spikes" not in rows(tmp_path / "run" / "steps.jsonl")[-1]


WRECK = """
import shutil
import torch

class Wreck(torch.optim.AdamW):
    taken = 0

    def step(self, closure=None):
        super().step(closure)
        self.taken += 1
        if self.taken == {steps} + 1:
            shutil.copy("{run}/best_model/MANIFEST.json", "{run}/after-rollback.json")
        if self.taken > {steps}:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data.zero_()

def wrecked(groups):
    return Wreck(groups, lr=1e-2, betas=(0.9, 0.95))
"""


def test_the_best_model_is_that_of_a_step_that_was_not_undone(
    poisoned: list[str], rolled_back: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best step is undone, and nothing later is better: the best before it is the best again, with its checkpoint.

    The last evaluation is right before the spike, the checkpoint to return to one step earlier, and two are kept.
    """
    spike = records(rolled_back)[0]["spike_step"]
    every = next(steps for steps in range(3, spike) if (spike - 1) % steps == 0)
    run = tmp_path / "run"
    (tmp_path / "wrecking.py").write_text(WRECK.format(steps=-(-spike // 4) * 4, run=run))
    monkeypatch.syspath_prepend(str(tmp_path))
    command = [*poisoned, "--max-steps", "90", "--save-steps", str(spike - 2), "--eval-steps", str(every)]
    command[command.index("adamw")] = "wrecking:wrecked"
    assert main([*command, "--save-total-limit", "2", "--on-spike", "rollback", "--output-dir", str(run)]) == 0
    assert [records(run)[0][name] for name in ("spike_step", "step")] == [spike, spike - 2]
    best = json.loads((max((run / "checkpoints").glob("step-*")) / "state.json").read_text())["progress"]["best_step"]
    assert best < spike - 2
    for name in ("after-rollback.json", "best_model/MANIFEST.json"):
        assert json.loads((run / name).read_text())["step"] == best
    assert resolve_checkpoint("best", run).name == f"step-{best:07d}"

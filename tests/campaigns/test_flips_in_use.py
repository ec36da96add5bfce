"""A damaged file of a run, its cache or a model is seen by every command that reads it, or changes no result."""

from __future__ import annotations

import importlib
import os
import random
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support.damaged_world import REFUSALS, Use, World, verdict
from support.disk_faults import DAMAGES, FLIPS, damaged
from textmill.cli.main import main

RUN, CHECKPOINT = "runs/book", "runs/book/checkpoints/step-0000010"

SHAPE = [
    *("--d-model", "16", "--num-layers", "1", "--num-heads", "1", "--max-seq-len", "16", "--device", "cpu"),
    *("--precision", "fp32", "--threads", "1", "--cache-dir", "cache"),
]
SHORT = [*("--max-steps", "1", "--batch-size", "2", "--save-steps", "1", "--sample-steps", "0", "--output-dir", "new")]

CONFIG_REFUSED = (2, *REFUSALS)
"""Of commands that are given the run's config.yaml as one of the user's own."""

USES_OF_A_FLIP = 2
"""Each damage is met by so many commands, the next ones in their turn: all that read the file, over its damages."""


def resumes() -> Iterator[Use]:
    for words in (
        ["--output-dir", RUN, "--resume"],
        ["--output-dir", RUN, "--resume", "auto"],
        ["--resume-from", f"{RUN}/last"],
        ["--output-dir", RUN, "--resume-from", "step-10"],
        ["--resume-from", CHECKPOINT],
        ["--output-dir", RUN, "--resume-from", "best"],
        ["--output-dir", RUN, "--resume-from", "epoch-1"],
        ["--output-dir", RUN, "--resume-from", "checkpoint_step_10.pt"],
    ):
        yield Use(("train", *words, "--max-steps", "15"), RUN)
    yield Use(("train", "--resume-from", f"{RUN}/best", "--output-dir", "new", "--max-steps", "15"), "new")


def new_runs() -> Iterator[Use]:
    same = SHAPE[8:]  # the shape is the model's
    for model in (RUN, *(f"{RUN}/{name}" for name in MODELS), CHECKPOINT, "model"):
        yield Use(("train", "text.txt", "--init-from", model, *same, *SHORT), "new")
    yield Use(
        ("train", "--config", f"{RUN}/config.yaml", "--max-steps", "1", "--output-dir", "new"), "new", CONFIG_REFUSED
    )
    for tokenizer in (RUN, f"{RUN}/tokenizer", "tok", "model"):
        yield Use(("train", "text.txt", "--tokenizer", tokenizer, *SHAPE, *SHORT), "new")
    yield Use(("train", "mine", *SHAPE, *SHORT), "new")


MODELS = ("best", "final", "last", "step-10", "epoch-1", "best.pt", "final_model.bin", "best_model/model.safetensors")


def models() -> Iterator[Use]:
    generated = ("--prompt", "the", "--max-new-tokens", "8", "--device", "cpu")
    for model in (RUN, *(f"{RUN}/{name}" for name in MODELS), CHECKPOINT):
        yield Use(("evaluate", model, "--json", "--device", "cpu"))
        yield Use(("generate", model, "--temperature", "0", *generated))
    yield Use(("evaluate", RUN, "text.txt", "--json", "--device", "cpu"))
    yield Use(("evaluate", "model", "text.txt", "--json", "--device", "cpu"))
    yield Use(("generate", RUN, "--seed", "3", *generated))
    yield Use(("generate", "model", "--seed", "3", *generated))
    yield Use(("generate", RUN, "--seed", "3", "--tokenizer", f"{RUN}/tokenizer", *generated))
    for tokenizer in (RUN, f"{RUN}/tokenizer", f"{RUN}/best_model", CHECKPOINT, "model", "tok"):
        yield Use(("tokenizer", "encode", tokenizer, "the rat"))
        yield Use(("tokenizer", "inspect", tokenizer, "the rat", "--json"))
    yield Use(("tokenizer", "encode", f"{RUN}/tokenizer/tokenizer.json", "the rat"))
    yield Use(("tokenizer", "decode", "tok", "1", "2", "3"))


def reports() -> Iterator[Use]:
    yield Use(("report", RUN, "--output", "../outputs/page.html"))
    yield Use(("runs", "runs"))
    yield Use(("runs", "runs", "--json"))
    yield Use(("runs", "compare", RUN, "runs/other", "--json"))
    yield Use(("runs", "compare", RUN, "runs/other", "--on", "text.txt", "--json"))
    for folder in (RUN, CHECKPOINT, f"{RUN}/best_model", f"{RUN}/final", "model", "mine"):
        yield Use(("verify", folder))
    yield Use(("config", "show", "--config", f"{RUN}/config.yaml"), codes=CONFIG_REFUSED)
    yield Use(("plan", "--config", f"{RUN}/config.yaml", "--json"), codes=CONFIG_REFUSED)
    yield Use(("cache", "list", "--cache-dir", "cache"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run on text that was piped in, its report, a copy of its model, a tokenizer and a corpus of their own."""
    folder = tmp_path_factory.mktemp("world")
    root = folder / "root"
    root.mkdir()
    (root / "text.txt").write_text("the cat sat on the mat and looked at the rat. " * 30)
    torch.set_num_threads(1)
    for module in ("report.html_page", "report.compare", "report.verify_files", "evaluation", "generation", "cli.plan"):
        importlib.import_module(f"textmill.{module}")  # once for all children
    train = ["train", "-", "--tokenizer", "char", "--batch-size", "8", "--output-dir", RUN, "--max-steps", "14", *SHAPE]
    every = ["--save-steps", "2", "--eval-steps", "2", "--sample-steps", "7", "--sample-tokens", "4"]
    with pytest.MonkeyPatch.context() as patch, (root / "text.txt").open() as piped:
        patch.chdir(root)
        patch.setenv("XDG_CACHE_HOME", str(root / "xdg"))
        patch.setattr(sys, "stdin", piped)
        for arguments in (
            [*train, *every, "--logging-steps", "2"],
            ["report", RUN],
            ["prepare", "text.txt", "--tokenizer", "byte", "--output", "mine", "--cache-dir", "cache"],
            ["tokenizer", "train", "text.txt", "--tokenizer", "char", "--output", "tok"],
        ):
            assert main(arguments) == 0
    shutil.copytree(root / RUN / "final", root / "model")
    leave_out = shutil.ignore_patterns("checkpoints", "final", "report.html")
    shutil.copytree(root / RUN, root / "runs/other", ignore=leave_out)
    (root / RUN / "logs").mkdir()
    (root / RUN / "logs/events.out.tfevents.1").write_bytes(os.urandom(200))
    (root / RUN / "run.lock").write_text('{"host": "here", "pid": 1, "start": "now"}\n')
    shutil.copytree(root, folder / "pristine")
    return World(root, folder / "pristine", folder / "outputs")


def damaged_files(world: World) -> list[Path]:
    """Return every file but the text, which is the user's own, and what no damage is done to."""
    world.restore()
    others = (world.root / "runs/other", world.root / "xdg/matplotlib")
    return [
        path
        for path in world.files()
        if path.name != "text.txt" and not any(path.is_relative_to(other) for other in others)
    ]


def campaign(world: World, uses: list[Use], trials: int, kinds: tuple[str, ...], seed: int) -> dict[str, Counter[str]]:
    """Damage one file after the other; return, by name of the file, what came of each command that met the damage."""
    generator = random.Random(seed)
    paths = damaged_files(world)
    paths = paths[:: max(1, len(paths) // trials)]
    turns: Counter[Path] = Counter()
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for trial in range(trials):
        path, kind = paths[trial % len(paths)], kinds[trial // len(paths) % len(kinds)]
        content = damaged((world.pristine / path.relative_to(world.root)).read_bytes(), kind, generator)
        readers = [use for use in uses if str(path) in world.whole_outcome(use).opened]
        found[path.name]["damages"] += 1
        if not readers:
            found[path.name]["no effect"] += 1
        for _ in range(min(USES_OF_A_FLIP, len(readers))):
            use = readers[turns[path] % len(readers)]
            turns[path] += 1
            whole, after = world.whole_outcome(use), world.outcome(use, (path, content))
            outcome = verdict(use, whole, after, path)
            found[path.name][outcome] += 1
            where = f"{outcome}: {kind} in {path.relative_to(world.root)}: {use}"
            if outcome.isupper():
                print(f"{where}\n{after.said[-400:]}", flush=True)
    return found


def print_table(found: dict[str, Counter[str]]) -> None:
    columns = ("damages", "refused", "said", "no effect")
    print("\n" + f"{'file':<36}" + "".join(f"{name:>12}" for name in (*columns, "silent")))
    total: Counter[str] = Counter()
    for name, counts in sorted(found.items()):
        total += counts
        silent = sum(number for outcome, number in counts.items() if outcome not in columns)
        print(f"{name:<36}" + "".join(f"{counts[column]:>12}" for column in columns) + f"{silent:>12}")
    print(f"{'all':<36}" + "".join(f"{total[column]:>12}" for column in columns))


def assert_nothing_silent(found: dict[str, Counter[str]]) -> None:
    allowed = {"damages", "refused", "said", "no effect"}
    wrong = {name: dict(counts) for name, counts in found.items() if set(counts) - allowed}
    assert wrong == {}


SAMPLE = [
    Use(("train", "--output-dir", RUN, "--resume", "--max-steps", "15"), RUN),
    Use(("evaluate", RUN, "--json", "--device", "cpu")),
    Use(("tokenizer", "encode", RUN, "the rat")),
    Use(("tokenizer", "encode", "tok", "the rat")),
    Use(("runs", "compare", RUN, "runs/other", "--json")),
    Use(("verify", RUN)),
    Use(("verify", "mine")),
    Use(("evaluate", "model", "text.txt", "--json", "--device", "cpu")),
]
"""A few commands that together read most of the files."""


def test_a_sample_of_damages_is_seen_in_use(world: World) -> None:
    """One flip in every few files, met by two commands that read it."""
    found = campaign(world, SAMPLE, 12, ("digit",), seed=9)
    print_table(found)
    assert_nothing_silent(found)
    assert sum(counts["refused"] for counts in found.values()) >= 6
    assert sum(counts["said"] for counts in found.values()) >= 4


@pytest.mark.slow
def test_a_thousand_flips_are_seen_in_use(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """In every file, at every kind of byte, met by all commands in turn; then files cut short, emptied and zeroed."""
    uses = [*resumes(), *new_runs(), *models(), *reports()]
    with capsys.disabled():
        found = campaign(world, uses, 1000, FLIPS, seed=10)
        print_table(found)
        others = campaign(world, uses, 2 * len(damaged_files(world)), DAMAGES, seed=11)
        print_table(others)
    assert_nothing_silent(found)
    assert_nothing_silent(others)

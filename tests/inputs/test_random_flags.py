"""Command lines of every kind of nonsense, for every verb: done, or refused in one line with a code of its own."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import strategies as st

from support.damaged_inputs import NASTY_NUMBERS, NASTY_TEXT
from support.hypothesis_campaign import campaign, few_or_many
from support.setting_keys import KEYS
from support.well_behaved_commands import TINY, files_below, well_behaved
from textmill.cli.main import VERBS

OWN = {
    "evaluate": "batch-size device precision text-column min-length json",
    "generate": "prompt max-new-tokens temperature top-k top-p min-p repetition-penalty stop num-samples seed device "
    "tokenizer interactive json max-length",
    "prepare": "output repair dedup max-repetition max-symbols min-alphabetic json",
    "plan": "tokens-per-second json config",
    "sweep": "search trials max-time config json",
    "train": "json config dry-run",
    "config": "json config",
    "cache": "cache-dir older-than-days json",
    "tokenizer": "output json",
    "report": "output json",
    "data": "all json text-column format encoding include exclude files-from source-code normalize cache-dir",
}
"""Flags of a verb beside the settings of a run."""

SETTINGS = ("train", "plan", "prepare", "sweep", "config", "tokenizer")

WORDS = {
    "train": [
        ["text.txt"],
        ["prepared"],
        ["nowhere"],
        [""],
        ["run"],
        ["text.txt", "text.txt"],
        ["text.txt=0.5"],
        ["-"],
    ],
    "plan": [["text.txt"], ["prepared"], ["run"], ["nowhere"], ["*.txt"]],
    "evaluate": [
        ["run"],
        ["run/last"],
        ["run", "text.txt"],
        ["run/step-9"],
        ["text.txt"],
        ["nowhere"],
        [],
        ["prepared"],
    ],
    "generate": [["run"], ["run/best"], ["run/epoch-3"], ["text.txt"], ["nowhere"], [], ["run", "run"]],
    "prepare": [["text.txt"], ["text.txt", "nowhere"], ["prepared"], ["run"], [], ["t*", "-"]],
    "sweep": [["text.txt"], []],
    "report": [["run"], ["nowhere"], ["text.txt"], ["prepared"], []],
    "runs": [[], ["."], ["compare"], ["compare", "run", "run"], ["compare", "run", "text.txt"], ["text.txt"]],
    "verify": [["run"], ["prepared"], ["text.txt"], ["nowhere"], [], ["run/checkpoints/step-0000001"]],
    "tokenizer": [
        *(
            ["encode", "run", "text"],
            ["decode", "run", "1", "2"],
            ["decode", "run", "99999"],
            ["inspect", "run", "text"],
        ),
        *(["encode", "nowhere"], ["train", "text.txt"], ["inspect"], ["decode", "text.txt"], ["encode", "run"], []),
    ],
    "config": [["show"], ["show", "text.txt"], ["schema"], []],
    "presets": [[], ["tiny"], ["gpt2"], ["nothing"], ["tiny", "small"]],
    "doctor": [["--help"], ["a"], ["--nothing"]],
    "cache": [["list"], ["clean"], ["clean", "x"], []],
    "data": [["text.txt"], ["text.txt", "nowhere"], ["prepared"], ["run"], [], ["t*"]],
    "completion": [["bash"], ["zsh"], ["fish"], ["cmd"], []],
}
"""Positional words of every verb, good ones first."""

VALUES = st.one_of(
    st.sampled_from([*NASTY_TEXT, *map(str, NASTY_NUMBERS)]),
    st.sampled_from(
        ["8", "16", "byte", "char", "bpe", "cpu", "cuda", "text.txt", "run", "prepared", "nowhere", "out", "."]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
).filter(lambda value: "\0" not in value)  # which the system lets no command line hold

HARMLESS = {
    "train": [*TINY, "--output-dir", "out"],
    "sweep": [*TINY, "--output-dir", "out", "--trials", "1"],
    "prepare": ["--output", "out"],
    "tokenizer": [],
}
"""What keeps a command small; given first, so that nonsense may contradict it."""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A verb with words, real flags, misspelt flags, good and bad values; now and then anything at all."""
    verb = draw(st.sampled_from([verb for verb in VERBS if verb != "sweep" or find_spec("optuna") is None]))
    own = OWN.get(verb, "json").split()
    known = own + ([key.replace("_", "-") for key in KEYS] if verb in SETTINGS else [])
    flags = st.one_of(st.sampled_from(own), st.sampled_from(known), st.sampled_from([*KEYS, "help", "x", "", "-"]))
    words = [verb, *draw(st.sampled_from(WORDS[verb]))]
    if verb == "train":
        words += ["--dry-run"] if draw(st.integers(0, 5)) else ["--max-steps", "1"]
    if draw(st.integers(0, 3)):
        words += HARMLESS.get(verb, [])
    for _ in range(draw(st.integers(0, 3))):
        flag = f"--{draw(flags)}"
        value = draw(VALUES)
        words += draw(st.sampled_from([[flag], [flag, value], [flag, value], [f"{flag}={value}"], [value]]))
    if verb == "cache":
        words += ["--cache-dir", "cache/textmill"]
    if not draw(st.integers(0, 9)):
        draw(st.randoms()).shuffle(words)
    return words


@few_or_many
def test_any_command_line_is_done_or_refused(
    text_folder: Path, trained_folder: Path, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every verb with flags and values at random: exit code, one line, and nothing written by what was refused."""
    for name in ("run", "prepared"):
        shutil.copytree(trained_folder / name, text_folder / name)
    monkeypatch.setattr("textmill.cli.doctor.doctor", lambda **options: None)  # it measures for half a minute
    kept = files_below(text_folder)

    def check(words: list[str]) -> None:
        before = files_below(text_folder)
        try:
            said = well_behaved(words)
            new = {path for path in files_below(text_folder) - before if not path.startswith(f"{text_folder}/cache/")}
            assert said.code == 0 or not new, (words, said, new)
        finally:
            for path in files_below(text_folder) - kept:
                Path(path).unlink()
            for name in ("out", "runs", "cache"):
                shutil.rmtree(text_folder / name, ignore_errors=True)
        assert not kept - files_below(text_folder), words

    campaign(examples, command_lines(), check)

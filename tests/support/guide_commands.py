"""The command lines of the guides, and how to make one small enough for a test."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

PROGRAMS = (
    "fundamentallm",
    "llmbuilder",
    "python docs/train_model.py",
    "python scripts/train.py",
    "uv run python code/train.py",
    "python src/training/train.py",
)
"""What the guides call the program. In its place stands `textmill`, with the verb train unless the line has it."""

SMALLER = {
    "model-dim": "32",
    "d-model": "32",
    "embed-dim": "32",
    "num-layers": "1",
    "layers": "1",
    "num-heads": "2",
    "heads": "2",
    "d-ff": "64",
    "batch-size": "4",
    "max-steps": "3",
    "device": "cpu",
}
"""Flag -> the value it gets in a test."""


def in_guide(text: str) -> list[str]:
    """Return every command line of a guide that trains, in its order, one line each."""
    lines = []
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        joined = re.sub(r"\\\n\s*", "", block)
        lines += [line.strip() for line in joined.splitlines() if line.strip().startswith(PROGRAMS)]
    return lines


def flags_in_guide(text: str) -> list[list[str]]:
    """Return the flags that a guide shows by themselves, each block that has some as one list of words."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("--"):
                found.append(shlex.split(line.rstrip("\\ "), comments=True))
    return found


def ours(line: str) -> list[str]:
    """Return a guide's command line as the arguments of textmill."""
    program = next(program for program in PROGRAMS if line.startswith(program))
    words = shlex.split(line.removeprefix(program), comments=True)
    return words if words[:1] == ["train"] else ["train", *words]


def smaller(words: list[str]) -> list[str]:
    """Return the same command for a model of a few thousand weights and three steps."""
    made = list(words)
    for place, word in enumerate(words):
        name = word.removeprefix("--").replace("_", "-")
        if word.startswith("--") and name in SMALLER:
            made[place + 1] = SMALLER[name]
    made = [word for word in made if word not in ("--compile", "--use_wandb")]
    defaults = ("--d-model", "--num-layers", "--num-heads", "--batch-size", "--max-steps")
    flags = {_canonical(word) for word in made if word.startswith("--")}
    for flag in defaults:
        if flag not in flags:
            made += [flag, SMALLER[flag.removeprefix("--")]]
    if not flags & {"--block-size", "--max-seq-len", "--context-length"}:
        made += ["--max-seq-len", "32"]
    return [*made, "--eval-batches", "2", "--sample-steps", "0"]


def _canonical(flag: str) -> str:
    name = flag.replace("_", "-")
    same = {
        "--model-dim": "--d-model",
        "--embed-dim": "--d-model",
        "--layers": "--num-layers",
        "--heads": "--num-heads",
    }
    return same.get(name, name)


def guides(shared: Path) -> dict[str, str]:
    """Return the text of every guide by the first three digits of its name."""
    return {path.name[:3]: path.read_text() for path in sorted((shared / "guides").glob("*.md"))}


def blocks(text: str, language: str) -> list[str]:
    """Return every fenced block of a guide in that language, in its order, indented ones moved to the margin."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```", text, flags=re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, name, block in found if name == language]


def python_in_shell(text: str) -> list[str]:
    """Return what the guide's `python -c "..."` lines execute, as a shell hands it over."""
    shell = "\n".join([*blocks(text, "bash"), *blocks(text, "python")]).replace("\\\n", "")
    return [shlex.split(found)[0] for found in re.findall(r'^python -c ("(?:[^"\\]|\\.)*")', shell, flags=re.MULTILINE)]

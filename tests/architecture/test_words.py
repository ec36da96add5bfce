"""Words that the project gave up, each with a better one. See the glossary in docs/design.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

GONE = {
    r"\bchores?\b": "actions",
    r"\bextents?\b": "text size",
    r"\b(hereby|thereby|wherein|whereby|whence|thereof|seldom|anyhow|wholly)\b": "a modern word: by this, rarely, ...",
    r"\bno verb of\b": "unknown command",
    r"\bare a disaster\b": "CPU contention, oversubscription",
    r"\broom is taken\b": "buffers are allocated",
    r"\bleavings\b": "leftovers",
    r"\bknows (ids )?0 to\b": "accepts ids 0 to N",
    r"(?<![a-z])ledgers?\b": "index of encoded chunks",
    r"(?<![a-z])seal(s|ed)?(?![a-z])": "write_manifest: fsync and hash",
    r"(?<![a-z])(load_spread|own_part)\b": "load_sharded, local_shard",
    r"(?<![a-z])rehearsals?\b": "dry run",
    r"\bis there twice\b": "is repeated",
    r"\bin its turn\b": "will retry at the next save",
    r"\bof their signs\b": "of the characters",
    r"\bplays along\b": "supports it",
    r"\bin the making\b": "unfinished",
    r"\bis at it\b": "is preparing the same corpus",
    r"\b(run|output) director(y|ies)\b": "run folder, output folder",
    r"\bby heart\b": "is overfitting, memorizes",
    r"\bjudges?\b": "filter",
    r"\bwhat there is\b": "lists them",
    r"\bto be had\b": "available; out of memory",
    r"\bgo(es)? on from\b": "continue from",
    r"\bone's own\b": "your own, custom",
    r"\btakes? back\b": "removes",
    r"\bwhole or absent\b": "complete or absent",
    r"\bworked out\b": "computed, estimated",
    r"\bspread over\b": "divided among",
    r"\brun's folder\b": "run folder",
    r"\bhalf (a )?characters?\b": "a lone surrogate",
    r"\bno whole number of\b": "is not a multiple of",
    r"\bstretch(es)?\b(?!\.bin)": "encoded chunk",
    r"\bthe data (hold|are)\b": "the data contains, the data is",
    r"\blikeliest\b": "most likely",
    r"\bsaid once\b": "reported once",
    r"\bcomes? of\b": "results from",
    r"\bholds?\b(?! the lock)(?! back)": "contains, has",
    r"(?<![a-z])leaf(?![a-z])": "setting",
    r"\bplaces?\s*[:=]|\bplaces\b|\ba place\b": "path, label, device, row: the one that is meant",
}
"""Pattern -> what to say instead. A match anywhere in src, docs or README.md fails."""


@cache
def lines() -> list[tuple[str, str]]:
    """Return every line of src, docs and README.md with its path and number. The glossary is left out."""
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("src/**/*.yaml"), *ROOT.glob("docs/*.md"), ROOT / "README.md"]
    return [
        (f"{file.relative_to(ROOT)}:{number}", line.strip())
        for file in sorted(files)
        for number, line in enumerate(file.read_text("utf-8").partition("\n## Glossary\n")[0].splitlines(), 1)
    ]


def uses(pattern: str) -> list[str]:
    """Return every line that matches, after its path and number."""
    word = re.compile(pattern, re.IGNORECASE)
    return [f"{where}: {line}" for where, line in lines() if word.search(line)]


@pytest.mark.parametrize("pattern", GONE)
def test_words_do_not_come_back(pattern: str) -> None:
    """No file of the program or its documentation uses a word that was given up."""
    found = uses(pattern)
    assert not found, f"say {GONE[pattern]!r}:\n" + "\n".join(found)

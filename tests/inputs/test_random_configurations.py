"""Configuration files of every kind of nonsense: understood, or refused in one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from support.damaged_inputs import NASTY_TEXT, damaged_bytes, scalars, values
from support.hypothesis_campaign import campaign, few_or_many
from support.setting_keys import FETCHING, KEYS
from support.well_behaved_commands import TINY, files_below, well_behaved
from textmill.config import Config
from textmill.config.fields import SECTIONS
from textmill.config.merge_layers import load_config
from textmill.config.setting_lookup import setting_names
from textmill.errors import ConfigError

GOOD: dict[str, Any] = {
    "d_model": 16,
    "num_layers": 1,
    "num_heads": 2,
    "max_seq_len": 8,
    "batch_size": 2,
    "max_steps": 3,
    "tokenizer": "byte",
    "learning_rate": "3e-4",
    "optimizer": "adamw",
    "val_split": 0.1,
    "report_to": [],
    "special_tokens": ["<a>", "<b>"],
    "eval_steps": "epoch",
    "seed": 1,
}

sections = st.sampled_from(sorted(SECTIONS))
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(NASTY_TEXT), sections)
settings_ = st.dictionaries(keys, values, max_size=6)
setting_keys = sorted(set(setting_names()) - FETCHING)
trees = st.one_of(
    settings_,
    st.dictionaries(sections, st.one_of(settings_, values), max_size=5),
    settings_.map(lambda some: GOOD | some),
    st.dictionaries(st.sampled_from(setting_keys), scalars, min_size=1, max_size=2).map(lambda some: GOOD | some),
    st.dictionaries(st.sampled_from(setting_keys), scalars, min_size=1, max_size=1),
    values,
)


def as_toml(tree: Any) -> str:
    """Return something like TOML, good as long as the tree is flat."""
    rows = tree.items() if isinstance(tree, dict) else [("x", tree)]
    return "".join(f"{json.dumps(str(key))} = {json.dumps(value)}\n" for key, value in rows)


def as_yaml(tree: Any) -> str:
    return yaml.safe_dump(tree, allow_unicode=True)


SPELLED = {".yaml": as_yaml, ".json": json.dumps, ".toml": as_toml}
ENDINGS = [*SPELLED, ".yml"]

BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)
TRICKS = [
    *("d_model: &x 8\nnum_layers: *x\n", "<<: {d_model: 8}\n", "<<: [1]\n", "a: *nowhere\n", "&a a: *a\n", "&a [*a]"),
    *("d_model: 8\nd_model: 16\n", '{"d_model": 8, "d_model": 16}', "d_model = 8\nd_model = 16\n", "? [1, 2]\n: 3\n"),
    *(
        "!!python/object/apply:os.system [ls]",
        "a: !!binary '!'\n",
        "a: !!timestamp x\n",
        "a: !!int x\n",
        "a: !!float .\n",
    ),
    *(
        "a: 2001-99-99\n",
        "a: 2001-01-01\n",
        "--- 1\n--- 2\n",
        "%YAML 9.9\n---\na: 1",
        "\t",
        "a:\n\t- b",
        "{",
        "[[[",
        "- a",
    ),
    *("a: 0o999", "a: 1:99:99", "1: 2", "null: 3", "true: x", ".nan: 1", "d_model: 0b", "seed: 09", "? ", "a: |\n  x"),
    *("d_model = 1979-05-27", "a.b.c = 1\na.b = 2", "[a]\n[a]", "[[a]]\n[a]", "a = 1e400", "a = nan", "d_model = 0x"),
    *(BOMB, "[" * 50_000, "{a: " * 5000, "a: " + "9" * 5000, "x = " + "[" * 5000, '{"a":' * 50_000, "\ufeffd_model: 8"),
    *(
        "a: !!set {b}\n",
        "a: !!omap [b: 1]\n",
        "a: !!pairs [b]\n",
        "=: 1",
        "a: =",
        "training: {lr: 1e-3, lr: 2}",
        "<<: *a",
    ),
]


def texts() -> st.SearchStrategy[tuple[str, bytes]]:
    """Contents of a configuration file with the ending it has."""
    spelled = st.sampled_from(list(SPELLED)).flatmap(
        lambda ending: trees.map(lambda tree: (ending, SPELLED[ending](tree).encode("utf-8", "surrogatepass")))
    )
    raw = st.tuples(
        st.sampled_from(ENDINGS),
        st.one_of(
            st.binary(max_size=64),
            st.sampled_from(TRICKS).map(str.encode),
            st.sampled_from(TRICKS).flatmap(lambda trick: damaged_bytes(trick[:300].encode())),
            damaged_bytes(yaml.safe_dump(GOOD).encode()),
            damaged_bytes(json.dumps(GOOD, indent=1).encode()),
        ),
    )
    return st.one_of(spelled, raw)


COMMANDS = [
    ["config", "show", "--config", "FILE"],
    ["config", "show", "--json", "--config", "FILE"],
    ["plan", "text.txt", "--config", "FILE"],
    ["train", "text.txt", "--dry-run", "--config", "FILE", "--output-dir", "run", "--device", "cpu"],
    ["train", "text.txt", "--dry-run", "--config", "FILE", "--output-dir", "run", *TINY],
]


@few_or_many
def test_any_configuration_is_understood_or_refused(text_folder: Path, examples: int) -> None:
    """Random trees in three languages, tricks of YAML, broken bytes: exit code, one line, no file, no hang."""

    def check(one: tuple[tuple[str, bytes], list[str]]) -> None:
        (ending, content), words = one
        file = text_folder / f"config{ending}"
        file.write_bytes(content)
        before = files_below(text_folder)
        try:
            said = well_behaved([str(file) if word == "FILE" else word for word in words])
            new = {
                path for path in files_below(text_folder) - before if not path.startswith(str(text_folder / "cache/"))
            }
            assert not new, (said, new)
        finally:
            file.unlink()

    campaign(examples, st.tuples(texts(), st.sampled_from(COMMANDS)), check)


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick[:20].encode("unicode_escape").decode())
def test_tricks_of_the_languages(tmp_path: Path, trick: str) -> None:
    """Every trick, in every language: known ways to break a reader of configurations."""
    for ending in ENDINGS:
        file = tmp_path / f"config{ending}"
        file.write_text(trick, encoding="utf-8")
        try:
            understood = load_config(file)
        except ConfigError as refusal:
            assert "\n" not in str(refusal)
        else:
            assert isinstance(understood, Config)

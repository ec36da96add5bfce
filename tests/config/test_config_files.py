"""Configuration files that are wrong get one line with file, line and key; none of them can harm."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textmill.config import Config, load_config
from textmill.errors import ConfigError, TextmillError

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join(f'*{old}' for _ in range(10))}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.yaml", "model:\n  n_heads: 4\n  n_heads: 5\n", ":3: the key 'n_heads' is repeated, first in line 2"),
        (
            "c.yaml",
            "training:\n  batch_sise: 4\n",
            ":2: training.batch_sise: no such setting; did you mean 'batch_size'?",
        ),
        ("c.yaml", "\nlr: -3e-4\n", ":2: lr: must be greater than 0, not '-3e-4'"),
        ("c.yaml", "lr: 1\nmodel: {learning_rate: 2}\n", ":2: model.learning_rate: 2.0 contradicts "),
        ("c.yaml", "training: [1\n", "not YAML: "),
        ("c.yaml", "a: b: c\n", ":1: not YAML: mapping values are not allowed here"),
        ("c.yaml", "\x00", "not YAML: special characters are not allowed"),
        ("c.yaml", "a: !!python/object/apply:os.system [ls]\n", ":1: "),
        ("c.yaml", "- 1\n- 2\n", "must contain settings such as 'd_model: 256', not [1, 2]"),
        ("c.yaml", "? [1, 2]\n: 3\n", ":1: a setting's name must be text"),
        ("c.yaml", "1: 2\n", ":1: 1: a setting's name must be text, not 1"),
        ("c.yaml", BOMB, "contains more than 10000 values"),
        ("c.yaml", "a: &a [*a]\n", "contains more than 10000 values"),
        ("c.yaml", "x: " + "[" * 50_000, "nested too deeply"),
        (
            "c.yaml",
            "d_model: 256\nnum_heads: 7\n",
            "num_heads 7 (FILE) does not fit d_model 256 (FILE): use one of 1, 2, 4",
        ),
        ("c.json", '{"d_model": 1,\n "d_model": 2}', "the key 'd_model' is repeated"),
        ("c.json", '{"d_model": 1,\n x}', ":2: not JSON: "),
        ("c.json", '{"lr": NaN}', "lr: must be a finite number, not nan"),
        ("c.json", "[" * 100_000, "nested too deeply"),
        ("c.toml", "d_model = 1\nd_model = 2\n", "not TOML: "),
        ("c.toml", "d_model =\n", "line 1"),
        ("c.toml", "d_model = 1\nx" + ".a" * 20_000 + " = 1\n", ":2: a key of more than 32 parts is nested too deeply"),
        ("c.toml", "[[ a" + ".'a'" * 20_000 + " ]]\n", ":1: a key of more than 32 parts is nested too deeply"),
        ("c.toml", "x = {y = 1, a" + ' . "a"' * 20_000 + " = 1}\n", ":1: a key of more than 32 parts"),
        ("c.txt", "d_model: 1\n", "ends in .yaml, .yml, .json or .toml"),
    ],
)
def test_bad_files_get_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    """The message begins with the file, names line and key where they are known, and is one line."""
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert message.replace("FILE", str(file)) in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 or far too large is refused before it is parsed."""
    file = tmp_path / "c.yaml"
    file.write_bytes(b"d_model: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 9"):
        load_config(file)
    file.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="larger than"):
        load_config(file)


@pytest.mark.parametrize("content", ["", "# nothing\n", "model:\n", "{}"])
def test_an_empty_file_changes_nothing(tmp_path: Path, content: str) -> None:
    """Empty files and empty sections are defaults."""
    file = tmp_path / "c.yaml"
    file.write_text(content)
    assert load_config(file) == Config()


def test_merge_keys_share_settings(tmp_path: Path) -> None:
    """YAML's << takes the settings of an anchor, and settings beside it win."""
    file = tmp_path / "c.yaml"
    file.write_text("model: &base {d_model: 128, num_layers: 2}\ntraining:\n  <<: *base\n  batch_size: 5\n")
    assert load_config(file).model.d_model == 128
    file.write_text("training: {<<: 3}\n")
    with pytest.raises(ConfigError, match="<< needs a mapping"):
        load_config(file)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), suffix=st.sampled_from([".yaml", ".json", ".toml"]))
def test_no_file_can_break_the_reader(tmp_path: Path, content: bytes, suffix: str) -> None:
    """Whatever bytes a file holds, loading it works or ends in an error of ours on one line."""
    file = tmp_path / f"fuzz{suffix}"
    file.write_bytes(content)
    try:
        load_config(file)
    except TextmillError as error:
        assert "\n" not in str(error)


def test_a_toml_key_of_many_parts_takes_no_memory(tmp_path: Path) -> None:
    """It is refused before it is parsed, which would take gigabytes; short keys, and texts with dots, are read."""
    file = tmp_path / "c.toml"
    file.write_text("a" + ".a" * 100_000 + " = 1\n")
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="nested too deeply"):
            load_config(file)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    file.write_text(f'model.d_model = 64\ntraining."run_name" = "{"a." * 100}"\n')
    assert load_config(file).model.d_model == 64

"""Flags: other spellings, switches with optional values, several values, and what is refused."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textmill.cli.main import main
from textmill.cli.rewrite_flags import Rewriter
from textmill.cli.setting_flags import config_of
from textmill.config.aliases import ALIASES, REWRITES
from textmill.config.fields import SECTIONS
from textmill.config.setting_lookup import Setting, is_list, setting_names, validate
from textmill.errors import ConfigError

TRAIN = dict.fromkeys((*setting_names(), *REWRITES, "config"), True)


def rewrite(line: str, verb: str = "train", flags: dict[str, bool] | None = None) -> str:
    """Return a rewritten command line."""
    return shlex.join(Rewriter(verb, flags or TRAIN).rewrite(shlex.split(line)))


@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        ("a.txt --lr 1e-3 b.txt", "--learning-rate=1e-3 a.txt b.txt"),
        ("--n_layers=3", "--num-layers=3"),
        ("--seed -1", "--seed=-1"),
        ("--prompt=-x --prompt -x", "--sample-prompt=-x"),
        ("--prompt ''", "--sample-prompt="),
        ("--compile a.txt", "--compile=true a.txt"),
        ("--compile false a.txt", "--compile=false a.txt"),
        ("--compile auto a.txt", "--compile=auto a.txt"),
        ("--no-compile", "--compile=false"),
        ("--no-wandb", "--wandb=false"),
        ("--no-early-stopping", "--early-stopping=false"),
        ("--mixed-precision bf16 a.txt", "--mixed-precision=bf16 a.txt"),
        ("--mixed-precision a.txt", "--mixed-precision=true a.txt"),
        ("--early-stopping 3 a.txt", "--early-stopping=3 a.txt"),
        ("--resume auto a.txt", "--resume=auto a.txt"),
        ("--resume a.txt", "--resume=true a.txt"),
        ("--resume step-500", "--resume=step-500"),
        ("--report-to tensorboard wandb a.txt", "--report-to=tensorboard --report-to=wandb a.txt"),
        ("--report-to tensorboard,wandb", "--report-to=tensorboard,wandb"),
        ("--augmentation case whitespace a", "--augmentation=case --augmentation=whitespace a"),
        ("--betas 0.9 0.99 a", "--betas=0.9,0.99 a"),
        ("a.txt --val-data v1 v2 --lr 1", "--val-data=v1 --val-data=v2 --learning-rate=1 a.txt"),
        ("--val-data v1 a.txt", "--val-data=v1 a.txt"),
        ("--lr 1 -- --strange.txt", "--learning-rate=1 -- --strange.txt"),
        ("--lr 1 --max-lr 1.0", "--learning-rate=1"),
        ("--config a.yaml --config b.yaml", "--config=a.yaml --config=b.yaml"),
        ("--help", "--help"),
        ("model.d_model=64 a.txt", "--d-model=64 a.txt"),
        ("--model.d_model 64 training.lr=1", "--d-model=64 --learning-rate=1"),
        ("d_model=64 tracking.wandb=true a=b", "--d-model=64 --wandb=true a=b"),
        ("books=0.3 model.txt", "books=0.3 model.txt"),
        ("a.txt --document-separator --- --seed 3", "--document-separator=--- --seed=3 a.txt"),
    ],
)
def test_rewriting(line: str, rewritten: str) -> None:
    """The parser gets canonical flags joined to their values, and positional words last."""
    assert rewrite(line) == rewritten


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--dmodel 3", "--dmodel: no such flag; did you mean '--d-model'?"),
        ("--learing-rate 3", "--learing-rate: no such flag; did you mean '--learning-rate'?"),
        ("--no-lr", "--no-lr: no such flag"),
        ("--no-compile=3", "--no-compile: takes no value"),
        ("--lr", "--lr: needs a value"),
        ("--lr --seed 3", "--lr: needs a value"),
        (
            "--lr 1 --learning-rate 2",
            "--learning-rate: '2' contradicts --lr: '1'; both set learning_rate: leave one out",
        ),
        ("--val-data v1 v2 a.txt", "--val-data: takes one file here"),
    ],
)
def test_refusals(line: str, message: str) -> None:
    """A flag that cannot be understood is named as it was typed."""
    with pytest.raises(ConfigError) as caught:
        rewrite(line)
    assert message in str(caught.value)


@pytest.mark.parametrize("alias", sorted([*ALIASES, *REWRITES]))
def test_every_spelling_is_a_flag(alias: str) -> None:
    """Every alias, with hyphens or underscores, reaches a flag that the parser knows."""
    value = {"betas": "0.9,0.9", "resume": "auto"}.get(alias, "1")
    expected = ALIASES.get(alias, alias).replace("_", "-")
    for name in (alias, alias.replace("_", "-")):
        assert rewrite(f"--{name}={value}") == f"--{expected}={value}"


def test_the_guides_word_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train model --data FILE` is `train --data FILE`, unless there is a file called model."""
    monkeypatch.chdir(tmp_path)
    assert rewrite("model --data x") == "--data=x"
    assert rewrite("model") == "model"
    (tmp_path / "model").write_text("text")
    assert rewrite("model --data x") == "--data=x model"


def test_data_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Positional text and every --data, however spelled, are one list."""
    assert main(["config", "show", "--json", "a", "--data", "b", "--train-data", "c"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["data"]["value"] == ["a", "b", "c"]


def test_origins_keep_the_flag_as_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The origin of a value, and an error about it, name the spelling that was used; flags win over files."""
    file = tmp_path / "c.yaml"
    file.write_text("d_model: 64\nnum_layers: 2\n")
    assert main(["config", "show", "--json", "--config", str(file), "--dim", "128", "--layers=3"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert model["d_model"] == {"value": 128, "origin": "--dim"}
    assert model["num_layers"] == {"value": 3, "origin": "--layers"}
    assert main(["config", "show", "--dim", "wide"]) == 2
    assert capsys.readouterr().err == "textmill: error: --dim: must be a whole number, not 'wide'\n"


WORDS = (
    *("2", "1e-9", "true", "a.txt", "case", "gpt2", "gelu", "rmsnorm", "rope", "a.b:c", "strict", "concat"),
    *("cosine", "bf16", "cpu", "gloo", "single", "mlflow", "csv", "warn", "keep", "nfc", "minified", "repo", "psm"),
)


def typed(setting: str, word: str) -> list[Setting]:
    """Return a setting as the command line gives it."""
    flag = f"--{setting.replace('_', '-')}"
    [rewritten] = Rewriter("train", TRAIN).rewrite([flag, word])
    value = rewritten.partition("=")[2]
    return [Setting(setting, [value] if is_list(setting) else value, flag, flag)]


@pytest.mark.parametrize("setting", setting_names())
def test_none_unsets_every_setting_that_can_be_unset(setting: str, tmp_path: Path) -> None:
    """What a file sets is unset by the word none on the flag; a setting that is always needed refuses it by name."""
    file = tmp_path / "c.json"
    for word in WORDS:
        with contextlib.suppress(ConfigError):
            file.write_text(json.dumps({setting: validate(setting, word, "")}))
            assert config_of([file], []).given(setting)
            break
    [field] = [fields.model_fields[setting] for fields in SECTIONS.values() if setting in fields.model_fields]
    empty = [] if field.get_default(call_default_factory=True) == [] else None
    for word in ("none", "Null"):
        if empty == [] or type(None) in get_args(field.annotation):
            assert config_of([file], typed(setting, word)).values()[setting] == empty
        else:
            with pytest.raises(ConfigError, match=rf"^(--{setting.replace('_', '-')}|preset): "):
                config_of([file], typed(setting, word))


@pytest.mark.parametrize(
    ("file", "given", "name", "data"),
    [
        ("dataset_name: wikitext", ["a.txt"], None, ["a.txt"]),
        ("data: a.txt", ["--dataset-name", "wikitext"], "wikitext", None),
    ],
)
def test_the_text_of_the_command_line_wins(
    file: str, given: list[str], name: str | None, data: list[str] | None, tmp_path: Path
) -> None:
    """Files given there replace a dataset of the configuration, and the reverse."""
    config = tmp_path / "c.yaml"
    config.write_text(file + "\n")
    settings = [Setting("data", given, "DATA", "DATA") if data else Setting("dataset_name", given[1], "--x", "--x")]
    found = config_of([config], settings).data
    assert (found.dataset_name, found.data) == (name, data)


def test_flags_of_generate() -> None:
    """generate has spellings of its own, where --prompt is the prompt and --max-tokens the length."""
    flags = {
        "prompt": True,
        "max_new_tokens": True,
        "stop": True,
        "json": False,
        "num_samples": True,
        "temperature": True,
    }
    line = "m --prompt Once --max-tokens 5 --stop . --stop ! --json --temperature -1"
    assert rewrite(line, "generate", flags) == (
        "--json --prompt=Once --max-new-tokens=5 --stop=. '--stop=!' --temperature=-1 m"
    )


ANY_WORD = st.one_of(
    st.sampled_from([f"--{name}" for name in (*setting_names(), *ALIASES, *REWRITES)]),
    st.sampled_from([f"--no-{name}" for name in ("compile", "wandb", "bias", "lr")]),
    st.sampled_from(
        ["true", "5", "-1", "1e5", "nan", "none", "bf16", "a.txt", "tensorboard", "{}", "", "--", "-x", "=", "\ud800"]
    ),
    st.text(max_size=5),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(ANY_WORD, max_size=6))
def test_no_command_line_is_a_defect(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is typed, it is understood or refused with one line and exit code 2."""
    code = main(["config", "show", *words])
    error = capsys.readouterr().err
    assert code in (0, 2, 66), error
    assert code == 0 or error.count("\n") == 1

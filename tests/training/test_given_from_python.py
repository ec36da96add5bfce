"""Texts, models and optimizers that are objects of a program: the run says and saves what it really is."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import textmill as tm
from support.own_network import SHORT, TINY, Network
from textmill.cli.main import main
from textmill.errors import ConfigError, ResumeError


class WithLoss(Network):
    """Returns (logits, loss), as many teaching models do."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens), None


class LastOnly(Network):
    """Without targets it returns the logits of the last position alone, as nanoGPT's model does."""

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Any:
        logits = super().forward(idx)
        if targets is None:
            return logits[:, [-1]], None
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def evaluations(run: Path) -> list[float]:
    return [json.loads(line)["val_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


# --- texts ----------------------------------------------------------------------------------------


@pytest.fixture
def two_texts(book: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Text to train on and text to validate on."""
    train, held_out = tmp_path / "trained.txt", tmp_path / "held_out.txt"
    train.write_text(book.read_text()[:6000])
    held_out.write_text(book.read_text()[6000:8000])
    return train, held_out


@pytest.mark.parametrize(
    "kind",
    [
        "datasets",
        "corpus",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("dataset and path", "path and dataset")),
    ],
)
def test_a_run_on_a_text_of_a_program_is_a_run_like_any_other(
    two_texts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """The screen names the text, its size chooses the preset, and config.yaml, resume, verify and evaluate find it."""
    train, held_out = two_texts
    cache: dict[str, Any] = {"cache_dir": tmp_path / "cache"}

    def rows(path: Path) -> tm.TextDataset:
        return tm.TextDataset(path, 32, **cache)

    given: dict[str, Any] = {
        "datasets": lambda: {"data": rows(train), "validation": rows(held_out)},
        "dataset and path": lambda: {"data": rows(train), "val_data": str(held_out)},
        "path and dataset": lambda: {"data": str(train), "validation": rows(held_out)},
        "corpus": lambda: {"data": tm.prepare(train, val_data=held_out, tokenizer="byte", **cache), "max_seq_len": 32},
    }[kind]()
    run = tmp_path / "run"
    settings: dict[str, Any] = {**TINY, "tokenizer": "byte", "max_steps": 8, "eval_steps": 4, **cache}
    tm.train(**given, **settings, output_dir=run)
    said = capsys.readouterr().out
    assert "trained.txt" in said
    assert "standard library" not in said
    assert f"auto-cpu-tiny, for {8.0 if kind == 'corpus' else 6.0} kB of text" in said
    assert "context 32" in said
    assert "6.00 k tokens" in said

    losses = evaluations(run)
    plain = tm.train(data=train, val_data=str(held_out), max_seq_len=32, **settings, output_dir=tmp_path / "plain")
    assert losses == evaluations(plain.output_dir)

    assert main(["verify", str(run)]) == 0
    assert main(["evaluate", str(run), "--json"]) == 0
    found = capsys.readouterr().out
    assert json.loads(found[found.index("\n{") :])["loss"] == pytest.approx(losses[-1], abs=1e-6)
    again = tmp_path / "again"
    assert main(["train", "--config", str(run / "config.yaml"), "--output-dir", str(again)]) == 0
    assert evaluations(again) == losses
    assert main(["train", "--output-dir", str(run), "--resume", "--max-steps", "12"]) == 0
    assert len(evaluations(run)) == 3
    settings["max_steps"] = 16
    tm.train(**given, **settings, output_dir=run, resume=True)
    assert len(evaluations(run)) == 4


def test_the_rows_of_a_dataset_are_the_rows_of_the_run(two_texts: tuple[Path, Path], tmp_path: Path) -> None:
    """A length that is given beside it and differs is refused, by name."""
    dataset = tm.TextDataset(two_texts[0], 32)
    with pytest.raises(ConfigError, match="max_seq_len 64 contradicts the 32"):
        tm.train(data=dataset, **TINY, max_seq_len=64, max_steps=2, output_dir=tmp_path / "run")


def test_texts_that_cannot_be_one_run_are_refused(two_texts: tuple[Path, Path], tmp_path: Path) -> None:
    """Different tokenizers, and validation text with a validation set of its own."""
    train, held_out = two_texts
    with pytest.raises(ConfigError, match="different tokenizers"):
        tm.train(data=tm.TextDataset(train, 32), validation=tm.TextDataset(held_out, 32, "char"), max_steps=2)
    with pytest.raises(ConfigError, match="validation set of its own"):
        tm.train(data=tm.TextDataset(train, 32), validation=tm.prepare(held_out, tokenizer="byte"), max_steps=2)


@pytest.mark.parametrize("kind", ["dataset", "texts"])
def test_a_run_whose_text_was_deleted_from_the_cache_is_resumed_where_it_is_given(
    two_texts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """The command says what is gone and where to resume; the program, which gives it again, ends as without a stop."""

    def train(name: str, **settings: Any) -> bytes:
        cache: dict[str, Any] = {"cache_dir": tmp_path / "cache"}
        stories = (f"Story {number} of a program, which ends here." for number in range(200))
        data = tm.TextDataset(two_texts[0], 32, **cache) if kind == "dataset" else stories
        settings |= {**TINY, "tokenizer": "byte", "max_seq_len": 32, "eval_steps": 4, **cache}
        tm.train(data=data, **settings, output_dir=tmp_path / name, quiet=True)
        return (tmp_path / name / "final/model.safetensors").read_bytes()

    # No end is planned, so that the rate is the same in both.
    whole = train("whole", max_steps=8, lr_schedule="constant", warmup_steps=0)
    train("run", max_steps=4, lr_schedule="constant", warmup_steps=0)
    shutil.rmtree(tmp_path / "cache")
    assert main(["train", "--output-dir", str(tmp_path / "run"), "--resume", "--max-steps", "8"]) == 66
    error = capsys.readouterr().err
    assert "is missing: the run's text" in error and "resume the run from the program" in error
    assert train("run", max_steps=8, resume=True, lr_schedule="constant", warmup_steps=0) == whole


def test_validation_sets_beside_a_dataset(two_texts: tuple[Path, Path], tmp_path: Path) -> None:
    """Several files are one set, and one set may have a name; several sets are refused in one sentence."""
    train, held_out = two_texts
    settings: dict[str, Any] = {**TINY, "max_steps": 2, "output_dir": tmp_path / "run", "overwrite": True}
    rows = tm.TextDataset(train, 32, "byte", cache_dir=tmp_path / "cache")
    losses = []
    for sets in ([str(held_out), str(train)], [f"news={held_out}", f"news={train}"]):
        result = tm.train(data=rows, val_data=sets, **settings, cache_dir=tmp_path / "cache", quiet=True)
        losses.append(json.loads((result.output_dir / "metrics.jsonl").read_text().splitlines()[-1]))
    assert losses[0]["val_loss"] == losses[1]["val_loss"] == losses[1]["val_loss/news"]
    assert "val_loss/news" not in losses[0]
    with pytest.raises(ConfigError, match="several sets need a text to train on that is files, not an object"):
        tm.train(data=rows, val_data=[f"a={held_out}", f"b={train}"], **settings, quiet=True)


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [WithLoss, LastOnly])
def test_a_model_may_return_its_loss_too(book: Path, tmp_path: Path, kind: type[Network]) -> None:
    """(logits, loss) trains as logits do, to the bit, also where targets have to be passed for them."""
    settings: dict[str, Any] = {**SHORT, "data": book, "max_steps": 6, "optimizer": "sgd", "learning_rate": 0.1}
    plain = tm.train(model=Network(), **settings, output_dir=tmp_path / "plain", quiet=True)
    settings["sample_steps"] = 3
    other = tm.train(model=kind(), **settings, output_dir=tmp_path / "other", quiet=True)
    assert evaluations(plain.output_dir) == evaluations(other.output_dir)
    assert len((other.output_dir / "samples.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda logits: logits.mean(), r"returned a tensor of shape \(\), not logits"),
        (lambda logits: {"scores": logits}, "returned dict, not logits"),
        (lambda logits: logits[:, 1:], "logits of 1 positions for 2 tokens"),
    ],
)
def test_a_model_that_returns_something_else_is_named(
    book: Path, tmp_path: Path, output: Callable[[Tensor], Any], message: str
) -> None:
    """One line that says what came and what is needed."""

    class Other(Network):
        def forward(self, tokens: Tensor) -> Any:
            return output(super().forward(tokens))

    with pytest.raises(ConfigError, match=message):
        tm.train(model=Other(), data=book, **SHORT, max_steps=2, output_dir=tmp_path / "run", quiet=True)


def test_a_run_with_a_model_of_a_program_is_resumed_there(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command cannot know the model: it says so, and the run's screen offers no command that fails."""
    settings: dict[str, Any] = {**SHORT, "data": str(book), "output_dir": str(tmp_path / "run")}
    tm.train(model=Network(), max_steps=4, **settings)
    said = capsys.readouterr().out
    assert "try it" not in said and "textmill train" not in said
    assert "given from Python: Network" in (tmp_path / "run" / "config.yaml").read_text()
    assert main(["train", "--output-dir", str(tmp_path / "run"), "--resume", "--max-steps", "8"]) == 78
    assert "the run trains Network, a model given from Python: resume it there" in capsys.readouterr().err
    with pytest.raises(ResumeError, match="class WithLoss and is Network"):
        tm.train(model=WithLoss(), max_steps=8, resume=True, **settings)
    assert tm.train(model=Network(), max_steps=8, resume=True, **settings).total_steps == 8


def test_a_model_of_transformers_trains_and_is_saved_as_its_own(book: Path, tmp_path: Path) -> None:
    """Another library's class, with its configuration: the folder loads in transformers with the same logits."""
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.GPTNeoXConfig(vocab_size=257, max_position_embeddings=32, **shape)
    model = transformers.GPTNeoXForCausalLM(config)
    result = tm.train(
        model=model, data=book, tokenizer="byte", **TINY, max_steps=6, output_dir=tmp_path / "run", quiet=True
    )
    assert load_shape(result.output_dir) == 32  # the model's context, because nobody asked for another
    described = json.loads((result.final_model / "config.json").read_text())
    assert (described["model_type"], described["architectures"]) == ("gpt_neox", ["GPTNeoXForCausalLM"])
    loaded = transformers.AutoModelForCausalLM.from_pretrained(result.final_model).eval()
    ids = torch.arange(20)[None]
    torch.testing.assert_close(loaded(ids).logits, model.eval()(ids).logits)
    assert main(["verify", str(result.output_dir)]) == 0
    small = transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(vocab_size=100, **shape))
    with pytest.raises(ConfigError, match="the model has vocab_size 100, and the text needs 257"):
        tm.train(model=small, data=book, **SHORT, max_steps=2, output_dir=tmp_path / "small")
    texts = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for text in texts:
        text.write_text(book.read_text()[: 2000 + len(text.name)])
    with pytest.raises(ConfigError, match="GPTNeoXForCausalLM cannot hide documents"):
        tm.train(model=model, data=texts, **SHORT, mask_documents=True, max_steps=2, output_dir=tmp_path / "masked")


def load_shape(run: Path) -> int:
    return yaml.safe_load((run / "config.yaml").read_text())["model"]["max_seq_len"]


# --- optimizers, loops, screens -------------------------------------------------------------------


def test_an_optimizer_may_be_an_object(book: Path, tmp_path: Path) -> None:
    """Its own learning rate is the peak of the schedule, as if a function had made it and the rate had been given."""
    settings: dict[str, Any] = {**SHORT, "data": book, "max_steps": 6, "lr_schedule": "constant", "warmup_steps": 0}
    model = Network()
    groups = [{"params": [model.embedding.weight]}, {"params": list(model.head.parameters()), "lr": 0.3}]
    given = tm.train(
        model=model, optimizer=torch.optim.SGD(groups, lr=0.1), **settings, output_dir=tmp_path / "a", quiet=True
    )
    plain = Network()
    by_hand = torch.optim.SGD(
        [{"params": [plain.embedding.weight]}, {"params": list(plain.head.parameters()), "lr": 0.3}], lr=0.1
    )
    config = tm.load_config(**settings, learning_rate=0.1, output_dir=str(tmp_path / "b"))
    with tm.assemble(config, model=Network(), quiet=True) as run:
        for number in range(6):
            for batch in run.loader.batches(number):
                logits = plain(batch.tokens)
                nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            by_hand.step()
            by_hand.zero_grad()
    torch.testing.assert_close(model.head.weight, plain.head.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.embedding.weight, plain.embedding.weight, rtol=1e-5, atol=1e-6)
    assert yaml.safe_load((given.output_dir / "config.yaml").read_text())["training"]["learning_rate"] == 0.1


def test_an_optimizer_of_another_model_is_refused(book: Path, tmp_path: Path) -> None:
    """It would train nothing."""
    other = torch.optim.SGD(Network().parameters(), lr=0.1)
    for model, message in ((None, "pass that one as model="), (Network(), "the model in training lacks")):
        with pytest.raises(ConfigError, match=message):
            tm.train(model=model, optimizer=other, data=book, **SHORT, max_steps=2, output_dir=tmp_path / "run")


def test_a_loop_of_ones_own_does_what_is_due(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`periodic_actions` evaluates as eval_steps says; a loop that never evaluates is told that the setting is idle."""
    settings: dict[str, Any] = {**SHORT, "data": str(book), "max_steps": 10, "eval_steps": 5}
    with tm.assemble(tm.load_config(**settings, output_dir=str(tmp_path / "due"))) as run:
        for step in tm.steps(run):
            tm.periodic_actions(run, step)
    whole = tm.train(**settings, output_dir=tmp_path / "whole")
    assert evaluations(tmp_path / "due") == evaluations(whole.output_dir)
    assert "had no effect" not in capsys.readouterr().out
    with tm.assemble(tm.load_config(**settings, output_dir=str(tmp_path / "idle"))) as run:
        for _ in tm.steps(run):
            pass
    said = capsys.readouterr().out
    assert "eval_steps: had no effect, because the loop never did it; call textmill.periodic_actions(run, step)" in said


def test_quiet_prints_nothing_and_the_logger_gets_every_line(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The lines of train.log are records of the logger `textmill`."""
    with caplog.at_level(logging.INFO, logger="textmill"):
        tm.train(data=book, **SHORT, max_steps=2, output_dir=tmp_path / "run", quiet=True)
    assert capsys.readouterr() == ("", "")
    logged = [record.getMessage() for record in caplog.records if record.name == "textmill"]
    assert (tmp_path / "run" / "train.log").read_text().splitlines() == [
        line for record in logged for line in record.splitlines()
    ]


# --- signals --------------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys
import textmill as tm

number, how, book, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
settings = dict(data=book, tokenizer="byte", d_model=16, num_layers=1, num_heads=1, max_seq_len=32, batch_size=4)

def interrupting(logits, batch):
    os.kill(os.getpid(), number)
    return logits.sum() * 0, 1

settings |= dict(max_steps=50, eval_steps=3, sample_steps=0, output_dir=folder, quiet=True)
if how == "loop":
    with tm.assemble(tm.load_config(**{k: v for k, v in settings.items() if k != "quiet"}), quiet=True) as run:
        for step in tm.steps(run):
            if step.number == 3:
                os.kill(os.getpid(), number)
elif how == "return":
    result = tm.train(**settings, metrics={"stop": interrupting}, on_signal="return")
    print("result", result.stop_reason, result.exit_code)
else:
    try:
        tm.train(**settings, metrics={"stop": interrupting})
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
        raise
print("the script went on")
"""


NOTEBOOK = """
import os, signal, sys, time
import textmill as tm

def interrupting(logits, batch):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.4)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

settings = dict(data=sys.argv[1], tokenizer="byte", d_model=16, num_layers=1, num_heads=1, max_seq_len=32, batch_size=4)
settings |= dict(max_steps=6, eval_steps=3, save_steps=2, sample_steps=0, output_dir=sys.argv[2], quiet=True)
try:
    tm.train(**settings, metrics={"stop": interrupting})
except KeyboardInterrupt:
    print("the cell ends")
print("the kernel lives", tm.train(**settings, resume=True).total_steps)
"""


def test_a_second_interrupt_leaves_a_notebook_alive(book: Path, tmp_path: Path) -> None:
    """It ends what runs with KeyboardInterrupt, not the process, which resumes the run from its last checkpoint."""
    script = [sys.executable, "-c", NOTEBOOK, str(book), str(tmp_path / "run")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "the cell ends\nthe kernel lives 6\n"), done.stderr


@pytest.mark.parametrize(
    ("number", "how", "code", "printed"),
    [
        (signal.SIGINT, "call", -signal.SIGINT, "KeyboardInterrupt\n"),
        (signal.SIGTERM, "call", 143, ""),
        pytest.param(signal.SIGHUP, "call", 129, "", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "loop", -signal.SIGINT, "", marks=pytest.mark.slow),
        (signal.SIGINT, "return", 0, "result SIGINT 130\nthe script went on\n"),
    ],
)
def test_a_signal_ends_the_script_once_the_run_is_saved(
    book: Path, tmp_path: Path, number: int, how: str, code: int, printed: str
) -> None:
    """Ctrl-C in a script is KeyboardInterrupt, SIGTERM its end; the run can be resumed; a result is for who asks."""
    script = [sys.executable, "-c", SCRIPT, str(int(number)), how, str(book), str(tmp_path / "run")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (code, printed), done.stderr
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["step"], status["resumable"]) == ("interrupted", 3, True)

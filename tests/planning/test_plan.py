"""What a run will take is worked out as the run itself would."""

from __future__ import annotations

import math

import pytest

from textmill.config import Config, load_config
from textmill.errors import ConfigError
from textmill.machine.devices import likely_device, likely_precision
from textmill.machine.memory import free_memory
from textmill.planning.logits import evaluation_rows
from textmill.planning.plan import Text, plan_run, tokens_of_bytes

TEXT = Text(train_tokens=100_001, validation_tokens=5_000, vocab_size=300)


def config(**settings: object) -> Config:
    shape = {"d_model": 64, "num_layers": 2, "num_heads": 4, "max_seq_len": 100, "batch_size": 10}
    return load_config({**shape, **settings})


def test_length_tokens_and_arithmetic() -> None:
    """Steps, tokens and FLOPs of two epochs of 1,000 rows are what multiplication says."""
    plan, said = plan_run(config(epochs=2), TEXT, device="cpu", precision="fp32")
    assert (plan.length.total_steps, plan.tokens, plan.length.epochs) == (200, 200_000, 2.0)
    assert plan.flops == 200_000 * plan.flops_per_token
    assert plan.seconds is None and said == []


def test_time_follows_from_the_speed() -> None:
    """The time is tokens over speed; a limit of time cuts it, and gives the steps where nothing else does."""
    plan, _ = plan_run(config(epochs=2), TEXT, device="cpu", precision="fp32", speed=1000)
    assert plan.seconds == 200
    plan, _ = plan_run(config(epochs=2, max_time="1m"), TEXT, device="cpu", precision="fp32", speed=1000)
    assert plan.seconds == 60
    plan, _ = plan_run(config(max_time="1m"), TEXT, device="cpu", precision="fp32", speed=1000)
    assert plan.length.total_steps == 60


def test_disk_holds_the_kept_checkpoints_the_best_and_a_new_one() -> None:
    """Disk is checkpoints times their size: weights and AdamW's state."""
    plan, _ = plan_run(config(epochs=2, save_total_limit=4), TEXT, device="cpu", precision="fp32")
    assert plan.checkpoint == pytest.approx(12 * plan.parameters.total, rel=1e-3)
    assert plan.disk == 6 * plan.checkpoint


def test_what_does_not_fit_is_fitted_or_refused() -> None:
    """A default batch larger than the text shrinks and is said; a given one is refused; so is a run without length."""
    tiny = Text(train_tokens=250, validation_tokens=0, vocab_size=300)
    values = load_config({"max_seq_len": 100, "d_model": 64, "epochs": 1})
    plan, said = plan_run(values, tiny, device="cpu", precision="fp32")
    assert plan.length.rows_per_step == 3 and "batch_size: 3 instead of 16" in said[0]
    with pytest.raises(ConfigError, match="batch_size"):
        plan_run(config(epochs=1), tiny, device="cpu", precision="fp32")
    with pytest.raises(ConfigError, match="no length"):
        plan_run(config(), TEXT, device="cpu", precision="fp32")


def test_tokens_of_a_text_from_its_size() -> None:
    """Bytes are tokens of byte and char tokenizers; larger vocabularies make fewer tokens."""
    assert tokens_of_bytes(1000, "byte", 257) == tokens_of_bytes(1000, "char", 60) == 1000
    assert tokens_of_bytes(3000, "char", 60, 3.0) == 1000
    assert 1000 > tokens_of_bytes(1000, "bpe", 512) > tokens_of_bytes(1000, "bpe", 50_257) > 150


@pytest.mark.slow
def test_the_estimate_of_tokens_against_real_text(shared) -> None:
    """On a real text the estimate is within 15 % of what BPE makes of it."""
    from textmill.tokenizers import train_bpe

    text = (shared / "data" / "tinyshakespeare.txt").read_text()
    for vocab_size in (512, 2048, 8192):
        made = len(train_bpe(iter([text]), vocab_size).encode(text))
        assert tokens_of_bytes(len(text.encode()), "bpe", vocab_size) == pytest.approx(made, rel=0.15)


def test_evaluation_batches_are_bounded_by_their_largest_tensor() -> None:
    """A small vocabulary does not make an evaluation batch of thousands of rows."""
    model = config().model
    rows = evaluation_rows(model, 10, vocab_size=65)
    assert rows * 100 * max(65, 4 * 100, 3 * 192) <= 2**24
    assert evaluation_rows(model, 10**4, vocab_size=65) == 10**4
    assert evaluation_rows(model, 10**6, vocab_size=65) == 2**28 // (100 * 65)  # the loss is in parts


def test_the_plan_is_json() -> None:
    """All numbers of the dictionary are finite or null."""
    import json

    plan, _ = plan_run(config(epochs=2), TEXT, device="cuda", precision="bf16", world_size=2)
    values = json.loads(json.dumps(plan.as_dict(), allow_nan=False))
    assert values["steps"] == math.ceil(1001 * 2 / 20) or values["steps"] == 100
    assert values["memory"]["total"] > values["memory"]["weights"]


def test_the_machine_is_known_without_torch() -> None:
    """Device and precision are of those that training knows; free memory is a positive number on Linux."""
    assert likely_device() in {"cpu", "cuda", "mps"}
    assert likely_precision("cuda") == "bf16" and likely_precision("cpu") in {"bf16", "fp32"}
    free = free_memory()
    assert free is None or free > 0

"""What --search texts mean."""

from __future__ import annotations

from typing import Any

import pytest

from textmill.errors import ConfigError
from textmill.sweep.space import Dimension, parse_search
from textmill.sweep.study import objective_of
from textmill.sweep.unrepeated import Unrepeated, combinations, untried


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate=1e-4..1e-2:log", Dimension("learning_rate", low=1e-4, high=1e-2, log=True)),
        ("lr=0.1..0.2", Dimension("learning_rate", low=0.1, high=0.2)),
        ("--num-layers=2,4,6", Dimension("num_layers", choices=(2, 4, 6))),
        ("n_layers=2..6", Dimension("num_layers", low=2, high=6, whole=True)),
        ("optimizer=adamw,muon", Dimension("optimizer", choices=("adamw", "muon"))),
        ("tie_embeddings=true,false", Dimension("tie_embeddings", choices=(True, False))),
    ],
)
def test_ranges_and_choices(text: str, expected: Dimension) -> None:
    """Names may be aliases; values have the type of their setting."""
    assert parse_search([text]) == [expected]
    assert parse_search([expected.described()]) == [expected]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "--search is missing"),
        (["learning_rat=1,2"], "did you mean 'learning_rate'"),
        (["learning_rate"], "needs values"),
        (["learning_rate=fast,slow"], "must be a number"),
        (["learning_rate=0.2..0.1"], "is empty"),
        (["weight_decay=0..1:log"], "start above 0"),
        (["learning_rate=1e-4..1e-2:lg"], ":log or :linear"),
        (["optimizer=adamw..muon"], "needs two numbers"),
        (["num_layers=4"], "a single value does not vary"),
        (["num_layers=4,5", "n_layer=1,2"], "is repeated"),
        (["output_dir=a,b"], "cannot vary"),
        (["seed=1,2,3"], "the luckiest, not a better one: --seeds 5"),
        (["random_seed=1..9"], "--seeds 5"),
    ],
)
def test_mistakes_are_named(texts: list[str], message: str) -> None:
    """Each mistake is one sentence that names the setting."""
    with pytest.raises(ConfigError, match=message):
        parse_search(texts)


def test_tokens_that_differ_are_compared_per_byte() -> None:
    """Where a token is not the same in every trial, losses per token would compare unlike things."""
    assert objective_of(parse_search(["num_layers=1,2"])) == "val_loss"
    assert objective_of(parse_search(["num_layers=1,2", "vocab_size=300,400"])) == "val_bits_per_byte"


def test_combinations_have_an_end_where_all_values_are_listed() -> None:
    """Choices and whole numbers are counted, repeats and trials without all values left out; ranges have no end."""
    space = parse_search(["num_layers=1..3", "dropout=0,0.1"])
    seen = [{"num_layers": 1, "dropout": 0.0}, {"num_layers": 1, "dropout": 0.0}, {"num_layers": 3}]
    assert combinations(space) == 6 and untried(space, seen) == 5
    assert combinations(parse_search(["num_layers=1..3", "dropout=0..0.1"])) is None


@pytest.mark.parametrize("seed", range(6))
def test_no_trial_is_drawn_twice(seed: int) -> None:
    """Every combination once, though TPE alone, told that one of them is best, repeats it."""
    optuna = pytest.importorskip("optuna", reason="needs optuna: pip install 'textmill[tune]'")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = parse_search(["num_layers=1..3", "activation=silu,gelu", "tie_embeddings=true,false"])

    def drawn(sampler: Any) -> list[tuple[Any, ...]]:
        study = optuna.create_study(sampler=sampler)
        found = []
        for _ in range(12):
            trial = study.ask()
            values = tuple(dimension.suggest(trial) for dimension in space)
            study.tell(trial, abs(values[0] - 2) + (values[1] == "gelu"))
            found.append(values)
        return found

    tpe = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    assert len(set(drawn(Unrepeated(tpe, space, seed)))) == 12
    assert len(set(drawn(optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)))) < 12

"""The token loop: cache, window, batches, seeds, ends."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.scripted_model import Scripted
from support.small_models import FAMILIES, VARIANTS, random_tokens, small_model
from textmill.errors import ConfigError, NonFiniteError
from textmill.generation import token_loop
from textmill.generation.sampling import sample_unread
from textmill.generation.token_loop import generate, window_start

EVERY = {**FAMILIES, **VARIANTS}


def run(model: torch.nn.Module, prompts: list[list[int]], **options: Any) -> list[list[int | None]]:
    """Return the new ids of every prompt."""
    return [list(sequence) for sequence in zip(*generate(model, prompts, **options))]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("prompt_length", [1, 23, 24, 25, 60])
def test_the_cache_changes_no_token(name: str, prompt_length: int) -> None:
    """Up to and far beyond the context, for short and over-long prompts, the same tokens come with and without."""
    model = small_model(**EVERY[name], max_seq_len=24)
    prompt = random_tokens(prompt_length).tolist()
    options: dict[str, Any] = {"max_new_tokens": 60, "seed": 1, "repetition_penalty": 1.1, "banned_ids": [7]}
    assert run(model, [prompt] * 2, **options) == run(model, [prompt] * 2, use_cache=False, **options)


@given(length=st.integers(1, 500), context=st.integers(1, 64))
def test_the_window_fits_and_shows_the_newest(length: int, context: int) -> None:
    """It is never larger than the context, never moves back, and always holds the last half of a context."""
    start = window_start(length, context)
    assert 0 < length - start <= context
    assert window_start(length + 1, context) >= start
    assert length - start >= min(length, max(1, context // 2))
    assert window_start(length, None) == 0


def test_prompts_of_different_lengths_do_not_disturb_each_other() -> None:
    """Each prompt of a batch goes on as it would alone under the same seed and index."""
    model = small_model(architecture="gpt2")
    prompts = [[5], [1, 2, 3], [9, 8], [4, 4, 4], [7] * 40]
    together = run(model, prompts, max_new_tokens=30, temperature=0)
    assert together == [run(model, [prompt], max_new_tokens=30, temperature=0)[0] for prompt in prompts]


def test_a_sample_does_not_depend_on_how_many_there_are() -> None:
    """Sample i under a seed is the same among one, three or five; samples differ from each other and between seeds."""
    model = small_model()
    one, three, five = (run(model, [[1, 2]] * count, max_new_tokens=20, seed=7) for count in (1, 3, 5))
    assert five[:3] == three and three[:1] == one
    assert len({tuple(sequence) for sequence in five}) == 5
    assert run(model, [[1, 2]], max_new_tokens=20, seed=8) != one
    assert run(model, [[1, 2]], max_new_tokens=20) != run(model, [[1, 2]], max_new_tokens=20)


def test_samples_of_one_prompt_read_it_once() -> None:
    """The prompt of five samples passes through the blocks as one row, and the tokens are those of five rows."""
    model = small_model()
    rows: list[tuple[int, ...]] = []
    forward = model.forward

    def watched(tokens: torch.Tensor, **options: Any) -> torch.Tensor:
        rows.append(tuple(tokens.shape))
        return forward(tokens, **options)

    prompt = random_tokens(9).tolist()
    plain = run(model, [prompt] * 5, max_new_tokens=30, seed=2, use_cache=False)
    loop = generate(model, [prompt] * 5, max_new_tokens=30, seed=2)  # before the model is changed
    model.forward = watched  # type: ignore[method-assign]
    assert [list(sequence) for sequence in zip(*loop)] == plain
    assert rows == [(1, 9), (5, 13), (5, 13)]


def test_every_token_takes_the_next_draw_of_its_sequence() -> None:
    """With eight equally likely tokens, each is eight times the draw of a torch generator of that sequence's seed."""

    class Equal(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*tokens.shape, 8)

    for index, sequence in enumerate(run(Equal(), [[1], [2], [1, 2]], max_new_tokens=150, seed=11)):
        generator = torch.Generator().manual_seed((11 + index * 0x9E3779B97F4A7C15) % 2**63)
        draws = [torch.rand((), generator=generator, dtype=torch.float64).item() for _ in range(150)]
        assert sequence == [int(8 * draw) for draw in draws]


def test_a_sequence_ends_at_a_stop_id_and_the_others_go_on() -> None:
    """The stop id is not yielded, then comes None; when all have ended the iteration does."""
    steps = list(generate(Scripted([7, 8, 9, 4], 1), [[1], [2]], max_new_tokens=9, temperature=0, stop_ids=[9]))
    assert steps == [[7, 7], [8, 8]]
    model = small_model()
    free = run(model, [[1], [2], [3]], max_new_tokens=30, seed=3)
    stop = free[1][10]
    stopped = run(model, [[1], [2], [3]], max_new_tokens=30, seed=3, stop_ids=[stop])
    for before, after in zip(free, stopped):
        end = before.index(stop) if stop in before else len(before)
        assert after == before[: min(end, len(after))] + [None] * (len(after) - end)


def test_banned_ids_never_come() -> None:
    """An id that is banned is not chosen, however likely."""
    assert run(Scripted([7, 7], 1), [[1]], max_new_tokens=2, banned_ids=[7]) != [[7, 7]]


def test_an_interrupt_is_asked_before_every_token() -> None:
    """True ends the iteration with what there is; an exception passes through."""
    model = Scripted([7, 8, 9], 1)
    asked: list[int] = []

    def interrupted() -> bool:
        asked.append(model.steps)
        return model.steps == 2

    assert list(generate(model, [[1]], max_new_tokens=3, temperature=0, interrupted=interrupted)) == [[7], [8]]
    assert asked == [0, 1, 2]


def test_the_model_is_in_its_own_mode_between_tokens() -> None:
    """Dropout is off while a token is made, and the model in training mode again when it is handed over."""
    model = small_model(dropout=0.5).train()
    tokens = []
    for step in generate(model, [[1, 2]], max_new_tokens=10, temperature=0):
        assert model.training
        tokens.append(step[0])
    assert tokens == run(model.eval(), [[1, 2]], max_new_tokens=10, temperature=0)[0]
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_a_compiled_model_is_not_compiled_for_every_length() -> None:
    """Tokens are made by the plain code: shapes that change with every step compile nothing."""
    compilations: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        compilations.append(graph)
        return graph.forward

    model = small_model()
    expected = run(model, [[1, 2]], max_new_tokens=20, seed=1)
    model.compile(backend=backend, dynamic=False)
    assert run(model, [[1, 2]], max_new_tokens=20, seed=1) == expected and not compilations
    model(torch.tensor([[1, 2]]))
    assert compilations


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompts": [[1], []]}, "prompt 1 is empty"),
        ({"prompts": [[61]]}, "contains the id 61, and the model accepts 0 to 60"),
        ({"prompts": [[-1]]}, "contains the id -1"),
        ({"max_new_tokens": -1}, "max_new_tokens must be"),
        ({"max_new_tokens": 1.5}, "max_new_tokens must be"),
        ({"top_p": 0}, "top_p must be"),
        ({"seed": 1.5}, "seed must be"),
    ],
)
def test_arguments_are_refused_before_the_first_step(options: dict[str, Any], words: str) -> None:
    """The call itself raises, not the first step, and nothing has run."""
    with pytest.raises(ConfigError, match=words):
        generate(small_model(), **{"prompts": [[1]], "max_new_tokens": 3, **options})


def test_nothing_asked_is_nothing_done() -> None:
    """No prompts or no tokens: an empty iteration."""
    assert list(generate(small_model(), [[1]], max_new_tokens=0)) == []
    assert list(generate(small_model(), [], max_new_tokens=5)) == []


@pytest.fixture(params=[False, True], ids=["in turn", "ahead"])
def ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the device computes a step ahead of the one that is read, as an NVIDIA GPU does."""
    monkeypatch.setattr(token_loop, "runs_ahead", lambda device: request.param)
    return request.param


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    stops=st.sets(st.integers(0, 60), max_size=12),
    tokens=st.integers(0, 40),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=25)
def test_a_device_that_runs_ahead_gives_the_same_tokens(
    lengths: list[int], stops: set[int], tokens: int, seed: int
) -> None:
    """Whatever the prompts, the ids that end them and the length: every step is the one of a device in step."""
    model = small_model(num_layers=1, max_seq_len=24)
    prompts = [random_tokens(length).tolist() for length in lengths]
    options: dict[str, Any] = {"max_new_tokens": tokens, "seed": seed, "stop_ids": stops, "repetition_penalty": 1.2}
    found = []
    for ahead in (False, True):
        with mock.patch.object(token_loop, "runs_ahead", lambda device, ahead=ahead: ahead):
            found.append(list(generate(model, prompts, **options)))
    assert found[0] == found[1]


def test_a_step_ahead_is_computed_while_one_is_read(ahead: bool) -> None:
    """When a step is yielded the model has computed one more, except the last; without reading ahead, none."""
    model = Scripted([7, 8, 9, 4], 1)
    computed = [model.steps for _ in generate(model, [[1]], max_new_tokens=4, temperature=0)]
    assert computed == ([2, 3, 4, 4] if ahead else [1, 2, 3, 4])


def test_interrupts_are_asked_between_the_same_tokens(ahead: bool) -> None:
    """Once before every token, the first of them before anything is computed; nothing of a step is given after it."""
    model = Scripted([7, 8, 9, 4, 5], 1)
    seen: list[Any] = []

    def interrupted() -> bool:
        seen.append("asked" if seen or not model.steps else "asked late")
        return seen.count("asked") == 4

    for step in generate(model, [[1]], max_new_tokens=5, temperature=0, interrupted=interrupted):
        seen.append(step)
    assert seen == ["asked", [7], "asked", [8], "asked", [9], "asked"]


def test_an_error_comes_after_the_tokens_before_it(ahead: bool) -> None:
    """A model that fails at its third token has yielded two; if the text ends there, it has not failed."""
    loop = generate(Scripted([7, 8], 1), [[1]], max_new_tokens=9, temperature=0)
    assert [next(loop), next(loop)] == [[7], [8]]
    with pytest.raises(IndexError):
        next(loop)
    assert list(generate(Scripted([7, 8], 1), [[1]], max_new_tokens=9, temperature=0, stop_ids=[8])) == [[7]]
    assert list(generate(Scripted([7, 8], 1), [[1]], max_new_tokens=2, temperature=0)) == [[7], [8]]


class Diverging(Scripted):
    """Scores are NaN from the third token on, and counted as on a GPU: the host sees them when it reads the ids."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = super().forward(tokens)
        return logits * float("nan") if self.steps > 2 else logits


def test_scores_that_are_not_finite_end_the_loop_where_they_came(ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are noticed when the ids are read; a text that has ended before them has no error."""
    for unread in (False, True):
        if unread:
            monkeypatch.setattr(token_loop, "sample", lambda *given: sample_unread(*given)[1])
        loop = generate(Diverging([7, 8, 9, 4], 1), [[1]], max_new_tokens=4, seed=1)
        assert [next(loop), next(loop)] == [[7], [8]]
        with pytest.raises(NonFiniteError):
            next(loop)
        assert list(generate(Diverging([7, 8, 9], 1), [[1]], max_new_tokens=3, seed=1, stop_ids=[8])) == [[7]]

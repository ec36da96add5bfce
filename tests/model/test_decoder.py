"""What holds for every decoder, of a known family or not."""

from __future__ import annotations

import math

import pytest
import torch

from support.small_models import FAMILIES, VARIANTS, random_tokens, small_model
from textmill.config import ModelConfig
from textmill.errors import ConfigError
from textmill.model import attention
from textmill.model.cross_entropy import cross_entropy_sum
from textmill.model.from_config import BYTES, build_model
from textmill.tokenizers import make_byte

EVERY = {**FAMILIES, **VARIANTS}


@pytest.fixture(params=EVERY, ids=str)
def options(request: pytest.FixtureRequest) -> dict:
    return EVERY[request.param]


def test_an_untrained_model_scores_about_ln_v(options: dict) -> None:
    """Before training every token is about equally likely, so a token costs ln(V) nats."""
    model = build_model(
        ModelConfig(vocab_size=97, d_model=64, num_layers=3, num_heads=4, max_seq_len=32, **options), seed=3
    )
    tokens = random_tokens(8, 32, vocab_size=97)
    with torch.no_grad():
        loss = cross_entropy_sum(model(tokens), random_tokens(8, 32, seed=2, vocab_size=97)).item() / tokens.numel()
    assert loss == pytest.approx(math.log(97), abs=0.1)


def test_no_position_sees_the_future(options: dict) -> None:
    """Changing a token changes no logits before it, and those after it."""
    model = small_model(**options)
    tokens = random_tokens(2, 20)
    changed = tokens.clone()
    changed[:, 11] = (changed[:, 11] + 1) % 61
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :11], after[:, :11])
    assert not torch.allclose(before[:, 11:], after[:, 11:], atol=1e-3)


def test_a_cache_changes_nothing(options: dict) -> None:
    """Reading a text in pieces of any length with a cache gives the logits of reading it at once."""
    model = small_model(**options)
    tokens = random_tokens(3, 24)
    with torch.no_grad():
        whole = model(tokens)
        cache = model.new_cache(3)
        pieces = [model(piece, cache=cache) for piece in tokens.split([7, 1, 5, 1, 1, 9], 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)
    assert cache.length == 24


def test_documents_in_one_row_do_not_see_each_other(options: dict) -> None:
    """With segments and positions, each document's logits are those it has alone."""
    model = small_model(**options)
    tokens = random_tokens(2, 20)
    segments = torch.tensor([[0] * 6 + [1] * 9 + [2] * 5, [0] * 20])
    positions = torch.tensor([[*range(6), *range(9), *range(5)], [*range(20)]])
    with torch.no_grad():
        packed = model(tokens, positions=positions, segments=segments)
        alone = torch.cat([model(document) for document in tokens[:1].split([6, 9, 5], 1)], 1)
        plain = model(tokens[1:])
    torch.testing.assert_close(packed[:1], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed[1:], plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("segmented", [False, True])
def test_both_ways_of_attention_agree(options: dict, segmented: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The written-out softmax and the fused kernel give the same logits and gradients."""
    model = small_model(**options)
    tokens = random_tokens(2, 20)
    segments = torch.tensor([[0] * 6 + [1] * 14, [0] * 20]) if segmented else None

    def logits_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        logits = model(tokens, segments=segments)
        logits.square().mean().backward()
        return logits.detach(), model.token_embedding.weight.grad  # type: ignore[return-value]

    written_out = logits_and_gradient()
    monkeypatch.setattr(attention, "WRITTEN_OUT_LIMIT", 0)
    fused = logits_and_gradient()
    for one, other in zip(written_out, fused):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_recomputing_activations_gives_the_same_gradients(options: dict) -> None:
    """Gradient checkpointing, dropout included, changes no gradient."""
    tokens = random_tokens(2, 20)

    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        model = small_model(**options, dropout=0.2, gradient_checkpointing=checkpointing).train()
        torch.manual_seed(5)
        cross_entropy_sum(model(tokens[:, :-1]), tokens[:, 1:]).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-5, rtol=1e-4)


def test_bf16_autocast_stays_near_float32(options: dict) -> None:
    """Under bfloat16 autocast the logits are those of float32 within that format's precision."""
    model = small_model(**options)
    tokens = random_tokens(2, 20)
    with torch.no_grad():
        exact = model(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(tokens)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).abs().mean() < 0.03 * exact.abs().mean() + 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_the_model_compiles_as_one_graph(name: str) -> None:
    """torch.compile finds nothing it has to leave out, and the graph computes the same."""
    torch._dynamo.reset()
    model, tokens = small_model(**FAMILIES[name]), random_tokens(2, 20)
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(compiled(tokens), model(tokens), atol=1e-5, rtol=1e-5)


def test_every_weight_learns(options: dict) -> None:
    """After a backward pass every parameter has a gradient that is not zero."""
    model = small_model(**options).train()
    tokens = random_tokens(4, 24)
    cross_entropy_sum(model(tokens[:, :-1]), tokens[:, 1:]).backward()
    for name, parameter in model.named_parameters():
        if not name.endswith(("k_proj.bias", "wpe.weight")):  # a bias of the keys shifts all scores of a row alike
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_seed_decides_the_weights_and_nothing_else() -> None:
    """Equal seeds give equal weights, other seeds others, and the global random state is left alone."""
    state = torch.get_rng_state()
    first, same, other = (small_model(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    assert not torch.equal(first.token_embedding.weight, other.token_embedding.weight)


def test_initial_weights_have_the_stated_spread() -> None:
    """Matrices have init_std, those that feed the residual stream init_std / sqrt(2 L); norms are 1, biases 0."""
    config = ModelConfig(architecture="gpt2", vocab_size=500, d_model=256, num_layers=8, num_heads=4, init_std=0.03)
    for name, weight in build_model(config, seed=0).named_parameters():
        if name.endswith("bias"):
            assert weight.abs().max() == 0
        elif "ln_" in name:
            assert torch.equal(weight, torch.ones_like(weight))
        else:
            expected = 0.03 / 4 if name.endswith("c_proj.weight") else 0.03
            assert weight.std().item() == pytest.approx(expected, rel=0.02), name


def test_a_tied_head_counts_once() -> None:
    """The number of parameters is that of the formula, with a shared matrix counted once."""
    block = 4 * 32 * 32 + 3 * 32 * 128 + 2 * 32
    shape = {"architecture": "llama", "d_ff": 128}
    assert small_model(**shape, tie_embeddings=True).num_parameters() == 61 * 32 + 2 * block + 32
    assert small_model(**shape, tie_embeddings=False).num_parameters() == 2 * 61 * 32 + 2 * block + 32


def test_without_a_vocabulary_the_model_reads_bytes() -> None:
    """A shape that names no vocabulary gets that of the byte tokenizer."""
    assert build_model(ModelConfig(d_model=32, num_layers=1, num_heads=2)).config.vocab_size == BYTES
    assert make_byte().vocab_size == BYTES


def test_more_positions_than_the_model_has_are_refused() -> None:
    """The limit holds for a text at once and for one that grows in a cache."""
    model = small_model()
    with pytest.raises(ValueError, match="max_seq_len 24"):
        model(random_tokens(1, 25))
    cache = model.new_cache(1)
    model(random_tokens(1, 24), cache=cache)
    with pytest.raises(ValueError, match="25 positions"):
        model(random_tokens(1, 1), cache=cache)


def test_heads_that_do_not_fit_are_refused() -> None:
    """A contradiction in the shape is a configuration error, not a crash."""
    with pytest.raises(ConfigError, match="num_heads 7"):
        build_model(ModelConfig(d_model=256, num_heads=7))

"""Model folders: what is saved loads, what is damaged or dangerous is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.small_models import FAMILIES, VARIANTS, random_tokens, small_model
from support.written_checkpoints import save
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.find_model import resolve_checkpoint, resolve_model
from textmill.checkpoint.model_folder import load_model, load_weights, save_model_folder
from textmill.config import load_config
from textmill.errors import DataError, MissingInputError
from textmill.model import build_model
from textmill.tokenizers import make_byte, make_char

EVERY = {**FAMILIES, **VARIANTS}
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model_folder(tmp_path / "model", small_model(architecture="llama"), None)
    return tmp_path / "model"


def rewrite(folder: Path, change: Callable[[Tensors], Tensors | None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors) or tensors, folder / "model.safetensors")


@pytest.mark.parametrize("name", EVERY)
def test_a_saved_model_loads_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Shape, weights, tokenizer and mode of every kind of model are back after loading."""
    tokenizer = make_byte()
    model = small_model(**EVERY[name], vocab_size=tokenizer.vocab_size)
    save_model_folder(tmp_path, model, tokenizer)
    loaded = load_model(tmp_path)
    assert loaded.model.config == model.config and not loaded.model.training
    assert loaded.tokenizer is not None and loaded.tokenizer.fingerprint == tokenizer.fingerprint
    for key, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.model.state_dict()[key])
    tied = bool(model.config.tie_embeddings)
    assert (loaded.model.lm_head.weight is loaded.model.token_embedding.weight) == tied
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) != tied


def test_a_tokenizer_without_an_end_writes_no_end(tmp_path: Path) -> None:
    """A character model ends nowhere, and the folder says so instead of leaving it to defaults."""
    tokenizer = make_char(["abc"])
    save_model_folder(tmp_path, small_model(vocab_size=tokenizer.vocab_size), tokenizer)
    assert json.loads((tmp_path / "config.json").read_text())["eos_token_id"] is None
    assert not (tmp_path / "generation_config.json").exists()


def test_weights_load_into_a_module_of_any_kind(tmp_path: Path) -> None:
    """A module that is not ours keeps its weights in the same way; shared tensors stay shared."""
    module = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.Linear(4, 7, bias=False))
    module[1].weight = module[0].weight
    save_model_folder(tmp_path, module, None)
    other = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.Linear(4, 7, bias=False))
    other[1].weight = other[0].weight
    load_weights(other, tmp_path)
    for key, weight in module.state_dict().items():
        assert torch.equal(weight, other.state_dict()[key])
    with pytest.raises(DataError, match=r"given from Python.*build .Sequential"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_heads": 8, "head_dim": 4}, "num_heads 4 and not 8, num_kv_heads 4 and not 8, head_dim 8 and not 4"),
        ({"rope_theta": 500.0}, "rope_theta 10000.0 and not 500.0"),
        ({"norm_eps": 1e-3}, "norm_eps 1e-06 and not 0.001"),
    ],
)
def test_weights_of_other_constants_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    """Tensors of the same shapes are not enough: the model's constants must be those of the folder."""
    shape = {"architecture": "llama", "d_model": 32, "num_heads": 4, "num_layers": 1, "vocab_size": 50}
    save_model_folder(tmp_path, build_model(load_config(**shape).model), None)
    other = build_model(load_config(**{**shape, **change}).model, seed=1)
    before = other.token_embedding.weight.clone()
    with pytest.raises(DataError, match=named):
        load_weights(other, tmp_path)
    assert torch.equal(other.token_embedding.weight, before)
    shorter = build_model(load_config(**shape, max_seq_len=8, dropout=0.5).model, seed=1)
    load_weights(shorter, tmp_path)
    assert torch.equal(shorter.token_embedding.weight, load_model(tmp_path).model.token_embedding.weight)


def test_half_precision_weights_become_float32(folder: Path) -> None:
    """A folder in bfloat16 loads with the values it holds, in the dtype we compute in."""
    rewrite(folder, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    model = load_model(folder).model
    stored = load_file(folder / "model.safetensors")
    assert model.token_embedding.weight.dtype == torch.float32
    assert torch.equal(model.token_embedding.weight, stored["model.embed_tokens.weight"].float())


def test_names_without_the_stack_and_constants_of_old_files_load(tmp_path: Path) -> None:
    """GPT-2's published file says `wte.weight` and holds the causal masks; both are understood."""
    model = small_model(architecture="gpt2")
    save_model_folder(tmp_path, model, None)

    def as_published(tensors: Tensors) -> Tensors:
        plain = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        return {**plain, "h.0.attn.bias": torch.ones(1, 1, 24, 24), "h.0.attn.masked_bias": torch.tensor(-1e4)}

    rewrite(tmp_path, as_published)
    tokens = random_tokens(1, 24)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path).model(tokens), model(tokens))


def drop(tensors: Tensors) -> None:
    del tensors["model.norm.weight"]


def add(tensors: Tensors) -> None:
    tensors["model.layers.7.extra"] = torch.zeros(1)


def reshape(tensors: Tensors) -> None:
    tensors["model.norm.weight"] = torch.ones(5)


def quantise(tensors: Tensors) -> None:
    tensors["model.norm.weight"] = torch.ones(32, dtype=torch.int8)


def head_of_its_own(tensors: Tensors) -> None:
    tensors["lm_head.weight"] = torch.zeros(61, 32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop, "missing model.norm.weight"),
        (add, "unknown model.layers.7.extra"),
        (reshape, r"wrong shape of model.norm.weight \[5\] instead of \[32\]"),
        (quantise, "not floating-point: model.norm.weight"),
        (head_of_its_own, "ties the head to the embedding"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder: Path, change: Callable[[Tensors], None], words: str) -> None:
    """Missing, extra, reshaped, quantised or contradicting tensors: one line, and the model is left as it was."""
    rewrite(folder, change)
    with pytest.raises(DataError, match=words) as refusal:
        load_model(folder)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)
    model = small_model(architecture="llama", seed=9)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(DataError):
        load_weights(model, folder)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("num_hidden_layers", 9_999, "9999 layers"),
        ("hidden_size", 1 << 20, "wrong shape"),
        ("vocab_size", 1 << 31, "wrong shape"),
        ("num_hidden_layers", 10**12, "must be at most 10000"),
        ("hidden_size", 10**12, "must be at most 1048576"),
    ],
)
def test_a_shape_beyond_all_memory_is_refused_before_memory_is_taken(
    folder: Path, key: str, value: int, words: str
) -> None:
    """A config.json of astronomical sizes beside small weights is a line, not a crash."""
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, key: value}))
    with pytest.raises(DataError, match=words):
        load_model(folder)


@pytest.mark.parametrize("length", [0, 1, 9, 300, -1])
def test_a_truncated_file_is_refused(folder: Path, length: int) -> None:
    """A file that lost its end is called damaged."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match="damaged"):
        load_model(folder)


def test_pickles_are_never_opened(folder: Path) -> None:
    """Weights in a pickle are refused with the way out, whether named directly or found in a folder."""
    canary = folder / "canary"
    payload = b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "final_model.pt"):
        (folder / name).write_bytes(payload)
        with pytest.raises(DataError, match=r"pickle.*safe_serialization"):
            load_model(folder)
        with pytest.raises(DataError, match=r"pickle.*model.safetensors"):
            load_model(folder / name)
        (folder / name).unlink()
    with pytest.raises(MissingInputError, match=r"no weights: expected model.safetensors"):
        load_model(folder)
    assert not canary.exists()


@pytest.mark.parametrize("shard", ["../other.safetensors", "/etc/passwd", 3])
def test_an_index_cannot_point_outside_its_folder(folder: Path, shard: object) -> None:
    """A shard's name is a plain file name."""
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": shard}}))
    with pytest.raises(DataError, match="lists no files of this folder"):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model_type": "llama"}', '"llama"'])
def test_a_broken_config_is_named(folder: Path, content: str) -> None:
    """The line says which file and what is wrong with it."""
    (folder / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"config.json"):
        load_model(folder)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 5 steps per epoch with checkpoints at 5, 10 and 15, of which 10 was the best."""
    run = tmp_path / "runs" / "experiment_1"
    store = CheckpointStore(run / "checkpoints", say=lambda sentence: None)
    for step in (5, 10, 15):

        def write(folder: Path, step: int = step) -> None:
            (folder / "config.json").write_text("{}")
            (folder / "state.json").write_text(json.dumps({"progress": {"best_step": 10}, "epoch": step / 5}))

        save(store, step, write)
    for name in ("best_model", "final"):
        (run / name).mkdir()
        (run / name / "config.json").write_text("{}")
    return run


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "best_model"),
        ("best", "best_model"),
        ("best_model", "best_model"),
        ("best.pt", "best_model"),
        ("checkpoints/best.pt", "best_model"),
        ("checkpoints/best_checkpoint.pt", "best_model"),
        ("final", "final"),
        ("final_model.pt", "final"),
        ("final_checkpoint.pt", "final"),
        ("last", "checkpoints/step-0000015"),
        ("checkpoints", "checkpoints/step-0000015"),
        ("checkpoints/last.pt", "checkpoints/step-0000015"),
        ("latest_checkpoint.pt", "checkpoints/step-0000015"),
        ("step-10", "checkpoints/step-0000010"),
        ("step_10.pt", "checkpoints/step-0000010"),
        ("checkpoint-10.pt", "checkpoints/step-0000010"),
        ("checkpoint-10", "checkpoints/step-0000010"),
        ("checkpoints/checkpoint_step_10.pt", "checkpoints/step-0000010"),
        ("checkpoints/step-0000010", "checkpoints/step-0000010"),
        ("epoch-2", "checkpoints/step-0000010"),
        ("epoch_3.pt", "checkpoints/step-0000015"),
        ("checkpoint_epoch_1.pt", "checkpoints/step-0000005"),
        ("checkpoints/checkpoint_epoch_3.pt", "checkpoints/step-0000015"),
    ],
)
def test_every_usual_name_finds_its_model(run: Path, name: str, expected: str) -> None:
    """Our words, and the files that the guides' tools would have written, lead to our folders."""
    assert resolve_model(run / name) == run / expected


def test_a_windows_path_means_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backslashes in a path that is not there are read as separators."""
    monkeypatch.chdir(run.parent)
    assert resolve_model(".\\experiment_1\\checkpoints\\latest_checkpoint.pt").name == "step-0000015"


@pytest.mark.parametrize(
    ("name", "step"),
    [("", 15), ("last", 15), ("final", 15), ("best", 10), ("best_model", 10), ("epoch-1", 5), ("step-10", 10)],
)
def test_training_goes_on_from_a_checkpoint_not_from_a_model(run: Path, name: str, step: int) -> None:
    """The same names, where the state of the training is wanted, lead to checkpoints; bare words count within a run."""
    expected = run / "checkpoints" / f"step-{step:07d}"
    assert resolve_checkpoint(run / name) == expected
    if name:
        assert resolve_checkpoint(name, run) == expected


def test_what_is_not_there_is_answered_with_what_is(run: Path) -> None:
    """The message lists the models of the run, with their epochs."""
    with pytest.raises(MissingInputError, match=r"has no model 'step-7': it has best, final, step-5 \(epoch 1.00\)"):
        resolve_model(run / "step-7")
    with pytest.raises(MissingInputError, match="there is no model at"):
        resolve_model(run.parent / "nowhere" / "best.pt")
    with pytest.raises(MissingInputError, match="contains no model"):
        resolve_model(run.parent)


@pytest.mark.parametrize(
    ("lost", "expected", "said"),
    [
        (["best_model"], "checkpoints/step-0000010", "{run}/best_model is missing: the checkpoint of the best step, "),
        (["best_model/config.json"], "checkpoints/step-0000010", "{run}/best_model is missing: the checkpoint of "),
        (["best_model", "checkpoints/step-0000010"], "final", "best step, 10, is not kept: {run}/final is used"),
        (
            ["best_model", "checkpoints/step-0000010/config.json"],
            "final",
            "is damaged (config.json is missing): {run}/",
        ),
        (["best_model", "checkpoints/step-0000015/state.json"], "final", "is not known any more (the checkpoint {run}"),
        (["best_model", "checkpoints/step-0000010", "final"], "checkpoints/step-0000015", "is not kept: {run}/check"),
    ],
)
def test_a_best_model_that_is_lost(run: Path, lost: list[str], expected: str, said: str) -> None:
    """The checkpoint of the best step has the same model; a worse one is not used without a sentence."""
    for name in lost:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    sentences: list[str] = []
    assert resolve_model(run, say=sentences.append) == run / expected
    assert len(sentences) == 1 and said.format(run=run) in sentences[0]
    if expected.endswith("10"):
        assert resolve_model(run / "best", say=sentences.append) == run / expected
        assert len(sentences) == 2
    else:
        with pytest.raises(MissingInputError, match=r"has no model 'best': best_model is missing, and .* it has"):
            resolve_model(run / "best")


def test_a_run_without_validation_has_lost_nothing(run: Path) -> None:
    """No step was recorded as the best: final/ is the model of the run, and nothing is said."""
    shutil.rmtree(run / "best_model")
    shutil.rmtree(run / "checkpoints")
    store = CheckpointStore(run / "checkpoints", say=lambda sentence: None)

    def write(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "state.json").write_text(json.dumps({"progress": {"best_step": None}}))

    save(store, 5, write)
    assert resolve_model(run, say=pytest.fail) == run / "final"
    with pytest.raises(MissingInputError, match=r"has no model 'best': it has final"):
        resolve_model(run / "best")


def test_a_damaged_checkpoint_is_passed_over_or_refused(run: Path) -> None:
    """`last` goes back to the newest good one and says so; a damaged one asked for by name is refused."""
    (run / "checkpoints/step-0000015/state.json").write_text("{}")
    said: list[str] = []
    assert resolve_model(run / "last", say=said.append).name == "step-0000010"
    assert len(said) == 1 and "step-0000015" in said[0]
    with pytest.raises(DataError, match="is damaged"):
        resolve_model(run / "step-15")
    with pytest.warns(UserWarning, match="skipped damaged checkpoint step-0000015"):
        assert resolve_checkpoint(run / "last").name == "step-0000010"


def test_which_checkpoint_is_the_best_is_not_read_from_a_damaged_one(run: Path) -> None:
    """A digit of best_step that has changed would name another checkpoint; epochs are read from a whole one."""
    state = run / "checkpoints/step-0000015/state.json"
    state.write_text(state.read_text().replace("10", "15"))
    with pytest.raises(DataError, match=r"step-0000015 is damaged: state.json has changed"):
        resolve_checkpoint("best", run)
    assert resolve_checkpoint("epoch-1", run).name == "step-0000005"

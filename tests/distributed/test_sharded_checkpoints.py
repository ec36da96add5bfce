"""Checkpoints that several processes write, each its own files: what is in them, and who can go on from them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.rank_processes import Ranks, run_together, stored, values
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.manifest import write_manifest
from textmill.checkpoint.model_folder import load_model
from textmill.cli.main import main

Start = Callable[..., Ranks]

NAME = "model.layers.0.mlp.up_proj.weight"


def record(folder: Path) -> Callable[[int], None]:
    """Return what makes a process write down the bytes it held for each file, and the largest tensor it made whole."""

    def before(rank: int) -> None:
        from textmill.engine.fsdp import FSDPEngine
        from textmill.training import write_checkpoint as writing

        whole, save, largest = FSDPEngine.whole, writing.save_tensors, [0]

        def made_whole(self: FSDPEngine, tensor: torch.Tensor) -> torch.Tensor:
            made = whole(self, tensor)
            largest[0] = max(largest[0], made.nbytes)
            return made

        def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
            save(path, tensors)
            row = {"file": path.name, "held": sum(tensor.nbytes for tensor in tensors.values()), "largest": largest[0]}
            with (folder / f"rank-{rank}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

        FSDPEngine.whole = made_whole  # type: ignore[method-assign]
        writing.save_tensors = save_tensors  # type: ignore[assignment]

    return before


@pytest.fixture(scope="module")
def divided(small_command: list[str], twenty_steps: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps in two processes that hold a part each, with checkpoints at 10 and 20."""
    folder = tmp_path_factory.mktemp("divided")
    command = [
        *small_command,
        *twenty_steps,
        "--batch-size",
        "4",
        "--engine",
        "fsdp",
        "--output-dir",
        str(folder / "run"),
    ]
    run_together(folder, command, 2, before=record(folder))
    return folder / "run"


@pytest.fixture
def copy(divided: Path, tmp_path: Path) -> Path:
    """The same run, to do harm to."""
    return Path(shutil.copytree(divided, tmp_path / "run"))


def last(run: Path) -> Path:
    return run / "checkpoints" / "step-0000020"


def test_each_process_writes_its_share_and_holds_no_more(divided: Path) -> None:
    """Each writes a file of the model and one of the optimizer per save; it holds half, and makes one tensor whole."""
    tensors = {stem: stored(last(divided), stem) for stem in ("model", "optimizer")}
    largest = max(tensor.nbytes for tensor in tensors["model"].values())
    for rank in (0, 1):
        rows = [json.loads(line) for line in (divided.parent / f"rank-{rank}.jsonl").read_text().splitlines()]
        assert [row["file"] for row in rows[-2:]] == [
            f"model-0000{rank + 1}-of-00002.safetensors",
            f"optimizer-0000{rank + 1}-of-00002.safetensors",
        ]
        for row in rows:
            stem = row["file"].partition("-")[0]
            total = sum(tensor.nbytes for tensor in tensors[stem].values())
            assert 0.4 * total < row["held"] < 0.6 * total
            assert row["largest"] == largest


def test_nothing_in_it_is_code(divided: Path) -> None:
    """Every file is JSON, or safetensors to its last byte: no pickle, no archive."""
    for path in last(divided).iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
            continue
        assert path.suffix == ".safetensors", path
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        assert header.pop("__metadata__") == {"format": "pt"}
        assert max(entry["data_offsets"][1] for entry in header.values()) == len(content) - 8 - length


def test_transformers_loads_it(divided: Path) -> None:
    """The checkpoint as it lies there gives transformers and textmill the same logits; final/ has the same weights."""
    transformers = pytest.importorskip("transformers")
    ids = torch.arange(60).view(2, 30)
    ours = load_model(last(divided)).model
    theirs = transformers.AutoModelForCausalLM.from_pretrained(last(divided))
    with torch.inference_mode():
        torch.testing.assert_close(theirs.eval()(ids).logits, ours(ids), atol=1e-5, rtol=1e-5)
    published = stored(divided / "final")
    assert published.keys() == ours.state_dict().keys() - {"lm_head.weight"}
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in published.items())


def test_published_models_leave_the_training_out(divided: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """best_model/ and final/ have weights and their index, no optimizer; evaluate, generate and verify take them."""
    for name in ("best_model", "final"):
        assert sorted(path.name for path in (divided / name).iterdir()) == [
            *("MANIFEST.json", "config.json", "generation_config.json", "model-00001-of-00002.safetensors"),
            *("model-00002-of-00002.safetensors", "model.safetensors.index.json"),
            *("tokenizer.json", "tokenizer_config.json"),
        ]
    measured = values(divided / "metrics.jsonl", "val_loss")[-1]
    capsys.readouterr()
    assert main(["evaluate", str(divided / "final"), "--json", "--device", "cpu", "--precision", "fp32"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(measured, abs=1e-5)
    assert main(["generate", str(last(divided)), "--prompt", "def", "--max-new-tokens", "4", "--device", "cpu"]) == 0
    assert main(["verify", str(divided)]) == 0


def test_a_flipped_bit_in_any_file_is_found(copy: Path) -> None:
    """Of each file in turn: the checkpoint no longer verifies, and the file is named."""
    store = CheckpointStore(copy / "checkpoints", say=lambda sentence: None)
    assert store.verify(20) == []
    for path in sorted(last(copy).glob("*.safetensors*")):
        content = path.read_bytes()
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 16]) + content[-4:])
        assert store.verify(20) == [f"{path.name} has changed (its SHA-256 differs)"]
        path.write_bytes(content)
    assert main(["verify", str(copy)]) == 0


def spoil(folder: Path, row: int, value: float) -> str:
    """Put `value` into a row of a weight, under a manifest that fits; return what is said of it."""
    for path in folder.glob("model-*.safetensors"):
        tensors = load_file(path)
        for name in tensors.keys() & {NAME}:
            tensors[name][row, 1] = value
        save_file(tensors, path, {"format": "pt"})
    (folder / "MANIFEST.json").unlink()
    write_manifest(folder, 20)
    return f"the weights in {folder} contain NaN or infinite values, in {NAME}: use another checkpoint, or get the"


@pytest.mark.parametrize(("row", "value", "rank"), [(0, math.nan, 0), (-1, -math.inf, 1)])
def test_weights_that_are_no_numbers_are_refused(copy: Path, tmp_path: Path, row: int, value: float, rank: int) -> None:
    """A NaN in the shard of either process, on resume: both end with 65, and nothing is written."""
    sentence = spoil(last(copy), row, value)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    ranks = Ranks(tmp_path / "said", ["train", "--resume", "--max-steps", "22", "--output-dir", str(copy)], 2)
    assert ranks.wait() == [65, 65], ranks.said()
    assert sentence in ranks.said(rank)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_divided_model_that_is_no_numbers_starts_no_run(copy: Path, small_command: list[str], tmp_path: Path) -> None:
    """The same weights for --init-from: both processes end with 65, and there is no run folder."""
    sentence, out = spoil(last(copy), -1, math.inf), tmp_path / "out"
    command = ["train", small_command[1], "--init-from", str(last(copy)), "--engine", "fsdp", "--output-dir", str(out)]
    ranks = Ranks(tmp_path / "said", command, 2)
    assert ranks.wait() == [65, 65], ranks.said()
    assert sentence in ranks.said() and not out.exists()


def test_as_many_processes_go_on_bit_for_bit(divided: Path, copy: Path, tmp_path: Path) -> None:
    """From step 10, in two processes again: the files of step 20 are the same bytes."""
    run_together(tmp_path / "said", ["train", "--resume-from", "step-10", "--output-dir", str(copy)], 2)
    names = sorted(path.name for path in last(divided).glob("*.safetensors"))
    assert len(names) == 4
    for name in names:
        assert (last(copy) / name).read_bytes() == (last(divided) / name).read_bytes(), name


@pytest.mark.parametrize(("engine", "size"), [("single", 1), ("ddp", 2), ("fsdp", 4)])
def test_other_numbers_and_engines_go_on(
    single_process_run: Path, copy: Path, tmp_path: Path, engine: str, size: int
) -> None:
    """From step 10: losses, gradient norms, weights and averages of one process to 1e-5."""
    command = ["train", "--resume-from", "step-10", "--engine", engine, "--output-dir", str(copy)]
    run_together(tmp_path / "said", command, size)
    for name in ("train_loss", "grad_norm", "tokens"):
        assert values(copy / "steps.jsonl", name) == pytest.approx(
            values(single_process_run / "steps.jsonl", name), rel=1e-5, abs=1e-5
        ), name
    for stem in ("model", "optimizer"):
        ours, theirs = stored(last(copy), stem), stored(last(single_process_run), stem)
        assert ours and ours.keys() == theirs.keys()
        assert all((tensor - theirs[name]).abs().max() < 5e-4 for name, tensor in ours.items())


def test_a_loop_of_ones_own_takes_it(divided: Path) -> None:
    """`load_checkpoint` puts weights and averages back together from both processes' files."""
    from textmill.training import load_checkpoint

    model = load_model(divided / "final").model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    optimizer = torch.optim.AdamW(model.parameters())
    assert load_checkpoint(model, optimizer, None, last(divided))[0] == 20
    moments = stored(last(divided), "optimizer")
    for name, parameter in model.named_parameters():
        assert torch.equal(optimizer.state[parameter]["exp_avg"], moments[f"exp_avg/{name}"])
        assert optimizer.state[parameter]["step"] == 20
        assert torch.equal(parameter, stored(divided / "final")[name])

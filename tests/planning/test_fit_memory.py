"""A run is fitted to the memory of its device: fewer rows at a time for the same step, else a smaller model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

import textmill as tm
from textmill.cli.main import main
from textmill.config import Config, load_config
from textmill.machine.device_memory import RUNTIME, memory_for_run
from textmill.machine.memory import peak_memory_gib
from textmill.planning.fit_memory import USABLE, Hardware, fit_rows, settle_auto_preset
from textmill.planning.memory import StepSettings, estimate_memory
from textmill.planning.plan import Text, plan_run

GB = 10**9


def settled(free: int | None, *, device: str = "cuda", text: int = 10**8, **given: Any) -> tuple[Config, list[str]]:
    """Return the configuration that `auto` makes for a device with so much memory, and what is said."""
    config, hardware = load_config(given), Hardware(device, "fp32" if device == "mps" else "bf16", 1, free)
    preset = settle_auto_preset(config, hardware, text)
    return config, [*([preset] if preset else []), *fit_rows(config, hardware)]


def rows(config: Config) -> tuple[int, int]:
    return config.training.batch_size, config.training.gradient_accumulation_steps


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.parametrize("gigabytes", [4, 6, 8, 12, 16, 24])
@pytest.mark.parametrize("text", [10**5, 10**6, 10**8, 10**9])
def test_what_auto_chooses_fits_with_the_same_step(device: str, gigabytes: int, text: int) -> None:
    """On cards of 4 to 24 GB and on Macs the estimate is below the free memory, and a step has the preset's rows."""
    config, _ = settled(gigabytes * GB, device=device, text=text)
    ample, _ = settled(None, device=device, text=text)
    precision = "fp32" if device == "mps" else "bf16"
    step = StepSettings.of(config, precision=precision, device=device)
    assert estimate_memory(config.model, step).total <= USABLE * gigabytes * GB
    if config.model.d_model == ample.model.d_model:
        assert rows(config)[0] * rows(config)[1] == rows(ample)[0] * rows(ample)[1]


def test_where_memory_is_ample_or_unknown_nothing_changes() -> None:
    """An 80 GB card and one that does not tell its memory get the preset's values, and nothing is said of memory."""
    unknown, ample = settled(None, text=10**9), settled(80 * GB, text=10**9)
    assert unknown[0] == ample[0] and unknown[1] == ample[1]
    assert rows(ample[0]) == (32, 8) and len(ample[1]) == 1


def test_what_somebody_chose_stays() -> None:
    """Rows or an accumulation that were given are not divided, whatever the memory."""
    assert rows(settled(8 * GB, batch_size=64)[0]) == (64, 1)
    assert rows(settled(8 * GB, gradient_accumulation_steps=2)[0]) == (64, 2)
    assert rows(settled(8 * GB)[0]) == (32, 2)


def test_the_largest_divisor_is_taken_and_said_once() -> None:
    """Twice the rows would not fit; one sentence has both numbers, the need and what is free."""
    config, said = settled(8 * GB)
    need = {number: Hardware("cuda", "bf16").needed(config, number) for number in (32, 64)}
    assert need[32] <= USABLE * 8 * GB < need[64]
    assert said[1:] == [
        "batch_size: 32 instead of 64, accumulated 2 instead of 1 times, because 64 rows at a time need "
        f"{need[64] / GB:.1f} GB of memory, and 8.0 GB are free"
    ]


def test_a_smaller_model_where_one_row_does_not_fit() -> None:
    """On 2 GB the next smaller preset of auto is taken, for as long as the text's own; given rows count as they are."""
    config, said = settled(2 * GB, text=10**9)
    assert config.origins["d_model"] == "preset auto-gpu-medium" and config.training.epochs == 1
    assert said[0].startswith("auto-gpu-medium instead of auto-gpu-large, which needs 3.5 GB with 1 row at a time, ")
    config, said = settled(8 * GB, text=10**9, batch_size=32)
    assert config.origins["d_model"] == "preset auto-gpu-medium" and "with 32 rows at a time" in said[0]
    config, said = settled(GB, text=10**9, d_model=8192, num_layers=40)  # nothing fits: the text decides
    assert config.origins["max_seq_len"] == "preset auto-gpu-large" and "instead of" not in said[0]


def test_a_plan_divides_rows_after_the_processes_shared_them() -> None:
    """Each of two processes has half of the preset's rows, and divides these."""
    config = load_config(preset="auto-gpu-medium")
    text = Text(train_tokens=10**8, validation_tokens=10**6, vocab_size=8192)
    plan, said = plan_run(config, text, device="cuda", precision="bf16", world_size=2, free=5 * GB)
    assert rows(config) == (16, 2) and plan.length.rows_per_step == 64
    assert [sentence.partition(":")[0] for sentence in said] == ["batch_size", "batch_size"]


MODEL = {"d_model": 256, "num_layers": 4, "num_heads": 4, "max_seq_len": 512, "tokenizer": "byte"}


def test_plan_config_dry_run_and_run_decide_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a CPU with little memory all four have the same rows, fewer than with much, and all say so."""
    book = tmp_path / "book.txt"
    book.write_text("The quick brown fox jumps over the lazy dog.\n" * 1000)
    settings = {"data": str(book), "device": "cpu", "precision": "fp32", "max_steps": 1, "sample_steps": 0, **MODEL}
    words = [f"--{setting.replace('_', '-')}={value}" for setting, value in settings.items()]
    estimated = load_config(settings)
    estimated.apply_preset("auto-cpu-tiny", {"optimizer": "muon", "batch_size": 16})
    need = {number: Hardware("cpu", "fp32").needed(estimated, number) for number in (8, 16)}
    free = (need[8] + need[16]) / 2 / USABLE
    for available, expected in ((free - RUNTIME["cpu"], (8, 2)), (64 * GB, (16, 1))):
        machine = SimpleNamespace(available=int(available), total=64 * GB)
        monkeypatch.setattr(psutil, "virtual_memory", lambda machine=machine: machine)
        used = SimpleNamespace(rss=RUNTIME["cpu"])
        monkeypatch.setattr(psutil, "Process", lambda used=used: SimpleNamespace(memory_info=lambda: used))
        assert memory_for_run("cpu") == int(available) + RUNTIME["cpu"]
        assert main(["config", "show", "--json", *words]) == 0
        shown = capsys.readouterr()
        training = json.loads(shown.out)["training"]
        found = [tuple(training[name]["value"] for name in ("batch_size", "gradient_accumulation_steps"))]
        said = [shown.err]
        for verb in (["plan"], ["train", "--dry-run", f"--cache-dir={tmp_path / 'cache'}"]):
            assert main([*verb, "--json", *words]) == 0
            shown = capsys.readouterr()
            said.append(shown.err)
            assert json.loads(shown.out)["tokens_per_step"] == 16 * 512
            assert json.loads(shown.out)["memory"]["total"] == need[expected[0]]
        config = load_config(
            settings, output_dir=str(tmp_path / f"run{expected[0]}"), cache_dir=str(tmp_path / "cache")
        )
        with tm.assemble(config) as run:
            found.append(rows(run.config))
        said.append(capsys.readouterr().out)
        assert found == [expected] * 2
        fewer = "batch_size: 8 instead of 16, accumulated 2 instead of 1 times"
        assert [sentences.count(fewer) for sentences in said] == [int(expected[0] == 8)] * 4


def test_memory_of_a_gpu_is_what_its_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA: free, kept by PyTorch without use, and its own; Apple: what Metal allows or the machine has, never RSS."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (5 * GB, 8 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 2 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: GB)
    assert memory_for_run("cuda") == 6 * GB + RUNTIME["cuda"]
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * GB)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 2 * GB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3 * 2**30)
    for available, expected in ((64 * GB, 10 * GB), (7 * GB, 7 * GB)):
        machine = SimpleNamespace(available=available, total=64 * GB)
        monkeypatch.setattr(psutil, "virtual_memory", lambda machine=machine: machine)
        assert memory_for_run("mps") == expected
    assert peak_memory_gib(torch.device("mps")) == 3.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_memory_of_a_device_that_is_not_here_is_unknown() -> None:
    """A plan for another machine's GPU changes nothing by this machine's memory."""
    assert memory_for_run("cuda") is None and memory_for_run("mps") is None

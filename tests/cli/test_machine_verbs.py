"""textmill doctor and textmill cache."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from textmill.cli.main import main
from textmill.machine.cpu_contention import contention_warning, foreign_load
from textmill.machine.devices import cores
from textmill.machine.kernel_notes import Finding, Kernels, note_finding
from textmill.machine.measure_machine import advice


def test_the_doctor_measures(capsys: pytest.CaptureFixture[str]) -> None:
    """Device, threads, formats, rates, kernels, extras and cache are told."""
    assert main(["doctor", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "cpu" and found["threads"] >= 1 and found["flops"]["fp32"] > 1e8
    assert {"versions", "kernels", "cores", "foreign_load", "extras", "cache", "advice"} <= set(found)
    assert main(["doctor", "--device", "cpu"]) == 0
    assert "GFLOP/s" in capsys.readouterr().out


def test_the_doctor_shows_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kernels that a run found fastest for its shapes are listed, and are in the JSON."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    note_finding({"shape": "one"}, Finding(Kernels(2, True, "bf16", "fp32"), "gpt2 128/512", ways=3, saved=0.25))
    assert main(["doctor", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "gpt2 128/512: bf16, Muon in fp32, 2 threads, float32 products by oneDNN" in shown
    assert main(["doctor", "--device", "cpu", "--json"]) == 0
    tried = json.loads(capsys.readouterr().out)["tried"]
    assert tried == [
        {
            "kernels": {"threads": 2, "onednn": True, "precision": "bf16", "muon": "fp32"},
            "shape": "gpt2 128/512",
            "ways": 3,
            "saved": 0.25,
        }
    ]


def test_advice_follows_from_what_was_found() -> None:
    """A busy machine, a processor without bfloat16 and idle cores are each named; a good machine hears nothing."""
    good: dict[str, Any] = {
        "kind": "cpu",
        "threads": 2,
        "cores": 2,
        "foreign_load": 0.0,
        "bf16_instructions": True,
        "flops": {"fp32": 2e11, "bf16": 9e11},
        "cache": {"free": 1e10, "folder": "cache"},
    }
    assert not [said for said in advice(good) if "NVIDIA" not in said]
    assert "busy" in advice({**good, "foreign_load": 1.9, "threads": cores()})[0] or cores() > 2
    assert "bfloat16" in advice({**good, "bf16_instructions": False})[0]
    assert "1 of 2 cores" in advice({**good, "threads": 1})[0]
    assert "little" in advice({**good, "flops": {"fp32": 1e9}})[0]
    assert "slower than float32" in advice({**good, "flops": {"fp32": 2e11, "bf16": 1e11}})[0]


@pytest.mark.skipif(cores() < 2, reason="needs two cores")
def test_a_busy_machine_is_said() -> None:
    """Only when the threads find no free cores is there a sentence, and it names how many threads would."""
    number = cores()
    assert contention_warning(number, 0.1) is None
    assert contention_warning(number - 1, 0.5) is None
    assert contention_warning(number, 1.0) == (
        f"the machine is busy: other processes use about 1.0 of {number} cores, and threads that share cores "
        f"can be up to ten times slower; --threads {number - 1} may be faster"
    )
    assert "slower than it could be" in (contention_warning(1, number - 0.1) or "")


def test_a_quiet_machine_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load average near zero says enough: nobody waits for a measurement."""
    monkeypatch.setattr(psutil, "getloadavg", lambda: (0.1, 0, 0))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it measures"))
    assert contention_warning(4) is None


def test_foreign_load_is_measured() -> None:
    """It is a number of cores."""
    assert 0 <= foreign_load(0.05) < 10_000


def test_the_cache_is_listed_and_cleaned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prepared corpora are listed with size and source; cleaning takes those named, those old enough, or all."""
    from textmill.data.prepare import prepare

    cache = tmp_path / "cache"
    for number in range(3):
        book = tmp_path / f"book{number}.txt"
        book.write_text(f"book number {number}\n" * 30)
        prepare([book], tokenizer="byte", cache_dir=cache)
    flags = ["--cache-dir", str(cache), "--json"]
    assert main(["cache", "list", *flags]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert len(entries) == 3 and all(entry["bytes"] > 0 and "book" in entry["sources"][0] for entry in entries)
    assert main(["cache", "clean", *flags, "--older-than-days", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": []}
    assert main(["cache", "clean", entries[0]["name"][:12], *flags]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": [entries[0]["name"]]}
    assert main(["cache", "clean", "zzz", *flags]) == 66
    assert main(["cache", "clean", "--cache-dir", str(cache)]) == 0
    assert "deleted 2 prepared corpora" in capsys.readouterr().out
    assert main(["cache", "list", "--cache-dir", str(cache)]) == 0
    assert "0 prepared corpora" in capsys.readouterr().out


def test_the_cache_tells_of_what_was_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A preparation that was stopped is listed and cleaned, one that is under way is neither."""
    from textmill.data.store.unfinished_corpus import one_at_a_time, unfinished
    from textmill.errors import Interrupted
    from textmill.tokenizers import make_byte

    flags = ["--cache-dir", str(tmp_path), "--json"]
    final = tmp_path / "corpora" / "abc"
    with (
        suppress(Interrupted),
        one_at_a_time(final, lambda sentence: None, lambda: None) as turn,
        unfinished(final, "key", turn) as work,
    ):
        work.keep_learned(make_byte(), [])
        assert main(["cache", "list", *flags]) == 0 and json.loads(capsys.readouterr().out) == []
        raise Interrupted(2)
    assert main(["cache", "list", "--cache-dir", str(tmp_path)]) == 0
    assert "unfinished" in capsys.readouterr().out
    assert main(["cache", "clean", "abc", *flags]) == 0
    assert not list((tmp_path / "corpora").iterdir())

"""What every page of the documentation finds in its folder: some text to train on, and runs that are small."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from support.made_text import sentences
from support.typed_commands import run_line
from textmill.config import Config
from textmill.training import assemble as assembly
from textmill.training.open_run import open_run

STEPS = 2
SMALL: dict[str, Any] = {
    "d_model": 16,
    "num_layers": 1,
    "num_heads": 2,
    "num_kv_heads": None,
    "head_dim": None,
    "d_ff": 32,
    "max_seq_len": 32,
    "batch_size": 2,
    "gradient_accumulation_steps": 1,
    "compile": False,
    "threads": None,
    "device": "cpu",
    "precision": "fp32",
    "sample_tokens": 4,
    "report_to": [],
    "log_dir": None,
    "wandb_project": None,
    "warmup_steps": None,
}
"""What a run is made with, whatever the page says. Flags and settings are read and checked before they are scaled."""


def shrink(config: Config) -> Config:
    """Return the configuration scaled to a run of a blink."""
    config = config.copy()
    for setting, value in SMALL.items():
        if value is not None or config.given(setting):
            setattr(config, setting, value)
    going_on = config.training.resume or config.training.resume_from
    if config.data.data is None and config.data.dataset_name is None and not going_on:
        config.data.data = ["book.txt"]
    config.training.max_steps = 2 * STEPS if going_on else STEPS
    for setting in ("epochs", "max_tokens", "max_time"):
        if config.given(setting):
            setattr(config, setting, None)
    return config


DECLARATION = {
    "khmer": "មនុស្សទាំងអស់កើតមកមានសេរីភាព និងសមភាពក្នុងសេចក្ដីថ្លៃថ្នូរ និងសិទ្ធិ ។ មនុស្សមានវិចារណញ្ញាណ និងសតិសម្បជញ្ញៈជាប់ពីកំណើត",
    "hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון",
}
"""The beginning of the first article of the Universal Declaration of Human Rights."""


def write_inputs(folder: Path) -> None:
    """The input files that the pages speak of are in `folder`."""
    text = sentences(400)
    for name in ("book.txt", "plays.txt", "novel.txt", "other.txt", "val.txt", "news.txt", "notes.md"):
        (folder / name).write_text(text if name != "other.txt" else text[::-1], encoding="utf-8")
    for name, article in DECLARATION.items():
        lines = (" ".join(article.split()[number % 7 :]) + f" {number}\n" for number in range(80))
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
        (folder / f"{name}-new.txt").write_text(article + "\n", encoding="utf-8")
    for name in ("corpus", "books", "texts"):
        (folder / name).mkdir()
        for number in range(24):
            (folder / name / f"{number:02d}.txt").write_text(sentences(20 + number), encoding="utf-8")
    for number in range(24):
        (folder / "projects" / str(number % 6)).mkdir(parents=True, exist_ok=True)
        (folder / "projects" / str(number % 6) / f"{number}.txt").write_text(sentences(20 + number), encoding="utf-8")
    rows = [{"text": sentences(5 + number), "body": sentences(3 + number), "id": number} for number in range(30)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "posts.jsonl").write_text(lines, encoding="utf-8")
    (folder / "run.yaml").write_text("d_model: 128\nmax_steps: 100\n", encoding="utf-8")
    (folder / "posts.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "stories.txt").write_text("\n---\n".join(sentences(6 + number) for number in range(30)), encoding="utf-8")
    table = "text\n" + "".join(json.dumps(sentences(9 + number) + " – äöü") + "\n" for number in range(30))
    (folder / "table.dat").write_bytes(table.replace("\\", "").encode("cp1252", "replace"))
    lines = [f"{number}\teng\t{line}\n" for number, line in enumerate(sentences(90).split("\n")) if line]
    (folder / "sentences.tsv").write_text("".join(lines), encoding="utf-8")
    (folder / "news-sentences.txt").write_text("".join(lines).replace("\teng", ""), encoding="utf-8")
    rows = [{"title": sentences(1), "body": sentences(3 + number)} for number in range(30)]
    (folder / "articles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "examples").symlink_to(Path(__file__).resolve().parents[2] / "examples")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the input files, a cache, and what was trained for pages that begin with a trained run."""
    folder = tmp_path_factory.mktemp("workshop")
    write_inputs(folder)
    return folder


class Desk:
    """The reader's folder, which is the current one. While `small` is true, training is scaled down.

    Every flag and setting is read and checked as it stands, and then made small.
    """

    def __init__(self, workshop: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.small = True
        self._workshop = workshop
        self._monkeypatch = monkeypatch

    def lay_out(self, runs: list[str]) -> None:
        """The input files and the given trained runs are in the folder."""
        self._monkeypatch.chdir(self._workshop)
        for run in runs:
            if not Path(run).exists():
                done = run_line(f"textmill train book.txt --tokenizer char --save-steps 1 --output-dir {run}")
                assert done.code == 0, done.errors
        write_inputs(self.folder)
        for run in runs:
            shutil.copytree(self._workshop / run, self.folder / run)
        self._monkeypatch.chdir(self.folder)

    def scaled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of a configuration that gets the small one instead."""

        def with_small_config(config: Config, *parts: Any, **options: Any) -> Any:
            return function(shrink(config) if self.small else config, *parts, **options)

        return with_small_config


@pytest.fixture
def reader_folder(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The reader's place: small runs, a cache of its own, one thread, no pictures drawn."""
    desk = Desk(workshop, tmp_path, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(workshop / "cache"))
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(b"a picture"))
    monkeypatch.setattr(assembly, "open_run", desk.scaled(open_run))
    monkeypatch.syspath_prepend(str(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield desk
    torch.set_num_threads(threads)

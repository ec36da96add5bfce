"""The page of a run: complete, self-contained, harmless."""

from __future__ import annotations

import json
import math
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.report_runs import HOSTILE, write_hostile
from textmill.cli.main import main
from textmill.report.charts import MOST_POINTS, Line, chart, nice_ticks, short
from textmill.report.html_page import render
from textmill.report.run_record import Record, open_record

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "span", "p", "section", "div"),
    *("strong", "small", "figure", "figcaption", "svg", "line", "text", "path", "circle", "pre", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "ul", "li"),
}
VOID = {"meta"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID and tag not in {"line", "path", "circle"}:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag in {"line", "path", "circle"}:
            return
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_tells_the_whole_run(small_run: Path) -> None:
    """State, best loss, every chart, the sample, settings with their origin, machine and commands are on it."""
    page = Page(render(open_record(small_run)))
    text = "".join(page.text)
    record = Record(small_run)
    assert f"{record.best['val_loss']:.4f}" in text
    for word in ("finished", "Loss", "Learning rate", "Throughput", "Samples", "--d-model", "textmill train"):
        assert word in text
    assert "torch" in text and "model.d_model" in text
    assert page.tags <= TAGS


def test_an_overfitted_run_shows_its_best_step(small_run: Path, tmp_path: Path) -> None:
    """Figures and sample are those of the lowest validation loss, advice is shown, and speed has one definition."""
    folder = Path(shutil.copytree(small_run, tmp_path / "overfitted"))
    losses = [(2, 1.875, 1.5), (4, 0.25, 3.0)]
    rows = [{"step": step, "train_loss": training, "val_loss": loss} for step, training, loss in losses]
    reports = [{"step": step, "train_loss": 1.0, "tokens_per_second": speed} for step, speed in [(2, 100), (4, 300)]]
    samples = [{"step": step, "text": text} for step, text in [(2, "the best text"), (4, "an overfitted text")]]
    for name, content in (("metrics", rows), ("steps", reports), ("samples", samples)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    with (folder / "train.log").open("a") as log:
        log.write("advice: the model is overfitting\n" * 2)
    record = open_record(folder)
    text = "".join(Page(render(record)).text)
    assert "1.5000" in text and "1.8750nats per token, at step 2" in text
    assert text.index("the best text") < text.index("1 other") < text.index("an overfitted text")
    assert text.count("the model is overfitting") == 1
    assert record.speed == record.summary()["tokens_per_second"] == 200
    assert "200tokens/s, median" in text


def test_nothing_is_requested_from_anywhere(small_run: Path) -> None:
    """No attribute names another resource, no script is there, and the page's own policy forbids both."""
    html = render(open_record(small_run))
    names = {name for name, _ in Page(html).attributes}
    assert not names & {"src", "href", "srcset", "action", "data", "onload", "onerror", "style", "xlink:href"}
    assert "http:" not in html and "https:" not in html and "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_hostile_content_stays_text(tmp_path: Path) -> None:
    """Markup in names, values, samples, metric names and the folder's name shows as text and adds no element."""
    folder = write_hostile(tmp_path / "a<b>&\"'")
    page = Page(render(open_record(folder)))
    assert page.tags <= TAGS
    assert HOSTILE in "".join(page.text)
    assert not {name for name, _ in page.attributes} & {"src", "onerror"}


@pytest.mark.parametrize("files", [{}, {"metrics.jsonl": "{broken"}, {"status.json": "[]", "metrics.jsonl": "{}\n"}])
def test_half_a_run_has_a_page(tmp_path: Path, files: dict[str, str]) -> None:
    """Missing and broken files make a shorter page, not an error."""
    (tmp_path / "config.yaml").write_text("model: {d_model: 8}\n")
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert "nothing was measured" in render(open_record(tmp_path))


def test_the_verb_writes_the_file_and_prints_its_path(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is written where asked, and the path is all that is printed; a folder without a run is refused (66)."""
    target = tmp_path / "page.html"
    assert main(["report", str(small_run), "--output", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert target.read_text().startswith("<!doctype html>")
    assert main(["report", str(tmp_path)]) == 66


@given(low=st.floats(-1e9, 1e9), span=st.floats(1e-6, 1e9))
def test_ticks_enclose_the_data(low: float, span: float) -> None:
    """Ticks rise, cover the range and are few."""
    ticks = nice_ticks(low, low + span)
    assert ticks == sorted(ticks) and 2 <= len(ticks) <= 12
    room = 1e-6 * (abs(low) + span)
    assert ticks[0] <= low + room and ticks[-1] >= low + span - room


def test_charts_keep_gaps_and_thin_long_series() -> None:
    """A missing value interrupts the line; thousands of points become a few hundred."""
    gap = [(1.0, 1.0), (2.0, math.nan), (3.0, 2.0)]
    assert chart("x", "", [Line("x", gap, "first")]).count("M") >= 2
    long = [(float(step), float(step % 7)) for step in range(10_000)]
    drawn = chart("x", "", [Line("x", long, "first")])
    assert drawn.split('d="')[1].count("L") < MOST_POINTS
    assert "nothing was measured" in chart("x", "", [Line("x", [(1.0, math.nan)], "first")])


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12_000, "12k"), (3.4e6, "3.4M"), (0.002, "0.002"), (1e-5, "1e-5")]
)
def test_short_numbers(value: Any, text: str) -> None:
    """Axis labels are as short as they can be."""
    assert short(value) == text

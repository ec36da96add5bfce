"""Names in any script are drawn with a font that has them, or escaped: no empty boxes and no warnings."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from matplotlib.image import imread

from textmill.sweep.run_sweep import SweepResult, Tried
from textmill.sweep.space import Dimension
from textmill.sweep.sweep_picture import draw_sweep
from textmill.tracking.fonts import drawable
from textmill.tracking.training_curves import training_curves

KHMER, CHINESE = "ខ្មែរ", "中文"


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(autouse=True)
def usual_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those that come with matplotlib, whatever the machine has."""
    usual = [entry for entry in fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(fontManager, "ttflist", usual)


def install(folder: Path, name: str, characters: str) -> None:
    """Make a font whose letters are black squares, and let matplotlib find it."""
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    for point in [(50, 700), (750, 700), (750, 0)]:
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    glyphs = {".notdef": TTGlyphPen(None).glyph(), **{f"u{ord(each):04X}": square for each in characters}}
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder(list(glyphs))
    made.setupCharacterMap({ord(each): f"u{ord(each):04X}" for each in characters})
    made.setupGlyf(glyphs)
    made.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 50)))
    made.setupHorizontalHeader(ascent=800, descent=-200)
    made.setupNameTable({"familyName": name, "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    made.save(folder / f"{name}.ttf")
    fontManager.addfont(folder / f"{name}.ttf")


def test_usual_letters_need_no_other_font() -> None:
    """European, Greek, Cyrillic, Hebrew and Arabic letters are in the usual font; spaces and lines need none."""
    names = ["run_1", "größer café", "Ωμέγα", "дом", "שלום", "سلام", "two\nlines\u3000"]
    texts, families = drawable(names)
    assert texts == names and families == drawable([])[1]


def test_fonts_that_have_the_letters_are_added(tmp_path: Path) -> None:
    """Each script has a font of its own here, and both are used for a text of both, in the weight of a title too."""
    install(tmp_path, "Squares for Khmer", KHMER)
    install(tmp_path, "Squares for Chinese", CHINESE)
    for weight in ("normal", "bold"):
        texts, families = drawable([f"run {KHMER}", CHINESE], weight)
        assert texts == [f"run {KHMER}", CHINESE]
        assert families[1:] == ["Squares for Chinese", "Squares for Khmer"]
    assert drawable([CHINESE])[1][1:] == ["Squares for Chinese"]


def test_without_a_font_a_name_is_escaped() -> None:
    """Only the name with such a letter, and a long one is cut."""
    texts, families = drawable(["run", f"run {CHINESE}", "中" * 50])
    assert texts[:2] == ["run", r"run \u4e2d\u6587"]
    assert len(texts[2]) == 60 and texts[2].endswith("...")
    assert families == drawable([])[1]


def ink(png: bytes) -> float:
    """How much black is where the title stands."""
    return float((imread(io.BytesIO(png))[:60, :, :3].max(axis=2) < 0.1).sum())


def test_the_title_of_the_curves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run's name in Khmer is escaped without a font, and drawn with one (of squares, here), without a word."""
    nothing, escaped = (ink(training_curves([], [], title=title)) for title in ("", KHMER))
    assert escaped == ink(training_curves([], [], title=KHMER.encode("ascii", "backslashreplace").decode()))
    install(tmp_path, "More squares for Khmer", KHMER)
    squares = ink(training_curves([], [], title=KHMER)) - nothing
    assert squares > 3 * (ink(training_curves([], [], title="lllll")) - nothing) > 0
    assert not caplog.records


def test_the_choices_of_a_sweep(tmp_path: Path) -> None:
    """A sweep over values in another script is drawn without a warning."""
    (tmp_path / KHMER).mkdir()
    dimension = Dimension("tokenizer", choices=(CHINESE, "char"))
    values = [{"tokenizer": name} for name in (CHINESE, "char")]
    trials = [Tried(number, "complete", 1.0 + number, value, tmp_path) for number, value in enumerate(values)]
    assert np.ptp(imread(draw_sweep(SweepResult(tmp_path / KHMER, "val_loss", trials), [dimension]))) > 0

"""The picture shows what the logs hold, however little that is."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from textmill.tracking.training_curves import draw_training_curves, training_curves

Rows = list[dict[str, Any]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn while the test runs."""
    figures: list[Figure] = []
    real = Figure.savefig

    def savefig(self: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(self)
        real(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def evaluations(count: int) -> Rows:
    return [
        {"step": 10 * n, "train_loss": 3 / n, "val_loss": 4 / n, "val_perplexity": math.exp(4 / n)}
        for n in range(1, count + 1)
    ]


def reports(count: int) -> Rows:
    return [
        {"step": n, "train_loss": 3.0, "learning_rate": 1e-3 / n, "tokens_per_second": 50_000.0}
        for n in range(1, count + 1)
    ]


def line(figure: Figure, panel: int, label: str) -> tuple[list[float], list[float]]:
    (found,) = [line for line in figure.axes[panel].lines if line.get_label() == label]
    return list(np.asarray(found.get_xdata())), list(np.asarray(found.get_ydata()))


def test_the_curves_are_the_rows(drawn: list[Figure]) -> None:
    """Every panel's line has the steps and values of the logs, and the lowest validation loss is marked."""
    training_curves(evaluations(5), reports(50), title="run")
    (figure,) = drawn
    assert line(figure, 0, "validation") == ([10, 20, 30, 40, 50], [4 / n for n in range(1, 6)])
    assert line(figure, 0, "training, mean")[1] == [3 / n for n in range(1, 6)]
    assert line(figure, 0, "best 0.8 at step 50") == ([50], [0.8])
    assert line(figure, 1, "validation")[1] == [math.exp(4 / n) for n in range(1, 6)]
    assert line(figure, 2, "learning rate")[1] == [1e-3 / n for n in range(1, 51)]
    assert line(figure, 3, "throughput")[1] == [50_000.0] * 50
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Loss [nats/token]",
        "Validation perplexity",
        "Learning rate",
        "Throughput [tokens/s]",
    ]


@pytest.mark.parametrize(
    ("evaluation_rows", "report_rows"),
    [([], []), (evaluations(1), []), ([], reports(1)), (evaluations(1), reports(1)), (evaluations(300), reports(2000))],
)
def test_any_number_of_rows_gives_a_picture(evaluation_rows: Rows, report_rows: Rows) -> None:
    """None, one, many."""
    picture = imread(io.BytesIO(training_curves(evaluation_rows, report_rows, title="a $b_ c$ {")), format="png")
    assert picture.shape == (900, 1320, 4)
    assert picture[..., :3].std() > 0.01


def test_panels_without_values_say_so(drawn: list[Figure]) -> None:
    """An empty panel without a word would look like a defect."""
    training_curves([], reports(1), title="run")
    assert [[text.get_text() for text in axes.texts] for axes in drawn[0].axes] == [
        [],
        ["nothing was measured"],
        [],
        [],
    ]


def test_values_that_were_not_finite_are_gaps(drawn: list[Figure]) -> None:
    """A null in the log neither stops the drawing nor becomes a zero."""
    rows = evaluations(3)
    rows[1]["val_loss"] = None
    training_curves(rows, [], title="run")
    values = line(drawn[0], 0, "validation")[1]
    assert values[0] == 4.0
    assert math.isnan(values[1])
    assert line(drawn[0], 0, "best 1.333 at step 30")[0] == [30]


def test_the_picture_is_drawn_from_a_run_directory(tmp_path: Path) -> None:
    """A last line that is being written and damaged lines are left out."""
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evaluations(3)) + '{"st')
    assert draw_training_curves(tmp_path) == tmp_path / "training_curves.png"
    assert (tmp_path / "training_curves.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "steps.jsonl").write_text("nonsense\n")
    whole = (tmp_path / "training_curves.png").read_bytes()
    draw_training_curves(tmp_path)
    assert (tmp_path / "training_curves.png").read_bytes() == whole


def test_drawing_leaves_no_state_behind() -> None:
    """No window system is asked for, and pyplot, which keeps every figure, is never imported."""
    program = (
        "import sys; from textmill.tracking.training_curves import training_curves; training_curves([], [], title='x');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"

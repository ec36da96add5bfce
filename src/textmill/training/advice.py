"""Symptoms of trouble in the numbers of a run, and what to do about each: reported once, when it is seen.

Every symptom is a pure function of the reports so far, so a resumed run, which reads them back from its logs, says
nothing twice and the same as an uninterrupted run. A healthy run should get no advice: a
symptom must stand out from the run's own noise and last for several reports.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from textmill.runs.layout import BEST_MODEL

Report = Mapping[str, Any]
"""A row of steps.jsonl or metrics.jsonl."""

LASTING = 5
"""Reports in a row that a divergence must last."""

EARLY_SHARE = 0.25
"""The share of a run in which a jump of the loss is blamed on the warm-up."""

EARLY_STEPS = 500
"""The same, while the length of the run is unknown."""

FLAT_SHARE, FLAT_STEPS = 0.25, 100
"""A flat loss is noticed after this share of the run, and not before so many steps."""

IDLE_UTILISATION, IDLE_STEPS = 0.05, 200
"""Share of a GPU's peak below which it is mostly idle, and steps before which a run is too short for that to matter."""

RISING = 3
"""Evaluations in a row that overfitting must last while a run goes on; at its end one is enough."""

GAP = 0.1
"""Share by which the training loss may be below the validation loss where more of the same text still helps."""


@dataclass(frozen=True)
class Setting:
    """What the advice depends on besides the reports, and what it can name.

    total_steps: None while it is unknown. flat_loss: ln V, the loss of a model that predicts all tokens alike.
    """

    total_steps: int | None
    learning_rate: float
    warmup_steps: int
    flat_loss: float | None
    dropout: float = 0.0
    max_grad_norm: float = 1.0


def noise(losses: Sequence[float]) -> float:
    """Return how much neighbouring losses usually differ: the median difference of the last 50."""
    recent = losses[-51:]
    steps = sorted(abs(other - one) for one, other in pairwise(recent))
    return steps[len(steps) // 2] if steps else math.inf


def diverges(losses: Sequence[float], level: float) -> bool:
    """Whether the last LASTING losses are all well above `level`, the best lasting loss before them."""
    earlier, last = losses[:-LASTING], losses[-LASTING:]
    return len(earlier) >= LASTING and min(last) > level + max(0.3, 4 * noise(earlier))


def jumps(losses: Sequence[float]) -> bool:
    """Whether the newest loss is far above the three before it."""
    if len(losses) < 6:
        return False
    before = losses[:-1]
    return losses[-1] > max(before[-3:]) + max(0.5, 8 * noise(before))


def stays_flat(losses: Sequence[float], flat_loss: float) -> bool:
    """Whether the last three losses are no better than those of a model that predicts all tokens alike."""
    return len(losses) >= 3 and min(losses[-3:]) > 0.98 * flat_loss


def overfits(evaluations: Sequence[Report], *, lasting: int = RISING) -> bool:
    """Whether the last `lasting` validation losses are all well above the best one, and training has fallen since."""
    best = min(range(len(evaluations)), key=lambda index: evaluations[index]["val_loss"], default=0)
    if len(evaluations) - 1 - best < lasting:
        return False
    lowest, training = evaluations[best]["val_loss"], [row["train_loss"] for row in evaluations]
    margin = max(0.02, 0.02 * lowest)
    return (
        min(row["val_loss"] for row in evaluations[-lasting:]) > lowest + margin
        and training[-1] < training[best] - margin
    )


def still_learning(evaluations: Sequence[Report], learning_rate: float) -> bool:
    """Whether a longer run is likely to be better: validation fell to the end, and also at the full learning rate.

    A loss that falls while the rate decays says nothing about a run at the full rate, which a longer one is at first.
    Where training is far below validation already, the same text is memorized.
    """
    steady = [row["val_loss"] for row in evaluations if row.get("learning_rate", 0.0) > 0.999 * learning_rate]
    if len(steady) < 2 or evaluations[-1]["val_loss"] > min(row["val_loss"] for row in evaluations):
        return False
    fell = steady[-1] < 0.995 * min(steady[:-1])
    return fell and evaluations[-1]["train_loss"] > (1 - GAP) * evaluations[-1]["val_loss"]


class Advice:
    """Reads every report of a run and reports each symptom once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._seen: set[str] = set()
        self._losses: list[float] = []  # the last _KEPT
        self._level = math.inf  # the lowest loss that lasted for LASTING reports, without those that may be a symptom
        self._evaluations: list[Report] = []  # those whose losses are finite

    def recall(self, reports: Iterable[Report], evaluations: Iterable[Report], setting: Setting) -> None:
        """Read the rows of an earlier session without a word: their advice has been given."""
        say, self._say = self._say, lambda sentence: None
        for row in reports:
            self.report(row, setting)
        for row in evaluations:
            self.evaluation(row, setting)
        self._say = say

    def report(self, row: Report, setting: Setting) -> None:
        """Read a row of steps.jsonl."""
        loss = row.get("train_loss")
        step = int(row["step"])
        if loss is None or not math.isfinite(loss):
            self._tell("not finite", lambda: _not_finite_advice(step, setting))
            return
        self._losses = losses = [*self._losses[-_KEPT:], float(loss)]
        if step >= IDLE_STEPS and (utilisation := row.get("mfu") or 1.0) < IDLE_UTILISATION:
            self._tell("idle", lambda: _idle_advice(step, utilisation))
        held = losses[-2 * LASTING : -LASTING]
        if len(held) == LASTING:
            self._level = level = min(self._level, max(held))
            if diverges(losses, level):
                self._tell("divergence", lambda: _divergence_advice(step, losses[-1], level, setting))
        total = setting.total_steps
        early = step <= (EARLY_STEPS if total is None else EARLY_SHARE * total)
        if early and jumps(losses):
            self._tell("jump", lambda: _jump_advice(step, losses, setting))
        if setting.flat_loss is not None and step >= max(FLAT_STEPS, FLAT_SHARE * (total or 4 * EARLY_STEPS)):
            flat = setting.flat_loss
            if stays_flat(losses, flat):
                self._tell("flat", lambda: _flat_advice(step, losses[-1], flat, setting))

    def evaluation(self, row: Report, setting: Setting) -> None:
        """Read a row of metrics.jsonl."""
        training, validation = row.get("train_loss"), row.get("val_loss")
        if training is None or validation is None or not math.isfinite(training + validation):
            return
        self._evaluations.append(row)
        if overfits(self._evaluations):
            self._tell("overfitting", lambda: _overfitting_advice(self._evaluations, setting))

    def ending(self, setting: Setting) -> tuple[str | None, bool]:
        """Return what the evaluations of a run that has ended say, if anything, and whether it should be longer."""
        if overfits(self._evaluations, lasting=1):
            return _overfitting_advice(self._evaluations, setting), False
        if still_learning(self._evaluations, setting.learning_rate):
            return "validation still improved at the full learning rate: a longer run may be better", True
        return None, False

    def no_better_than_guessing(self, setting: Setting) -> str | None:
        """Return the sentence about a run whose best evaluation is clearly above the loss of guessing, or None."""
        lowest = min((row["val_loss"] for row in self._evaluations), default=0.0)
        if setting.flat_loss is None or lowest < 1.02 * setting.flat_loss:
            return None
        return (
            f"the lowest validation loss, {lowest:.2f}, is above that of guessing ({setting.flat_loss:.2f}): the model "
            f"in {BEST_MODEL}/ is of no use"
        )

    def _tell(self, symptom: str, sentence: Callable[[], str]) -> None:
        if symptom not in self._seen:
            self._seen.add(symptom)
            self._say(f"advice: {sentence()}")


_KEPT = 60
"""Losses that are remembered."""


def _gentler(setting: Setting) -> str:
    return f"--learning-rate {setting.learning_rate / 3:.0e} (now {setting.learning_rate:.0e})"


def _not_finite_advice(step: int, setting: Setting) -> str:
    clip = "--max-grad-norm 1, " if not 0 < setting.max_grad_norm <= 1 else ""
    return (
        f"the loss is not finite at step {step}: such steps change no weights; if it stays not finite, use "
        f"{_gentler(setting)}, {clip}a longer --warmup-steps, or --precision fp32"
    )


def _jump_advice(step: int, losses: Sequence[float], setting: Setting) -> str:
    warmup = max(2 * setting.warmup_steps, step)
    return (
        f"the loss jumped from {losses[-2]:.2f} to {losses[-1]:.2f} early, by step {step}: the learning rate rises too "
        f"fast or too far; use --warmup-steps {warmup} (now {setting.warmup_steps}) or {_gentler(setting)}"
    )


def _divergence_advice(step: int, loss: float, level: float, setting: Setting) -> str:
    clip = " and --max-grad-norm 1" if not 0 < setting.max_grad_norm <= 1 else ""
    return (
        f"the loss has risen from {level:.2f} to {loss:.2f} and stays there, up to step {step}: the run diverges; "
        f"resume from an earlier checkpoint (--resume-from) or start again, with {_gentler(setting)}{clip}"
    )


def _flat_advice(step: int, loss: float, flat: float, setting: Setting) -> str:
    return (
        f"after {step} steps the loss is {loss:.2f}, no better than guessing ({flat:.2f}): the learning rate is too "
        f"low or too high (now {setting.learning_rate:.0e}; try three times more and less), or the text is random"
    )


def _idle_advice(step: int, utilisation: float) -> str:
    return (
        f"at step {step} the GPU does {utilisation:.1%} of its peak: it is mostly idle between small kernels. Try a "
        "larger --batch-size (with fewer --gradient-accumulation-steps), --compile, or --num-workers"
    )


def _overfitting_advice(evaluations: Sequence[Report], setting: Setting) -> str:
    best = min(evaluations, key=lambda row: row["val_loss"])
    dropout = min(0.3, setting.dropout + 0.1)
    gentler = f"--dropout {dropout:.1f}, " if dropout > setting.dropout else ""
    return (
        f"the validation loss has risen from {best['val_loss']:.3f} at step {best['step']:,} to "
        f"{evaluations[-1]['val_loss']:.3f} while the training loss fell: the model is overfitting; best_model/ keeps "
        f"that of step {best['step']:,}. More text helps most, else {gentler}a smaller model, or a new run that ends "
        f"sooner (--max-steps {best['step']})"
    )

"""How many steps fit into a limit of time, measured again and again: evaluations and other programs take their part."""

from textmill.training.progress import Progress

CALIBRATION_STEPS = 20
"""Steps after which a run limited by time plans its length for the first time."""

_UNSEEN = 0.05
"""Share of the limit that is left for evaluating and saving before any of it was seen."""

_ENDING = 0.01
"""Share of the limit that is left for saving the last state."""

_NEWS = 0.01
"""Change of the length that is worth a new plan."""

_LAST = 0.1
"""Share of a run at whose end the learning rate is nearly the lowest: it does not rise again for a few steps more."""


def is_time_to_plan(step: int, planned: int | None, *, after_evaluation: bool) -> bool:
    """Whether the length is planned after `step`: after 20 steps, 40, 80, 160 and so on, after each evaluation, and in
    the last tenth of what is planned."""
    doublings, rest = divmod(step, CALIBRATION_STEPS)
    if rest == 0 and doublings.bit_count() == 1:
        return True
    return step > CALIBRATION_STEPS and (after_evaluation or _is_last(step, planned))


def steps_that_fit(progress: Progress, limit: float, began: tuple[int, float]) -> int:
    """Return the number of steps at whose end `limit` seconds are over, at the speed so far; at least one more.

    began: the step at which this process began to measure, and the seconds that had gone by without training.
    """
    step, elapsed = progress.step, progress.elapsed_seconds
    elsewhere = max(0.0, elapsed - progress.training_seconds - began[1])
    seconds = progress.seconds_per_step + elsewhere / max(1, step - began[0])
    left = limit * (1 - (_ENDING if elsewhere > _ENDING * progress.training_seconds else _UNSEEN)) - elapsed
    return step + max(1, int(left / seconds))


def is_new(total: int, planned: int | None, asked: int | None, step: int) -> bool:
    """Whether a run that planned `planned` steps should plan `total` instead.

    asked: the most steps that the configuration allows. At the end a run is only shortened, at once, so that its
    learning rate arrives at the lowest one before time is up.
    """
    if planned is None:
        return True
    if _is_last(step, planned):
        return total < planned - 1  # which is rounding
    total = total if asked is None else min(total, asked)
    return abs(total - planned) > _NEWS * planned


def _is_last(step: int, planned: int | None) -> bool:
    return planned is not None and step >= (1 - _LAST) * planned

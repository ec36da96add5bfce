"""The loop: everything that happens during training is on this page."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from textmill.training.evaluate_and_sample import answers_prompt, evaluate, sample
from textmill.training.layer_statistics import LayerStatistics
from textmill.training.progress import Step, sum_dtype
from textmill.training.rollback import roll_back
from textmill.training.run import Run
from textmill.training.saving import save


def run_loop(run: Run, report: Callable[[Step], dict[str, Any]] = Step.measured) -> None:
    """Train until the run's length, early stopping or a signal ends it, with every periodic action on the way.

    report: makes the row of a training report, for callers who have more to report than `Step.measured`.
    """
    for step in steps(run):
        periodic_actions(run, step, report)


def periodic_actions(run: Run, step: Step, report: Callable[[Step], dict[str, Any]] = Step.measured) -> None:
    """Report, evaluate, sample and save, each if it is due after `step`. All processes call it.

    Raises:
        NonFiniteError: the run diverges. WriteFailedError: checkpoints cannot be written, three times in a row.
    """
    if step.every(run.log_every):
        run.track(report(step))
    if step.every(run.eval_every) or step.last:
        run.track_evaluation(step, evaluate(run))
    if step.every(run.sample_every) or answers_prompt(run, step):
        run.show(sample(run))
    if step.every(run.save_every) or step.last or run.progress.improved:
        save(run)


def steps(run: Run, *, gradients: bool = False) -> Iterator[Step]:
    """Take one optimizer step per iteration and yield what is known of it.

    With `gradients` each parameter still has its gradient then, of the whole batch, as the optimizer got it: after
    clipping, which `max_grad_norm` 0 leaves out. The weights are those after the step. It costs the memory of the
    gradients during everything that happens between steps. Raises ConfigError with the engine deepspeed.

    The objective is the mean loss over all counted targets of the global batch. Rows may be padded, so the divisor is
    counted over micro-batches and processes, never assumed; the counts come with the batches, before any computation.
    """
    world, device = run.world, run.world.device
    watch = LayerStatistics(run.engine, run.reporting.screen.say) if run.config.training.layer_statistics else None
    yield from _step_with_actions_pending(run)
    while (stop_reason := run.should_stop()) is None:
        started = time.perf_counter()
        step = run.progress.step
        run.engine.set_learning_rate(run.schedule(step))
        batches = run.loader.batches(run.progress.rollbacks.position(step))
        num_targets = int(world.sum(sum(batch.num_targets for batch in batches)))
        nats = torch.zeros((), dtype=sum_dtype(device), device=device)
        objective = None
        layers = watch if run.log_every.due(step + 1) else None
        for index, batch in enumerate(batches):
            seed_dropout(run.config.training.seed, step, index, world.rank)
            watching = nullcontext() if layers is None else layers.watching()
            with run.engine.micro_batch(last=index == len(batches) - 1), watching:
                with run.engine.precision.autocast():
                    # () nats, summed over this process's rows, or a pair of them: what to minimise and what to report
                    loss = run.loss(run.engine.model, batch.to(device))
                minimised, reported = loss if isinstance(loss, tuple) else (loss, loss)
                run.engine.backward(minimised / num_targets)
            nats += reported.detach()
            if minimised is not reported:
                objective = minimised.detach() + (0 if objective is None else objective)
        kept = gradients or layers is not None
        grad_norm = run.engine.step(run.config.training.max_grad_norm, keep_gradients=kept)
        taken = run.finish_step(nats, num_targets, grad_norm, started, objective)
        if layers is not None:
            taken = replace(taken, layers=layers.measured())
        if kept and not gradients:
            run.engine.clear_gradients()
        if run.spike is not None and roll_back(run, run.spike):
            yield from _step_with_actions_pending(run)
        else:
            yield taken
        if gradients:
            run.engine.clear_gradients()
    run.stop_reason = stop_reason


def _step_with_actions_pending(run: Run) -> Iterator[Step]:
    """Yield the step of the checkpoint that was restored if it was saved before the step's periodic actions."""
    if run.progress.actions_pending:
        run.progress.actions_pending = False
        yield run.current_step()


def seed_dropout(seed: int, step: int, micro_batch: int, rank: int) -> None:
    """Seed torch's generator for the dropout of one micro-batch in one process, so that no generator must be saved."""
    purpose = f"dropout/{seed}/{step}/{micro_batch}/{rank}"
    digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)

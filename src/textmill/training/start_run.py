"""The second phase of a run: from what was opened to live objects. From here on files are written."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.data.batches.loader import Batch
from textmill.engine.compiling import Compiler
from textmill.engine.deepspeed_json import for_initialize
from textmill.engine.engine_choice import build_engine
from textmill.engine.world import World
from textmill.files import json_sha256, retry_stale
from textmill.imports import code_hash
from textmill.machine.devices import peak_flops
from textmill.machine.precision import float32_products
from textmill.model.cross_entropy import loss_sums, smoothed_sums
from textmill.model.from_config import build_model
from textmill.model.own_parts import name_of_own
from textmill.optim.optimizer_choice import AdamSettings, MuonSettings, build_optimizer
from textmill.planning.parameter_count import flops_per_token
from textmill.planning.run_length import KEPT
from textmill.runs import layout
from textmill.runs.deleted_folder import OpenFolder
from textmill.runs.read_run import read_environment
from textmill.training.advice import Advice
from textmill.training.around_the_loop import looking, running
from textmill.training.checkpoint_state import load_state, restore
from textmill.training.evaluate_and_sample import first_words
from textmill.training.initial_model import load_initial
from textmill.training.open_run import OpenedRun
from textmill.training.out_of_memory import memory_explained
from textmill.training.reporting import Reporting
from textmill.training.resume import check_identity
from textmill.training.run import LossFunction, Run, Saving
from textmill.training.run_files import forget_hashes, write_environment
from textmill.training.saving import repair_models
from textmill.training.start_and_end_summary import opening_lines
from textmill.training.starting_point import claim
from textmill.training.steps_left import steps_left
from textmill.training.training_rows import held_out_sets, make_loader


@contextmanager
def start_run(opened: OpenedRun) -> Iterator[Run]:
    """Build model, engine and the rest, restore the checkpoint, and yield the run; save its last state afterwards.

    Raises:
        TextmillError: the memory is too small, a folder cannot be written, the checkpoint does not fit.
    """
    world, screen, corpus = opened.world, opened.screen, opened.corpus
    with ExitStack() as stack:
        if opened.output.fresh:
            overwrite = opened.config.training.overwrite
            stack.enter_context(claim(opened.output, world, screen, overwrite=overwrite))
        stack.enter_context(memory_explained(opened.config, world.device, world.size))
        stack.enter_context(float32_products(opened.precision))
        folder = OpenFolder(opened.output.folder)
        stack.callback(folder.close)
        with screen.during("building the model"):
            run = _build(opened, folder)
            log_sizes = _restore(run, opened)
        stack.callback(run.long_lived.release)
        left = steps_left(run, opened.changes)
        with world.together():
            if world.is_first and not left.untouched:
                retry_stale(lambda: _describe(run, opened, trains=left.trains))
        given_model = opened.parts.model is not None
        for name, text in opening_lines(
            run, corpus, kernels=opened.tried, compiling=opened.compiling, preset=opened.preset, given_model=given_model
        ):
            screen.field(name, text)
        if left.without_effect:
            screen.say(left.without_effect)
        if left.untouched:
            stack.enter_context(looking(run))
        else:
            stack.enter_context(running(run, log_sizes, trains=left.trains))
        stack.enter_context(memory_explained(opened.config, world.device, world.size))  # for status.json to say it too
        yield run


def _describe(run: Run, opened: OpenedRun, *, trains: bool) -> None:
    """Write what the run runs on if it `trains`, and its tokenizer."""
    kept = not trains and bool(read_environment(run.folder))  # it says how the steps were taken
    forget_hashes(run.folder)
    on_gpu = {"compiled": opened.compiled} if opened.world.device.type == "cuda" else {}
    if not kept:
        write_environment(run, opened.corpus, opened.kernels | on_gpu, opened.changes)
    if opened.corpus.tokenizer is not None:
        opened.corpus.tokenizer.save_alone(run.folder / layout.TOKENIZER)


def _build(opened: OpenedRun, folder: OpenFolder) -> Run:
    """Return the run at step 0."""
    config, world, corpus, parts = opened.config, opened.world, opened.corpus, opened.parts
    settings, say, compiler = config.training, opened.screen.say, _compiler(opened)
    with world.together():
        model = _model(opened)
    identity = _identity(opened, model)  # before the engine, which may divide the model and change its classes

    def make_optimizer(module: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(
            module,
            parts.optimizer or settings.optimizer,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            adam=AdamSettings(settings.beta1, settings.beta2, settings.eps),
            momentum=settings.momentum,
            muon=MuonSettings.of_run(
                opened.expected.total_steps,
                opened.expected.epochs,
                torch.bfloat16 if opened.kernels["muon"] == "bf16" else torch.float32,
            ),
        )

    return Run(
        config=config,
        folder=opened.output.folder,
        world=world,
        signals=opened.signals,
        model=model,
        engine=build_engine(
            opened.engine,
            model,
            make_optimizer,
            opened.precision,
            world,
            compile=compiler,
            deepspeed=for_initialize(config, world.size) if opened.engine == "deepspeed" else None,
        ),
        loss=parts.loss or causal_loss(label_smoothing=settings.label_smoothing, compile=compiler),
        loader=make_loader(config, opened.rows, opened.augment, world),
        held_out=held_out_sets(config, corpus, world),
        metrics=parts.metrics or {},
        tokenizer=corpus.tokenizer,
        sample_prompt=first_words(settings.sample_prompt, corpus),
        length=opened.length,
        reporting=Reporting(opened.screen, opened.trackers, Advice(say)),
        saving=Saving(
            checkpoints=CheckpointStore(opened.output.checkpoints, keep=settings.save_total_limit or KEPT, say=say),
            identity=identity,
            end_ids=opened.initial.end_ids if opened.initial is not None else frozenset(),
        ),
        opened_folder=folder,
        flops_per_token=flops_per_token(config.model) if parts.model is None else None,
        peak_flops=_peak_flops(opened.world),
    )


def _compiler(opened: OpenedRun) -> Compiler | None:
    return Compiler(opened.screen.say) if opened.compiled else None


def _identity(opened: OpenedRun, model: nn.Module) -> dict[str, Any]:
    """Return what a run that resumes must have in common with this one; see `check_identity`."""
    parts, tokenizer = opened.parts, opened.corpus.tokenizer
    weights = list(model.parameters())
    frozen = {name: weight.numel() for name, weight in model.named_parameters() if not weight.requires_grad}
    settings = opened.config.training
    named = ":" in settings.optimizer
    codes = [name for name in (settings.model, settings.loss, settings.optimizer if named else None) if name]
    own = None if parts.model is None else name_of_own(parts.model)
    return {
        "data": opened.corpus.fingerprint,
        "tokenizer": tokenizer.fingerprint if tokenizer is not None else None,
        "global_batch": opened.length.rows_per_step,
        "parameters": sum(weight.numel() for weight in weights),
        "frozen": sum(frozen.values()),
        "frozen_names": json_sha256(sorted(frozen))[:16] if frozen else None,
        "dtype": ", ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in weights})),
        "model": None if settings.model else own,
        "built_model": own if settings.model else None,
        "loss": None if settings.loss else _name(parts.loss),
        "optimizer": None if named else _name(parts.optimizer),
        "code": {name: code_hash(name) for name in codes},
    }


def _name(part: Any) -> str | None:
    """Return the name of a part that was given as an object, which no setting describes; None for none."""
    return None if part is None else getattr(part, "__qualname__", type(part).__qualname__)


def _model(opened: OpenedRun) -> nn.Module:
    """Return the model: the given one, or the one that the configuration describes, with the values it derives."""
    config, model = opened.config, opened.parts.model
    if model is None:
        model = build_model(config.model, seed=config.training.seed)
        config.model = model.config
    if opened.initial is not None:
        load_initial(model, opened.initial, opened.corpus.tokenizer, opened.screen.say)
    return model


def causal_loss(*, label_smoothing: float = 0.0, compile: Compiler | None = None) -> LossFunction:
    """Return the loss of next-token prediction: from a model and a batch to summed nats over the counted targets.

    With label smoothing it is the pair of the smoothed sum, which is minimised, and the plain one, which is reported:
    only the plain loss can be compared with the validation loss and between runs.

    compile: compiles what follows the logits of a model that is not ours (see `loss_sums`), as the engine compiles the
    model that makes them: the logits are the largest tensor of a step, and one kernel needs no copy of them in float32.
    """
    of_logits = compile(smoothed_sums) if compile else smoothed_sums

    def loss(model: nn.Module, batch: Batch) -> Tensor | tuple[Tensor, Tensor]:
        sums = loss_sums(model, batch, label_smoothing=label_smoothing, of_logits=of_logits)
        return sums if label_smoothing else sums[0]

    return loss


def _peak_flops(world: World) -> float | None:
    """Return the operations per second of all devices at their peak, where that is known."""
    if world.device.type != "cuda":
        return None
    peak = peak_flops(torch.cuda.get_device_name(world.device))
    return world.size * peak if peak else None


def _restore(run: Run, opened: OpenedRun) -> dict[str, int]:
    """Set the run to the checkpoint it starts from, if any; return the sizes to cut its logs to, none for a fork."""
    if opened.start is None:
        return {}
    state, fork = load_state(opened.start), opened.output.fork
    check_identity(state["identity"], run.saving.identity, same_run=not fork, say=run.reporting.screen.say)
    restore(run, opened.start, state)
    run.plan_resumed()
    if fork:
        run.saving.last_saved_step = None
        return {}
    if run.world.is_first:
        run.saving.checkpoints.discard_after(run.progress.step)
    repair_models(run)
    return state["log_offsets"]

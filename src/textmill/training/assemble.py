"""The composition root: the one place where configuration values become live objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from textmill import files
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.find_model import resolve_model
from textmill.checkpoint.model_folder import load_weights
from textmill.config import Config, consistency
from textmill.console.screen import Screen
from textmill.data.batches.augment import Augment
from textmill.data.batches.loader import Rows
from textmill.data.batches.text_size import learned, names_ids
from textmill.data.store.corpus import Corpus
from textmill.engine.engine_choice import build_engine, choose_engine, refuse_contradictions
from textmill.engine.world import World, join_world, leave_world
from textmill.errors import ConfigError
from textmill.evaluation.metrics import Metric
from textmill.machine.devices import peak_flops
from textmill.machine.kernels import apply_kernels
from textmill.machine.precision import Precision, choose_precision
from textmill.model.from_config import build_model
from textmill.names import resolve_callable
from textmill.optim.learning_rate_schedule import Schedule
from textmill.optim.optimizer_choice import OptimizerFactory, build_optimizer
from textmill.planning.fit_run import fit_run
from textmill.planning.parameter_count import flops_per_token
from textmill.planning.run_length import Length, plan_warmup
from textmill.runs import layout
from textmill.runs.read_run import read_environment
from textmill.tracking.tracker import Trackers
from textmill.tracking.tracker_choice import build_trackers
from textmill.training import output_folder as outputs
from textmill.training import resume
from textmill.training.advice import Advice
from textmill.training.checkpoint_state import load_state, restore
from textmill.training.deepspeed_settings import adopt_deepspeed, deepspeed_settings
from textmill.training.loss import causal_loss
from textmill.training.open_corpus import open_corpus, settle_preset, settle_tokenizer
from textmill.training.out_of_memory import memory_explained
from textmill.training.progress import Progress
from textmill.training.run import LossFunction, Run
from textmill.training.run_start import claim, find_start, open_output
from textmill.training.sample import first_words
from textmill.training.session import environment, opening_lines, session
from textmill.training.settle_data import settle_data
from textmill.training.signals import SignalFlag
from textmill.training.training_rows import held_out_sets, make_loader, training_rows


@contextmanager
def assemble(
    config: Config,
    *,
    model: nn.Module | None = None,
    data: Any = None,
    validation: Any = None,
    optimizer: OptimizerFactory | None = None,
    loss: LossFunction | None = None,
    metrics: Mapping[str, Metric] | None = None,
    screen: Screen | None = None,
    before_writing: Callable[[Config, Corpus, World], None] | None = None,
) -> Iterator[Run]:
    """Open everything that `config` describes and yield it as a Run; afterwards its last state is saved, all is closed.

    A part given by hand replaces the one that the configuration would make:

    model: any module from ids (B, T) to logits (B, T, V).
    data, validation: paths, texts of a program (see `Keeper.keep`), TextDatasets, or a prepared Corpus.
    optimizer: a function from parameter groups to an optimizer.
    loss: from the model and a Batch to summed nats over the counted targets.
    metrics: further metrics by name, each a function (logits, batch) -> (sum, count).

    before_writing is called when everything that can be refused has been; what it raises ends the run unwritten.

    Raises:
        TextmillError: of the kind that tells what the user can put right; before the run began, nothing was written.
    """
    config = config.copy()
    with ExitStack() as stack:
        signals = stack.enter_context(SignalFlag())
        world = _join(config, stack)
        stack.enter_context(world.watched())
        screen = screen or Screen(quiet=not world.is_first)
        stack.callback(screen.close)
        signals.notice = "stopping and saving; Ctrl-C again ends at once" if world.is_first else ""
        settle_tokenizer(config, screen.say)
        output = open_output(config, world)
        if not output.fresh:
            claim(output, world, stack, screen)
        config, start = find_start(config, output, world, screen)
        continued = None if output.fresh or output.fork else output.folder
        given = (data, validation)
        data, validation = settle_data(config, given, world, screen, continued=continued, interrupted=signals.check)
        with world.together():
            kernels = apply_kernels(world.device, **_kernel_choices(config, output))
            preset = None if start else settle_preset(config, world.device.type)
            consistency.free_vocab(config, ids=data is None and names_ids(config.data))
        corpus = open_corpus(config, data, validation, world, screen, signals.check)
        with world.together():
            engine = _settle_engine(config, world, start, screen)
            rows, augment = training_rows(config, corpus, say=screen.say, interrupted=signals.check)
            length = _fit(config, corpus, rows, world, start, own_model=model is None, screen=screen)
            trackers = _trackers(config, output.folder, world, screen)
            metrics = _named_metrics(config) | dict(metrics or {})
            if optimizer is None and ":" in config.training.optimizer:
                optimizer = resolve_callable(config.training.optimizer)

        # Everything that can be refused has been: from here on files are written.
        if before_writing is not None:
            before_writing(config, corpus, world)
        if output.fresh:
            claim(output, world, stack, screen)
        parts = {"model": model, "optimizer": optimizer, "loss": loss, "metrics": metrics}
        stack.enter_context(memory_explained(config, world.device, world.size))
        read = (corpus, rows, augment)
        run = _build(config, output.folder, world, *engine, *read, length, screen, signals, trackers, **parts)
        offsets = _restore(run, start, output) if start else {}
        with world.together():
            if world.is_first:
                files.write_json(output.folder / layout.ENVIRONMENT, environment(run, corpus, kernels))
                if corpus.tokenizer is not None:
                    corpus.tokenizer.save(output.folder / layout.TOKENIZER)
        for name, text in opening_lines(run, corpus, preset):
            screen.field(name, text)
        stack.enter_context(session(run, offsets))
        stack.enter_context(memory_explained(config, world.device, world.size))  # so that status.json says it too
        yield run


def _named_metrics(config: Config) -> dict[str, Metric]:
    return {name.partition(":")[2]: resolve_callable(name) for name in config.training.metrics}


def _join(config: Config, stack: ExitStack) -> World:
    settings = config.training
    world = join_world(settings.device, settings.distributed_backend)
    stack.callback(leave_world, world)
    with world.together():
        if settings.world_size is not None and settings.world_size != world.size:
            raise ConfigError(
                f"world_size is {settings.world_size}, but {world.size} process(es) were started; "
                f"start them with: torchrun --nproc_per_node={settings.world_size} -m textmill train ..."
            )
    return world


def _kernel_choices(config: Config, output: outputs.Output) -> dict[str, Any]:
    """Return the kernel choices to make: a run that goes on computes as it did before, whatever would be chosen now."""
    recorded = {}
    if not output.fresh:
        recorded = read_environment(output.folder).get("kernels", {})
    threads = config.training.threads
    return {"threads": threads or recorded.get("threads"), "onednn": recorded.get("onednn")}


def _fit(
    config: Config, corpus: Corpus, rows: Rows, world: World, start: Path | None, *, own_model: bool, screen: Screen
) -> Length:
    """Values that nobody chose fit the data and each other, each change said; return the length of the run."""
    said = [] if start else consistency.without_effect(config)
    if start is not None:
        resume.split_batch(config, load_state(start)["identity"]["global_batch"], world.size)
    length, changes = fit_run(
        config,
        num_rows=len(rows),
        row_tokens=rows.targets_per_row,
        vocab_size=corpus.vocab_size,
        learned=learned(config, corpus),
        world_size=world.size,
        own_model=own_model,
    )
    for sentence in said + changes:
        if sentence not in corpus.notes:  # which were said when it was opened
            screen.say(sentence)
    return length


def _settle_engine(config: Config, world: World, start: Path | None, screen: Screen) -> tuple[str, Precision]:
    """Return the engine and the precision, which fit each other, the world and what else was asked for."""
    settings = config.training
    name = choose_engine(settings.engine, world, deepspeed_config=settings.deepspeed_config, say=screen.say)
    if name == "deepspeed":
        for sentence in adopt_deepspeed(config, world, resumed=start is not None):
            screen.say(sentence)
    precision = choose_precision(settings.precision, world.device)
    refuse_contradictions(name, precision, world, optimizer=settings.optimizer, compile=settings.compile)
    return name, precision


def _build(
    config: Config,
    folder: Path,
    world: World,
    engine_name: str,
    precision: Precision,
    corpus: Corpus,
    rows: Rows,
    augment: Augment | None,
    length: Length,
    screen: Screen,
    signals: SignalFlag,
    trackers: Trackers,
    model: nn.Module | None,
    optimizer: OptimizerFactory | None,
    loss: LossFunction | None,
    metrics: Mapping[str, Metric],
) -> Run:
    """Return the run at step 0."""
    settings = config.training
    own_model = model is None
    with world.together():
        model = _model(config, screen) if model is None else model
    num_parameters = sum(parameter.numel() for parameter in model.parameters())  # an engine may leave a part of each
    engine = build_engine(
        engine_name,
        model,
        partial(_optimizer, config, precision, factory=optimizer),
        precision,
        world,
        compile=settings.compile,
        deepspeed=deepspeed_settings(config, world) if engine_name == "deepspeed" else None,
    )
    loader = make_loader(config, rows, augment, world)
    held_out = held_out_sets(config, corpus, world)
    device_name = _device_name(world)
    plan_schedule = partial(_schedule, config)
    run = Run(
        config=config,
        folder=folder,
        world=world,
        model=model,
        engine=engine,
        loss=loss or causal_loss(label_smoothing=settings.label_smoothing),
        loader=loader,
        validation=held_out[0].batches if held_out else None,
        validation_bytes=held_out[0].num_bytes if held_out else None,
        named_validation={text.name: text for text in held_out if text.name is not None},
        tokenizer=corpus.tokenizer,
        metrics=metrics,
        schedule=plan_schedule(length.total_steps),
        plan_schedule=plan_schedule,
        length=length,
        progress=Progress(total_steps=length.total_steps),
        checkpoints=CheckpointStore(folder / layout.CHECKPOINTS, keep=settings.save_total_limit, say=screen.say),
        identity={
            "data": corpus.fingerprint,
            "tokenizer": corpus.tokenizer.fingerprint if corpus.tokenizer is not None else None,
            "global_batch": length.rows_per_step,
            "parameters": num_parameters,
        },
        screen=screen,
        signals=signals,
        trackers=trackers,
        advice=Advice(screen.say),
        logs={},
        log_every=length.cadence(settings.logging_steps),
        validation_targets=sum(text.batches.num_targets for text in held_out),
        sample_prompt=first_words(settings.sample_prompt, corpus),
        answers_prompt=settings.sample_prompt is not None and corpus.tokenizer is not None,
        max_grad_norm=settings.max_grad_norm,
        patience=settings.early_stopping_patience,
        min_delta=settings.early_stopping_min_delta,
        is_own_model=own_model,
        flops_per_token=flops_per_token(config.model) if own_model else None,
        peak_flops=peak_flops(device_name) if device_name else None,
    )
    run.plan_acts()
    return run


def _model(config: Config, screen: Screen) -> nn.Module:
    """Return the model that the configuration describes, whose derived values are in the configuration afterwards."""
    model = build_model(config.model, seed=config.training.seed)
    config.model = model.config
    if config.training.init_from is not None:
        load_weights(model, resolve_model(config.training.init_from, say=screen.say))
    return model


def _optimizer(
    config: Config, precision: Precision, model: nn.Module, *, factory: OptimizerFactory | None
) -> torch.optim.Optimizer:
    settings = config.training
    return build_optimizer(
        model,
        factory or settings.optimizer,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        momentum=settings.momentum,
        muon_dtype=torch.bfloat16 if precision.name == "bf16" else torch.float32,
    )


def _schedule(config: Config, total_steps: int | None) -> Schedule:
    """Return the learning rate's course over `total_steps`; over the warm-up alone while they are not known."""
    settings = config.training
    floor = settings.min_learning_rate
    known = total_steps is not None
    total = total_steps if total_steps is not None else 1_000_000_000
    return Schedule(
        kind=settings.lr_schedule if known else "constant",
        peak=settings.learning_rate,
        total_steps=total,
        warmup_steps=plan_warmup(
            total if known else 1000, warmup_steps=settings.warmup_steps, warmup_ratio=settings.warmup_ratio
        ),
        min_ratio=settings.min_lr_ratio if floor is None else floor / settings.learning_rate,
        decay_steps=settings.decay_steps,
        decay_factor=settings.lr_decay,
        decay_every=settings.lr_decay_every,
    )


def _restore(run: Run, start: Path, output: outputs.Output) -> dict[str, int]:
    """The run is where the checkpoint was; return the sizes to cut its logs to, none of them for a fork."""
    state = load_state(start)
    resume.check_identity(state["identity"], run.identity, same_run=not output.fork)
    restore(run, start, state)
    if run.length.total_steps is None and run.progress.total_steps is not None:
        run.length = run.length.planned(run.progress.total_steps)
        run.schedule = run.plan_schedule(run.progress.total_steps)
        run.plan_acts()
    run.progress.total_steps = run.length.total_steps
    if output.fork:
        run.last_saved_step = None
        return {}
    if run.world.is_first:
        run.checkpoints.discard_after(run.progress.step)
    return state["log_offsets"]


def _trackers(config: Config, folder: Path, world: World, screen: Screen) -> Trackers:
    tracking = config.tracking
    return build_trackers(
        tracking.report_to if world.is_first else [],
        Path(tracking.log_dir) / (tracking.run_name or folder.name)
        if tracking.log_dir
        else folder / layout.TENSORBOARD,
        project=tracking.wandb_project,
        say=screen.say,
    )


def _device_name(world: World) -> str | None:
    return torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None

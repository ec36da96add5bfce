"""The first phase of a run: open everything that can be refused. No file of a new run is written yet."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from textmill.config import Config, consistency
from textmill.console.screen import Screen
from textmill.data.batches.dataset import TextDataset
from textmill.data.batches.loader import Augment, Rows
from textmill.data.batches.text_size import is_tokenized, learned
from textmill.data.preparing.kind_by_script import settle_kind
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.sources.foreign_settings import refuse_foreign_settings, trusts
from textmill.data.store.corpus import Corpus
from textmill.engine.deepspeed_json import adopt_deepspeed
from textmill.engine.engine_choice import choose_engine, refuse_contradictions
from textmill.engine.world import World, join_world, leave_world
from textmill.errors import ConfigError
from textmill.machine.device_memory import memory_for_run
from textmill.machine.launcher import launcher_variable
from textmill.machine.precision import Precision, choose_precision
from textmill.model.from_config import empty_model
from textmill.model.imported_model import import_model
from textmill.planning.fit_memory import Hardware
from textmill.planning.plan import fit_run
from textmill.planning.run_length import Length
from textmill.runs import layout
from textmill.tracking.tracker import Trackers, build_trackers
from textmill.training.checkpoint_state import load_state
from textmill.training.expected_steps import expected_length
from textmill.training.given_parts import (
    Parts,
    ignored_shape,
    refuse_unfit_model,
    settle_shape,
    uncompiled,
    with_named,
)
from textmill.training.initial_model import InitialModel, adopt_model, fit_to_corpus
from textmill.training.open_corpus import open_corpus, settle_data, settle_paths, settle_preset
from textmill.training.out_of_memory import memory_explained
from textmill.training.resume import split_batch
from textmill.training.settle_compiling import settle_compiling
from textmill.training.settle_kernels import first_kernels, settle_kernels
from textmill.training.signals import SignalFlag
from textmill.training.starting_point import Output, choose_output, claim, find_start
from textmill.training.training_rows import training_rows


@dataclass(frozen=True)
class OpenedRun:
    """A run that nothing is left to refuse in, and of which nothing is written.

    config: every value settled. parts: with what the configuration names by import strings.
    start: the checkpoint to start from, or None for step 0. initial: the model whose weights step 0 has, if any.
    kernels: the choices in force, for environment.json. compiled: whether the model is compiled. tried, compiling,
    preset: the sentences about the kernels that a trial found fastest, about compiling, and about the preset that was
    chosen. expected: the length, or about what a limit of time allows.
    changes: setting -> (value before the checkpoint, value after it), of a run that goes on with other settings.
    """

    config: Config
    parts: Parts
    world: World
    signals: SignalFlag
    screen: Screen
    output: Output
    start: Path | None
    initial: InitialModel | None
    kernels: dict[str, Any]
    tried: str | None
    compiled: bool
    compiling: str | None
    preset: str | None
    corpus: Corpus
    rows: Rows
    augment: Augment | None
    engine: str
    precision: Precision
    length: Length
    expected: Length
    trackers: Trackers
    changes: Mapping[str, tuple[Any, Any]]


_AT_CTRL_C = (
    "stopping and saving; Ctrl-C again ends at once",
    "ended at once: what was learned since the newest checkpoint is lost",
)
"""What is said at the first and at the second Ctrl-C."""

_AT_INTERRUPT = ("stopping and saving; a second interrupt ends at once", "")
"""The same in a program or a notebook, where a button may have sent it, and an exception says the rest."""


def _words(signals: SignalFlag) -> tuple[str, str]:
    return _AT_CTRL_C if signals.ends_process else _AT_INTERRUPT


@contextmanager
def open_run(config: Config, parts: Parts, *, screen: Screen | None = None) -> Iterator[OpenedRun]:
    """Open all that `config` describes, yield it, close it; text is prepared in the cache, a resumed run is locked.

    Raises:
        TextmillError: whatever training would refuse before its first step.
    """
    parts = uncompiled(parts, config := config.copy())
    with ExitStack() as stack:
        signals = stack.enter_context(SignalFlag())
        world = _join(config, stack, signals.check)
        stack.enter_context(world.watched())
        screen = _shown(screen, world, stack)
        signals.notice, signals.last_words = _words(signals) if world.is_first else ("", "")
        with world.together():
            refuse_foreign_settings(config)
        settle_paths(config, screen.say)
        output = choose_output(config, world)
        if not output.fresh:
            stack.enter_context(claim(output, world, screen, trust=trusts(config)))
        (config, changed), start = find_start(config, output, world, screen)
        with screen.during("reading the model that the run starts from"), world.together():
            initial = _initial_model(config, parts, screen) if start is None else None
        data, validation = settle_data(
            config, (parts.data, parts.validation), world, screen, continued=output.continued, interrupted=signals.check
        )
        free = None if start else least_free_memory(world)  # a run that is resumed keeps the rows it had
        with screen.during("looking for the text"), world.together():
            kernels, recorded = first_kernels(config, output, world, screen.say)
            hardware = _hardware(config, world, free)
            preset = None if start else settle_preset(config, hardware, data)
            settle_shape(config, parts)
            _settle_tokenizer(config, data, screen, resumed=start is not None)
        with screen.during("preparing the text"):
            corpus = open_corpus(config, data, validation, world, screen, signals.check)
        with world.together():
            fit_to_corpus(config, initial, corpus)
            refuse_unfit_model(parts, config, corpus)
            engine, precision = _settle_engine(config, world, screen, resumed=start is not None)
            rows, augment = training_rows(config, corpus, say=screen.say, interrupted=signals.check)
            if start is None:
                _say_new(screen, corpus, _without_effect(config, parts))
            else:
                split_batch(config, load_state(start)["identity"]["global_batch"], world.size)
            length = _fit(config, corpus, rows, hardware, screen, own_model=not _has_own_model(parts, config))
            parts = _with_built_model(parts, config, corpus)
            _refuse_unseeded_dropout(config, world)
        compiled, compiling = settle_compiling(config, world, length, engine, recorded, own_model=parts.model is None)
        before = None if start is None and parts.model is None else recorded  # None: kernels are still to be chosen
        with screen.during("trying kernels"):
            precision, kernels, tried = settle_kernels(config, world, length, precision, kernels, recorded or before)
        expected = length
        if start is None and length.total_steps is None and parts.model is None and engine in ("single", "ddp"):
            expected = _expected(config, length, world, precision, kernels, screen)
        with world.together():
            trackers = _trackers(config, output.folder, world, screen)
            parts = with_named(parts, config, model=_empty_model(parts, config))
        yield OpenedRun(
            config, parts, world, signals, screen, output, start, initial, kernels, tried, compiled, compiling, preset,
            corpus, rows, augment, engine, precision, length, expected, trackers, changed,
        )  # fmt: skip


def _settle_tokenizer(config: Config, data: TextDataset | Corpus | None, screen: Screen, *, resumed: bool) -> None:
    """Choose the kind of tokenizer where nobody did, and unset a size of vocabulary that there is none to learn for."""
    if not resumed and data is None:
        settle_kind(config, screen.say)
    consistency.free_vocab(config, made=data is not None or is_tokenized(PrepareSettings.of(config)))


def _shown(screen: Screen | None, world: World, stack: ExitStack) -> Screen:
    """Return the screen of the run; that of a process which is not the first is quiet and writes to no logger."""
    screen = screen or Screen(quiet=not world.is_first)
    screen.logged = world.is_first
    stack.callback(screen.close)
    return screen


def _empty_model(parts: Parts, config: Config) -> nn.Module:
    """Return the model without its weights, or the given one. Raises ConfigError if it cannot be built."""
    if parts.model is not None:
        return parts.model
    with torch.device("meta"):
        return empty_model(config.model)


def _join(config: Config, stack: ExitStack, check: Callable[[], None]) -> World:
    settings = config.training
    world = join_world(
        settings.device,
        settings.distributed_backend,
        rendezvous_seconds=settings.rendezvous_timeout,
        check=check,
    )
    stack.push(lambda kind, error, trace: leave_world(world, orderly=kind is None))
    with world.together():
        if settings.world_size is not None and settings.world_size != world.size:
            raise ConfigError(
                f"world_size is {settings.world_size}, but {world.size} process(es) were started; "
                f"start them with: torchrun --nproc_per_node={settings.world_size} -m textmill train ..."
            )
    return world


def _initial_model(config: Config, parts: Parts, screen: Screen) -> InitialModel | None:
    if parts.model is not None and config.training.init_from is not None:
        raise ConfigError("init_from loads the model that it names, and another model is given: leave one out")
    return adopt_model(config, screen.say)


def _settle_engine(config: Config, world: World, screen: Screen, *, resumed: bool) -> tuple[str, Precision]:
    """Return the engine and the precision, which fit each other, the world and the other settings."""
    settings = config.training
    name = choose_engine(settings.engine, world, deepspeed_config=settings.deepspeed_config, say=screen.say)
    if name == "deepspeed":
        for sentence in adopt_deepspeed(config, world.size, resumed=resumed):
            screen.say(sentence)
    precision = choose_precision(settings.precision, world.device)
    refuse_contradictions(
        name,
        precision,
        world,
        optimizer=settings.optimizer,
        compile=settings.compile is True,
        on_spike=settings.on_spike,
    )
    return name, precision


def _refuse_unseeded_dropout(config: Config, world: World) -> None:
    """Raise ConfigError where compiled code could not compute a block again with the same dropout."""
    model = config.model
    drops = max(model.dropout, model.attention_dropout or 0.0) > 0
    if world.device.type == "mps" and config.training.compile is True and model.gradient_checkpointing and drops:
        raise ConfigError(
            "compile, gradient_checkpointing and dropout cannot be combined on mps, where PyTorch would recompute with "
            "another dropout: leave one of them out"
        )


def least_free_memory(world: World) -> int | None:
    """Return the bytes that each process of the run can have on its device, or None where a process does not know."""
    sharing = launcher_variable("LOCAL_WORLD_SIZE", world.size)
    free = world.gather(memory_for_run(world.device.type, world.device.index, sharing=sharing))
    return None if None in free else min(free)


def _hardware(config: Config, world: World, free: int | None) -> Hardware:
    precision = choose_precision(config.training.precision, world.device).name
    return Hardware(world.device.type, precision, world.size, free)


def _has_own_model(parts: Parts, config: Config) -> bool:
    return parts.model is not None or config.training.model is not None


def _with_built_model(parts: Parts, config: Config, corpus: Corpus) -> Parts:
    """Return the parts with the model that the setting `model` builds, if it is set. Raises ConfigError."""
    if config.training.model is None:
        return parts
    if parts.model is not None:
        raise ConfigError(f"{config.training.described('model')}, and another model is given: leave one out")
    parts = replace(parts, model=import_model(config.training.model, config.model, seed=config.training.seed))
    refuse_unfit_model(parts, config, corpus)
    return parts


def _fit(config: Config, corpus: Corpus, rows: Rows, hardware: Hardware, screen: Screen, *, own_model: bool) -> Length:
    """Fit the settings to text and memory, say what was changed, and return the run's length. See `fit_run`."""
    length, changes = fit_run(
        config,
        num_rows=len(rows),
        row_tokens=rows.targets_per_row,
        vocab_size=corpus.vocab_size,
        learned=learned(config, corpus),
        hardware=hardware,
        own_model=own_model,
    )
    _say_new(screen, corpus, changes)
    return length


def _expected(
    config: Config, length: Length, world: World, precision: Precision, kernels: dict[str, Any], screen: Screen
) -> Length:
    """Return the length that a limit of time allows, about, with the dropout that fits it. Raises OutOfMemoryError."""
    with screen.during("measuring a step"), memory_explained(config, world.device, world.size):
        expected = expected_length(config, length, world, precision, kernels["muon"])
    for sentence in consistency.fit_dropout(config, expected.epochs or 0.0, estimated=True):
        screen.note(sentence)
    return expected


def _without_effect(config: Config, parts: Parts) -> list[str]:
    """Return a sentence for every given setting that has no effect in this run."""
    return [*consistency.without_effect(config), *ignored_shape(parts, config)]


def _say_new(screen: Screen, corpus: Corpus, sentences: list[str]) -> None:
    """Say each sentence that was not already said when the corpus was opened."""
    for sentence in sentences:
        if sentence not in corpus.notes:
            screen.note(sentence)


def _trackers(config: Config, folder: Path, world: World, screen: Screen) -> Trackers:
    tracking = config.tracking
    return build_trackers(
        tracking.report_to if world.is_first else [],
        Path(tracking.log_dir) / (tracking.run_name or folder.name)
        if tracking.log_dir
        else folder / layout.TENSORBOARD,
        store=Path(tracking.log_dir) if tracking.log_dir else folder.parent,
        project=tracking.wandb_project,
        say=screen.say,
    )

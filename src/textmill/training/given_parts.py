"""The parts of a run that are given from Python: what they decide, and whether they fit."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from textmill.config import Config, ModelConfig
from textmill.config.model_shape import SHAPE
from textmill.data.batches.dataset import TextDataset
from textmill.data.batches.loader import Batch, separates_documents
from textmill.data.store.corpus import Corpus
from textmill.errors import ConfigError
from textmill.evaluation.evaluate_batches import refuse_built_in_names, refuse_unfit_metric
from textmill.evaluation.metrics import Metric
from textmill.imports import resolve_callable
from textmill.model.cross_entropy import forward
from textmill.optim.optimizer_choice import OptimizerFactory, try_optimizer
from textmill.training.run import LossFunction


@dataclass(frozen=True)
class Parts:
    """The parts of a run that are given by hand, see `assemble`; None for what the configuration describes."""

    model: nn.Module | None = None
    data: Any = None
    validation: Any = None
    optimizer: OptimizerFactory | torch.optim.Optimizer | None = None
    loss: LossFunction | None = None
    metrics: Mapping[str, Metric] | None = None


def uncompiled(parts: Parts, config: Config) -> Parts:
    """Return the parts with the model that `torch.compile` wrapped, if one was given; the run then compiles it itself.

    The wrapper is no other model: saved, evaluated and sampled from is what is inside.
    """
    inner = getattr(parts.model, "_orig_mod", None)
    if not isinstance(inner, nn.Module):
        return parts
    if not config.given("compile"):
        config.training.derive("compile", True, force=True)
    return replace(parts, model=inner)


def shape_of(model: nn.Module | None, *datasets: Any) -> dict[str, Any]:
    """Return the settings that the objects decide: the shape of the model and the length of the rows.

    Raises ConfigError for rows of two lengths, or longer than the model's context.
    """
    known = getattr(model, "config", None)
    shape = known.values() if isinstance(known, ModelConfig) else {}
    lengths = {dataset.block_size for dataset in datasets if isinstance(dataset, TextDataset)}
    if not lengths:
        return shape
    longest = max(lengths)
    if shape and longest > shape["max_seq_len"]:
        raise ConfigError(
            f"the rows of the dataset have block_size {longest}, more than max_seq_len {shape['max_seq_len']} of the "
            "model: give the dataset a smaller block_size"
        )
    if len(lengths) > 1:
        raise ConfigError(f"the datasets have block_size {' and '.join(map(str, sorted(lengths)))}: give both the same")
    return {**shape, "max_seq_len": longest}


def settle_shape(config: Config, parts: Parts) -> None:
    """Set the settings that given objects decide. Raises ConfigError for one that was given another value."""
    for name, value in shape_of(parts.model, parts.data, parts.validation).items():
        if getattr(config.model, name) == value:
            continue
        if config.given(name) and name != "vocab_size":  # which may have been the size to learn
            said = config.model.described(name)
            raise ConfigError(f"{said} contradicts the {value} of the model or dataset that was given: leave it out")
        setattr(config.model, name, value)


def refuse_unfit_model(parts: Parts, config: Config, corpus: Corpus) -> None:
    """Refuse a given model for which the ids of the text are too many, its rows too long, or masks unknown."""
    model = parts.model
    if model is None:
        return
    described = getattr(model, "config", None)
    ids = getattr(described, "vocab_size", None)
    if isinstance(ids, int) and ids < corpus.vocab_size:
        raise ConfigError(f"the model has vocab_size {ids}, and the text needs {corpus.vocab_size}: make it larger")
    context = getattr(described, "max_position_embeddings", None)  # of transformers
    if isinstance(context, int) and context < config.model.max_seq_len:
        if config.given("max_seq_len"):
            raise ConfigError(f"{config.model.described('max_seq_len')} is more than the {context} of the model")
        config.model.derive("max_seq_len", context, force=True)
    hides = (config.data.mask_documents or not config.data.pack_sequences) and separates_documents(corpus.train)
    takes = inspect.signature(model.forward).parameters.keys()
    if hides and parts.loss is None and not {"positions", "segments"} <= takes:
        raise ConfigError(
            f"{type(model).__name__} cannot hide documents from each other: its forward has no `positions` and "
            "`segments`; leave out mask_documents, and keep pack_sequences"
        )
    if not isinstance(described, ModelConfig) and parts.loss is None:
        _refuse_few_ids(model, corpus)


def ignored_shape(parts: Parts, config: Config) -> list[str]:
    """Return a sentence about the settings of a model's shape that a given model makes useless, if any are set."""
    if parts.model is None or isinstance(getattr(parts.model, "config", None), ModelConfig):
        return []
    names = [name for name in SHAPE if name not in ("vocab_size", "max_seq_len") and config.given(name)]
    return [f"{', '.join(names)}: no effect on the model that was given"] if names else []


def _refuse_few_ids(model: nn.Module, corpus: Corpus) -> None:
    """Refuse a model of another vocabulary: let it read the highest id of the text once, in a row of two tokens."""
    highest = max(store.max_id for store in (corpus.train, corpus.validation) if store is not None)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    ids = torch.full((1, 2), highest, device=device)  # (1, 2)
    trains = model.training
    advice = f"the text has ids up to {highest}: build the model with vocab_size={corpus.vocab_size}, or more"
    try:
        with torch.no_grad():
            scores = forward(model.eval(), Batch(ids, ids, 2)).shape[-1]
    except IndexError as error:
        raise ConfigError(f"{type(model).__name__} cannot read the id {highest} ({error}); {advice}") from error
    finally:
        model.train(trains)
    if scores <= highest:
        raise ConfigError(f"{type(model).__name__} returns scores for {scores} ids, and {advice}")


def with_named(parts: Parts, config: Config, *, model: nn.Module) -> Parts:
    """Return the parts with the metrics, the optimizer and the loss that the configuration names by import strings.

    Raises ConfigError for names that cannot be imported, for metrics that take other arguments, and for an
    optimizer that cannot be made for `model`.
    """
    settings = config.training
    metrics = {name.partition(":")[2]: resolve_callable(name) for name in settings.metrics} | dict(parts.metrics or {})
    refuse_built_in_names(metrics)
    for name, metric in metrics.items():
        refuse_unfit_metric(name, metric)
    optimizer = parts.optimizer
    if optimizer is None and ":" in settings.optimizer:
        optimizer = resolve_callable(settings.optimizer)
        try_optimizer(settings.optimizer, optimizer, model)
    elif optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        try_optimizer(getattr(optimizer, "__name__", type(optimizer).__name__), optimizer, model)
    if isinstance(optimizer, torch.optim.Optimizer):
        _adopt_rates(optimizer, parts, config)
    return replace(parts, metrics=metrics, optimizer=optimizer, loss=_loss(parts, config))


def _loss(parts: Parts, config: Config) -> LossFunction | None:
    """Return the loss that was given, by name or as an object. Raises ConfigError for both, and for other arguments."""
    name = config.training.loss
    if name is None:
        return parts.loss
    if parts.loss is not None:
        raise ConfigError(f"{config.training.described('loss')}, and another loss is given: leave one out")
    loss = resolve_callable(name)
    try:
        inspect.signature(loss).bind(None, None)
    except TypeError:
        raise ConfigError(f"{name} cannot be called with (model, batch), as a loss is") from None
    except ValueError:  # a callable without a signature
        pass
    return loss


def _adopt_rates(optimizer: torch.optim.Optimizer, parts: Parts, config: Config) -> None:
    """Take the learning rate that the optimizer was made with, unless one is set; keep the ratios of its groups."""
    if parts.model is None:
        raise ConfigError(
            "optimizer: it belongs to the parameters of a model: pass that one as model=, or a function that makes it"
        )
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if not rates[0] > 0:
        raise ConfigError(f"optimizer: the learning rate of its first group is {rates[0]}: set one above 0")
    for group, rate in zip(optimizer.param_groups, rates):
        group.setdefault("lr_scale", rate / rates[0])
    if not config.given("learning_rate"):
        config.training.derive("learning_rate", rates[0], force=True)

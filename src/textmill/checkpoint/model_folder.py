"""A model as a folder: config.json, model.safetensors and the tokenizer, as transformers and vLLM load it."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textmill import files
from textmill.checkpoint.find_model import PICKLES, resolve_model
from textmill.checkpoint.generation_config import NAME as GENERATION_CONFIG
from textmill.checkpoint.generation_config import Generation, read_generation
from textmill.checkpoint.safetensors_files import copy_shard, first_non_finite, save_tensors, shard_for
from textmill.checkpoint.sharded_tensors import index_name, load_sharded
from textmill.config import ModelConfig
from textmill.config.huggingface import (
    BUILDER,
    SHAPE_OF_BUILDER,
    UNKNOWN_MODEL_TYPE,
    from_huggingface,
    shape_of_builder,
    to_huggingface,
    unknown_keys,
)
from textmill.config.model_shape import SHAPE
from textmill.errors import DataError, MissingInputError
from textmill.model.decoder import Decoder
from textmill.model.from_config import empty_model
from textmill.model.imported_model import OwnModel, import_model
from textmill.model.own_parts import name_of_own
from textmill.runs import layout
from textmill.tokenizers import Tokenizer, load_tokenizer

STEM = layout.MODEL_WEIGHTS
"""What the names of the files with weights begin with."""

WEIGHTS = f"{STEM}.safetensors"

_HEAD = "lm_head.weight"
_STACKS = {"transformer.": ("wte.", "wpe.", "h.", "ln_f."), "model.": ("embed_tokens.", "layers.", "norm.")}
_CONSTANTS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Ends of names in older files that are not weights but masks and frequencies, the same in every model."""


@dataclass(frozen=True)
class Loaded:
    """A model that was read from `path`, in evaluation mode, its tokenizer, if any, and how it wants to generate."""

    model: Decoder
    tokenizer: Tokenizer | None
    path: Path
    generation: Generation = field(default_factory=Generation)


def save_model_folder(folder: Path, model: nn.Module, tokenizer: Tokenizer | None) -> None:
    """Write the model to `folder`, created if needed, in the form that transformers loads.

    A shape that transformers has no class for is written for textmill alone (see `config.huggingface`); for a module
    of another kind only the weights and the name of its class. The files are written one by one: for all or nothing,
    pass a temporary folder of `files.new_directory` or of a checkpoint.

    Args:
        folder: where.
        model: its weights are saved in their own dtype, a tied head once.
        tokenizer: saved beside it, with its EOS id in the configuration; None for neither.

    Raises:
        CannotWriteError: the folder cannot be written.
    """
    own = name_of_own(model)
    describe_model(folder, model, tokenizer, own=None if own is None else OwnModel(own))
    save_tensors(Path(folder) / WEIGHTS, stored_weights(model))


def stored_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state as a folder contains it: a tied head is not repeated."""
    tensors = dict(model.state_dict())
    if _ties_head(model):
        tensors.pop(_HEAD, None)
    return tensors


def _ties_head(model: nn.Module) -> bool:
    """Whether the model's configuration ties the head to the embedding, and it is tied."""
    if not isinstance(model, Decoder) or not model.config.tie_embeddings:
        return False
    return model.lm_head.weight is model.token_embedding.weight


def describe_model(
    folder: Path, model: nn.Module, tokenizer: Tokenizer | None, end_ids: Iterable[int] = (), *, own: OwnModel | None
) -> None:
    """Write to `folder`, created if needed, all that `save_model_folder` writes but the weights.

    own: what is recorded of a model that its configuration does not describe, else None.
    end_ids: the tokens that end a text besides the tokenizer's EOS token, such as those of the model it started from.
    """
    folder = files.make_directory(Path(folder))
    config = getattr(model, "config", None)
    eos_id = tokenizer.eos_id if tokenizer is not None else None
    if isinstance(config, ModelConfig) and own is None:
        if eos_id is not None and eos_id >= (config.vocab_size or 0):
            eos_id = None
        described = to_huggingface(config, eos_id, dtype=_dtype_name(stored_weights(model).values()))
    elif (
        config is not None and not isinstance(config, ModelConfig) and hasattr(config, "to_json_string")
    ):  # a configuration of transformers
        names = {"architectures": [type(model).__name__], "dtype": _dtype_name(stored_weights(model).values())}
        described = {**files.parse_json(config.to_json_string()), **names}
        if eos_id is not None:
            described["eos_token_id"] = eos_id
    else:
        described = {"architectures": [own.name if own else type(model).__name__], "model_type": UNKNOWN_MODEL_TYPE}
        if own is not None and own.builder is not None and own.shape is not None:
            described[BUILDER], described[SHAPE_OF_BUILDER] = own.builder, own.shape.values()
    files.write_json(folder / layout.MODEL_CONFIG, described)
    ends = list(dict.fromkeys(([] if eos_id is None else [eos_id]) + sorted({*end_ids, *own_end_ids(model)})))
    if ends:  # the first is the tokenizer's own
        described = {"eos_token_id": ends if len(ends) > 1 else ends[0], "pad_token_id": ends[0]}
        files.write_json(folder / GENERATION_CONFIG, described)
    if tokenizer is not None:
        tokenizer.save(folder)


def own_end_ids(model: nn.Module) -> frozenset[int]:
    """Return the end tokens that a model of transformers was loaded with; none if its class only assumes them."""
    generation = getattr(model, "generation_config", None)
    if generation is None or getattr(generation, "_from_model_config", True):
        return frozenset()
    ends = generation.eos_token_id
    return frozenset([] if ends is None else ends if isinstance(ends, list) else [ends])


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    builder: str | Callable[[ModelConfig], nn.Module] | None = None,
    say: Callable[[str], None] | None = None,
) -> Loaded:
    """Return the model that `path` means (see `resolve_model`) on `device`, its weights in float32.

    builder: builds a model that its configuration does not describe, or is the import string of what does; it is called
    with the shape that the folder records. Code that a folder names is never imported unasked.

    Raises:
        ConfigError: `builder` cannot be used, or is given for a model that needs none.
        MissingInputError: there is no model at `path`.
        DataError: it is damaged, of a kind that textmill does not support, or its weights do not fit its configuration.
    """
    folder = resolve_model(path, say=say)
    if builder is not None:
        model = _built(builder, folder)
    else:
        config, stored = read_model(folder, say=say)
        model = empty_model(config)
        set_weights(model, stored, folder)
    return Loaded(model.to(device).eval(), tokenizer_of(folder)[1], folder, read_generation(folder))


def builder_of(path: str | Path) -> str | None:
    """Return the import string of the code that builds the model that `path` means, or None if it needs none.

    Raises MissingInputError, DataError: as `load_model`.
    """
    described = resolve_model(path) / layout.MODEL_CONFIG
    with files.report_damage(described, "get the model again"):
        builder = files.read_json(described).get(BUILDER)
    return builder if isinstance(builder, str) else None


def _built(builder: str | Callable[[ModelConfig], nn.Module], folder: Path) -> Any:
    """Return the model that `builder` makes of the shape that `folder` records, with the weights there.

    One without a `config` gets the shape as such, from which evaluation and generation know context and vocabulary.
    """
    shape = built_shape(folder)
    model = import_model(builder, shape, seed=0)
    load_weights(model, folder)
    if not isinstance(getattr(model, "config", None), ModelConfig):
        vars(model)["config"] = shape
    return model


def built_shape(folder: Path) -> ModelConfig:
    """Return the shape that code of the user's built the model in `folder` with.

    Raises:
        ConfigError: it was not built by such code. MissingInputError, DataError: as `load_model`.
    """
    described = folder / layout.MODEL_CONFIG
    with files.report_damage(described, "get the model again"):
        return shape_of_builder(files.read_json(described), str(described))


def read_model(folder: Path, *, say: Callable[[str], None] | None = None) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Return the shape of the model in `folder` and its stored weights, which fit it.

    `say` is told which keys of config.json are not known and therefore have no effect.

    Raises:
        MissingInputError, DataError: as `load_model`.
    """
    described = folder / layout.MODEL_CONFIG
    with files.report_damage(described, "get the model again"):
        values = files.read_json(described)
        config = from_huggingface(values, str(described))
    if say is not None and (unknown := unknown_keys(values)):
        say(f"{described}: textmill does not know {', '.join(unknown)}, which has no effect here")
    stored = _full_names(_read_weights(folder))
    refuse_damaged_weights(stored, folder)
    if config.num_layers > len(stored):
        raise DataError(f"{folder}: config.json says {config.num_layers} layers, but it has {len(stored)} weights")
    with torch.device("meta"):  # check the shapes before memory is allocated for them
        set_weights(empty_model(config), dict(stored), folder)
    return config, stored


def load_weights(model: nn.Module, folder: Path) -> None:
    """Set the weights of `model` to those stored in `folder`, converted to the dtype and device of the model.

    Raises:
        MissingInputError: the folder has no weights.
        DataError: they are damaged, stored as a pickle, their names or shapes are not those of the model, or they were
            trained with other constants than its own. The model is then unchanged.
    """
    _refuse_other_constants(model, Path(folder))
    stored = _read_weights(Path(folder))
    if isinstance(model, Decoder):
        stored = _full_names(stored)
    refuse_damaged_weights(_own_shards(model, stored), Path(folder))
    set_weights(model, stored, Path(folder))


def _own_shards(model: nn.Module, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return of each stored weight what this process loads of it: of a model that is divided, its own shards.

    The other processes look at theirs, so that each part is read once. A weight that does not fit is returned whole.
    """
    state = model.state_dict()
    fitting = {name for name, tensor in stored.items() if name in state and state[name].shape == tensor.shape}
    return {name: shard_for(state[name], part) if name in fitting else part for name, part in stored.items()}


def refuse_damaged_weights(stored: Mapping[str, Tensor], folder: Path) -> None:
    """Raise DataError if one of the weights stored in `folder` is NaN or infinite: nothing can be computed with it."""
    if (name := first_non_finite(stored)) is not None:
        raise DataError(
            f"the weights in {folder} contain NaN or infinite values, in {name}: use another checkpoint, or get the "
            "model again"
        )


def _refuse_other_constants(model: nn.Module, folder: Path) -> None:
    """Raise DataError if the folder's config.json describes another computation on tensors of the same shapes."""
    described, config = folder / layout.MODEL_CONFIG, getattr(model, "config", None)
    if not isinstance(config, ModelConfig) or not described.is_file():
        return
    with files.report_damage(described, "get the model again"):
        found = files.read_json(described)
        if isinstance(found, dict) and found.get("model_type") == UNKNOWN_MODEL_TYPE:
            return  # of a model that no configuration describes
        there = from_huggingface(found, str(described)).values()
    here = config.resolved().values()
    names = [name for name in SHAPE if name not in ("vocab_size", "max_seq_len") and here[name] != there[name]]
    if names:
        differences = ", ".join(f"{name} {there[name]!r} and not {here[name]!r}" for name in names)
        raise DataError(f"the weights in {folder} are those of another model, with {differences}")


def set_weights(model: nn.Module, stored: dict[str, Tensor], folder: Path) -> None:
    """Copy the weights `stored` in `folder` into the model; see `load_weights`. A copy of a tied head is dropped."""
    wanted = dict(model.state_dict())
    if _ties_head(model):
        wanted.pop(_HEAD, None)
        _drop_tied_head(model, stored, folder)
    _compare(wanted, stored, folder)
    with torch.no_grad():
        for name, tensor in wanted.items():
            copy_shard(tensor, stored[name])


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Return every stored weight by its name there, from one file or from the shards that an index lists."""
    if folder.is_dir() and not any((folder / name).is_file() for name in (WEIGHTS, index_name(STEM))):
        pickles = sorted(entry.name for entry in folder.iterdir() if entry.suffix in PICKLES)
        if pickles:
            raise DataError(
                f"the weights in {folder} are a pickle ({pickles[0]}), which can run any code when it is loaded: "
                "save the model again with safe_serialization=True with the tool that wrote it"
            )
        raise MissingInputError(f"{folder} has no weights: expected {WEIGHTS}")
    return load_sharded(folder, STEM)


def _full_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a known family under their full names, which some files shorten, without constants."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.endswith(_CONSTANTS):
            continue
        prefix = next((stack for stack, starts in _STACKS.items() if name.startswith(starts)), "")
        renamed[prefix + name] = tensor
    return renamed


def _drop_tied_head(model: nn.Module, stored: dict[str, Tensor], folder: Path) -> None:
    """Drop the head from `stored` if it is a copy of the embedding. Raises DataError when it is not a copy."""
    head = stored.pop(_HEAD, None)
    assert isinstance(model, Decoder)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    embedding = stored.get(names[id(model.token_embedding.weight)])
    if head is not None and embedding is not None and not torch.equal(head, embedding):
        raise DataError(
            f"{folder}: the configuration ties the head to the embedding, and the weights of the two differ"
        )


def _compare(wanted: Mapping[str, Tensor], stored: Mapping[str, Tensor], folder: Path) -> None:
    """Raises DataError, with all differences in one line, unless the stored tensors are those of the model."""
    problems = []
    if missing := sorted(wanted.keys() - stored.keys()):
        problems.append(f"missing {_few(missing)}")
    if extra := sorted(stored.keys() - wanted.keys()):
        problems.append(f"unknown {_few(extra)}")
    common = [name for name in wanted if name in stored]
    if reshaped := [name for name in common if stored[name].shape != wanted[name].shape]:
        shapes = [f"{name} {list(stored[name].shape)} instead of {list(wanted[name].shape)}" for name in reshaped]
        problems.append(f"wrong shape of {_few(shapes)}")
    if integers := [name for name in common if not stored[name].is_floating_point()]:
        problems.append(f"not floating-point: {_few(integers)}")
    if problems:
        raise DataError(f"the weights in {folder} do not fit the model: {'; '.join(problems)}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def tokenizer_of(folder: Path) -> tuple[Path | None, Tokenizer | None]:
    """Return the folder of the model's tokenizer, which is its own or that of its run, and the tokenizer, if any."""
    for candidate in filter(None, (folder, layout.run_of(folder))):
        with contextlib.suppress(MissingInputError):
            return candidate, load_tokenizer(candidate)
    return None, None


def _dtype_name(tensors: Iterable[Tensor]) -> str:
    """Return the name of the dtype of the first floating-point tensor, as transformers writes it."""
    return next((str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()), "float32")

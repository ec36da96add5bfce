"""The model that a run starts from: its shape, constants and tokenizer are the run's, as in `from_pretrained`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textmill.checkpoint.find_model import resolve_model
from textmill.checkpoint.generation_config import read_generation
from textmill.checkpoint.model_folder import (
    builder_of,
    built_shape,
    load_weights,
    read_model,
    set_weights,
    tokenizer_of,
)
from textmill.config import Config, ModelConfig
from textmill.config.huggingface import described_settings
from textmill.config.model_shape import SHAPE
from textmill.config.setting_lookup import Setting
from textmill.console.number_format import plural
from textmill.data.preparing.tokenizer_choice import TokenizerChoice
from textmill.data.store.corpus import Corpus
from textmill.errors import ConfigError, DataError
from textmill.model.decoder import Decoder
from textmill.model.own_parts import name_of_own
from textmill.runs import layout
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.extend_vocabulary import extends
from textmill.tokenizers.fim_tokens import fim_names, with_fim_tokens
from textmill.training.extended_rows import extended_rows, parts_of_new


@dataclass(frozen=True)
class InitialModel:
    """The model in `folder`, its shape, and its tokenizer, if it has one.

    asked: a tokenizer was asked for; retokenized: it is another, so that rows of the embeddings move to its tokens.
    extended: characters of the text are added to the model's own tokenizer.
    end_ids: the tokens that end a text, as the folder says; none if the run's tokenizer is another.
    """

    folder: Path
    shape: ModelConfig
    tokenizer: Tokenizer | None
    asked: bool
    retokenized: bool
    extended: bool
    end_ids: frozenset[int]


def adopt_model(config: Config, say: Callable[[str], None]) -> InitialModel | None:
    """Put shape, constants and tokenizer of the model that `init_from` names into `config`; return the model, if any.

    The folder is checked as a whole, as `load_model` does, unless code of the user's builds its model, which the
    setting `model` names. Rows may be shorter than the model's context.

    Raises:
        ConfigError: given settings contradict the model; all of them are named.
        MissingInputError, DataError: see `load_model`.
    """
    if config.training.init_from is None:
        return None
    folder = resolve_model(config.training.init_from, say=say).absolute()
    own = config.training.model is not None
    shape = built_shape(folder) if own and builder_of(folder) is not None else read_model(folder, say=say)[0]
    home, tokenizer = tokenizer_of(folder)
    asked = config.given("tokenizer") or config.tokenizer.origin("tokenizer") == "fitted"
    if asked:
        retokenized = not _is_own(config, shape, tokenizer)
    else:  # the same tokens for text that is brought into another form first
        retokenized = tokenizer is not None and config.tokenizer.normalize not in (None, tokenizer.normal_form)
    if config.data.fim_rate and tokenizer is not None and fim_names(tokenizer) is not None:
        tokenizer = with_fim_tokens(tokenizer)  # as preparing the text will have it
    extended = config.tokenizer.extend_vocab
    if own and (retokenized or extended):
        raise ConfigError(
            "init_from: which weights of a model of your own belong to a token is not known, so it keeps its "
            f"tokenizer: leave out {'extend_vocab' if extended else 'tokenizer and normalize'}"
        )
    if extended:
        _refuse_other_tokenizer(folder, tokenizer, retokenized=asked and retokenized)
    model, source = config.model, folder / layout.MODEL_CONFIG
    described = described_settings(shape)
    contradictions = []
    if retokenized or extended:
        size = described.pop("vocab_size")
        if extended and model.vocab_size is not None and model.given("vocab_size") and model.vocab_size < size:
            contradictions.append(f"{model.described('vocab_size')} is {size!r} there")
    for name, value in described.items():
        given = getattr(model, name) if model.given(name) else None
        if given is None:
            if name != "attention_dropout" or not model.given("dropout"):
                config.accept({name: Setting(name, value, str(source), name)})
        elif name in SHAPE and given != value and not (name == "max_seq_len" and given < value):
            contradictions.append(f"{model.described(name)} is {value!r} there")
    if contradictions:
        raise ConfigError(
            f"init_from: the model in {folder} is another than the settings describe: {'; '.join(contradictions)}. "
            "Leave them out"
        )
    if model.max_seq_len < shape.max_seq_len:
        say(f"max_seq_len: {model.max_seq_len}; the model in {folder} takes up to {shape.max_seq_len}")
    if home is not None and not asked:
        config.accept({"tokenizer": Setting("tokenizer", str(home), str(source), "tokenizer")})
    end_ids = frozenset() if retokenized and not extended else read_generation(folder).end_ids
    return InitialModel(folder, shape, tokenizer, asked, retokenized, extended, end_ids)


def _refuse_other_tokenizer(folder: Path, tokenizer: Tokenizer | None, *, retokenized: bool) -> None:
    """Raise ConfigError unless the model in `folder` has a tokenizer to extend, and no other one is asked for."""
    if tokenizer is None:
        raise ConfigError(f"extend_vocab: the model in {folder} has no tokenizer to add characters to: leave it out")
    if retokenized:
        raise ConfigError(f"extend_vocab adds to the tokenizer of the model in {folder}: leave out --tokenizer")


def _is_own(config: Config, shape: ModelConfig, tokenizer: Tokenizer | None) -> bool:
    """Whether the tokenizer that was asked for is the model's: the same, or one that fits a model without any."""
    asked = config.tokenizer
    ready = TokenizerChoice(asked.tokenizer, None, asked.special_tokens, for_ids=False, normalize=asked.normalize).ready
    if ready is None:
        return False
    if tokenizer is None:
        return ready.vocab_size <= (shape.vocab_size or 0)
    return ready.fingerprint == tokenizer.fingerprint


def _check_tokenizer(initial: InitialModel | None, corpus: Corpus) -> None:
    if initial is None or corpus.tokenizer is None or (initial.retokenized and not initial.extended):
        return
    if initial.extended and initial.tokenizer is not None and extends(corpus.tokenizer, initial.tokenizer):
        return
    if initial.tokenizer is None and initial.asked:
        return
    if initial.tokenizer is None:
        raise DataError(
            f"the model in {initial.folder} has no tokenizer: name the one that it was trained with as --tokenizer, "
            "or train on ids (.npy)"
        )
    if corpus.tokenizer.fingerprint != initial.tokenizer.fingerprint:
        raise DataError(
            f"{corpus.folder} was prepared with another tokenizer than that of the model in {initial.folder}: prepare "
            f"it with --tokenizer {initial.folder}, or name the other one as --tokenizer to change the model's"
        )


def fit_to_corpus(config: Config, initial: InitialModel | None, corpus: Corpus) -> None:
    """Let a model keep all rows of its embeddings, as `keep_rows` does.

    Raises DataError if the corpus was made by a tokenizer that is not the model's and was not asked for.
    """
    _check_tokenizer(initial, corpus)
    if initial is not None:
        keep_rows(config, initial, corpus.vocab_size)


def keep_rows(config: Config, initial: InitialModel, vocab_size: int) -> None:
    """Let a model whose vocabulary is larger than that of its extended tokenizer keep all rows of its embeddings.

    vocab_size: entries of the extended tokenizer.
    """
    if not initial.extended or config.model.given("vocab_size"):
        return
    size, source = initial.shape.vocab_size or 0, initial.folder / layout.MODEL_CONFIG
    if size > vocab_size:
        config.accept({"vocab_size": Setting("vocab_size", size, str(source), "vocab_size")})


def load_initial(
    model: nn.Module, initial: InitialModel, tokenizer: Tokenizer | None, say: Callable[[str], None]
) -> None:
    """Set the weights of `model` to those of `initial`.

    Rows of embedding and head are moved to the tokens of `tokenizer` if it is another; those of new tokens stay as they
    are, or are near means of others if it extends the model's. Learned positions beyond the model's context are left
    out. Raises as `load_model`.
    """
    if isinstance(model, Decoder) and name_of_own(model) is None:
        _load_decoder(model, initial, tokenizer, say)
    else:
        load_weights(model, initial.folder)
    say(f"the run starts with the weights in {initial.folder}")


def _load_decoder(
    model: Decoder, initial: InitialModel, tokenizer: Tokenizer | None, say: Callable[[str], None]
) -> None:
    _, stored = read_model(initial.folder)
    state: dict[str, Any] = model.state_dict()
    names = model.names
    positions = f"{names.stack}.{names.positions}.weight"
    if positions in stored:
        stored[positions] = stored[positions][: model.config.max_seq_len]
    by_token = [name for name in (f"{names.stack}.{names.tokens}.weight", "lm_head.weight") if name in stored]
    if initial.extended and initial.tokenizer is not None and tokenizer is not None:
        parts = parts_of_new(tokenizer, initial.tokenizer)
        for name in by_token:
            stored[name] = extended_rows(state[name], stored[name], parts, initial.tokenizer)
        if parts:
            spelled = sum(map(bool, parts.values()))
            say(
                f"extend_vocab: {plural(len(parts), 'row')} of the embeddings are new, {spelled:,} near the mean of "
                f"the parts of their character and {len(parts) - spelled:,} near the mean of all rows; the others are "
                "the model's"
            )
    elif initial.retokenized:
        new, old = _shared_rows(initial, tokenizer, model.config.vocab_size or 0)
        for name in by_token:
            stored[name] = _moved(state[name], stored[name], new, old)
        say(
            f"tokenizer: another than that of {initial.folder}; of the {model.config.vocab_size:,} rows of the "
            f"embeddings {len(new):,} are the model's, and the others start anew"
        )
    set_weights(model, stored, initial.folder)


def _shared_rows(initial: InitialModel, tokenizer: Tokenizer | None, vocab_size: int) -> tuple[list[int], list[int]]:
    """Return the ids of the tokens that both vocabularies have, in the new one and in the old one."""
    if initial.tokenizer is None or tokenizer is None:  # nothing says what an id means: the same ids
        same = list(range(min(vocab_size, initial.shape.vocab_size or 0)))
        return same, same
    old = {initial.tokenizer.token_text(number): number for number in range(initial.tokenizer.vocab_size)}
    texts = [tokenizer.token_text(number) for number in range(tokenizer.vocab_size)]
    shared = [number for number, text in enumerate(texts) if text in old]
    return shared, [old[texts[number]] for number in shared]


def _moved(rows: Tensor, stored: Tensor, new: list[int], old: list[int]) -> Tensor:
    """Return `rows` (V, D) with the `new` ones replaced by the `old` ones of `stored`."""
    with torch.no_grad():
        return rows.clone().index_copy_(0, torch.tensor(new), stored[old].to(rows.dtype))

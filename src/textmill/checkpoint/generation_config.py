"""What a model folder says about generating: the tokens that end a text, and what textmill cannot do as asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill import files
from textmill.errors import DataError, one_line
from textmill.runs import layout

NAME = "generation_config.json"

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "diversity_penalty": (0,),
    "guidance_scale": (1,),
    **dict.fromkeys(
        (
            *("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id"),
            *("forced_eos_token_id", "exponential_decay_length_penalty", "sequence_bias", "constraints"),
            *("force_words_ids", "watermarking_config", "penalty_alpha", "dola_layers", "stop_strings"),
        ),
        (),
    ),
    "token_healing": (False,),
}
"""Keys that change which tokens are chosen -> the values, besides null, that leave the choice to the logits."""

HARMLESS = {
    # decided by the arguments of `generate` and `generate_text`
    *("max_length", "max_new_tokens", "max_time", "do_sample", "temperature", "top_k", "top_p", "min_p"),
    *("top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "repetition_penalty", "num_return_sequences"),
    # of beams, which are refused
    *("early_stopping", "length_penalty", "low_memory"),
    # how fast a text comes, and what is returned besides it
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size", "use_mtp"),
    *("compile_config", "disable_compile", "continuous_batching_config", "is_assistant", "num_assistant_tokens"),
    *("num_assistant_tokens_schedule", "assistant_confidence_threshold", "prompt_lookup_num_tokens"),
    *("max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind"),
    *("assistant_ensemble_weight", "speculation_type"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate"),
    # damage is an error here, and a penalised score keeps its order
    *("remove_invalid_values", "renormalize_logits"),
    # prompts are given as text
    *("pad_token_id", "bos_token_id", "decoder_start_token_id", "transformers_version", "_from_model_config"),
}
"""Keys that do not change the text, given the arguments of `generate_text`."""


@dataclass(frozen=True)
class Generation:
    """How a model folder wants text to be generated.

    end_ids: the tokens that end a text; empty where the folder names none.
    problem: what it asks for and textmill does not do, as a sentence; None if there is nothing.
    """

    end_ids: frozenset[int] = frozenset()
    problem: str | None = None


def read_generation(folder: Path) -> Generation:
    """Return what generation_config.json says, or config.json where that is missing: transformers' rule.

    Raises DataError: a file cannot be read, or eos_token_id is neither an id nor a list of ids.
    """
    path = folder / (NAME if (folder / NAME).is_file() else layout.MODEL_CONFIG)
    try:
        values = files.parse_json(files.read_bytes(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} is not a mapping of settings")
    ends = values.get("eos_token_id")
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    if not all(isinstance(end, int) and not isinstance(end, bool) for end in ends):
        raise DataError(f"{path}: eos_token_id {ends!r} is neither an id nor a list of ids")
    asked = [f"{key} {values[key]!r}" for key, neutral in NEUTRAL.items() if _changes(values, key, neutral)]
    problem = f"{path} asks for {', '.join(asked)}, which textmill does not do: take it out" if asked else None
    return Generation(frozenset(ends), problem)


def _changes(values: Mapping[str, Any], key: str, neutral: tuple[Any, ...]) -> bool:
    value = values.get(key)
    return value is not None and value not in neutral and value not in ([], {})

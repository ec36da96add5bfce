"""The tables of the documentation that are made from the code: settings, metrics, presets, exit codes.

    python tests/support/doc_tables.py

writes them anew, each between `<!-- table: NAME -->` and `<!-- end of table -->` on its page. A new setting needs a
line in WHY, which says why its default is what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, get_args

from textmill import errors
from textmill.config.aliases import ALIASES
from textmill.config.fields import SECTIONS
from textmill.config.presets import every_preset, presets
from textmill.config.run_config import Config
from textmill.tracking.metric_table import METRICS, tag

DOCS = Path(__file__).resolve().parents[2] / "docs"

WHY = {
    # data
    "data": "a first run needs no download: every Python installation has about 10 MB of source text",
    "val_data": "most corpora come in one piece",
    "include": "a folder is read as it is",
    "exclude": "a folder is read as it is",
    "gitignore": "what a repository ignores is built, downloaded or private, and hardly ever what its author wrote",
    "source_code": "most folders are plainly one or the other; a tie is taken for documents",
    "keep_files": "programs wrote them, or other people elsewhere, so that they are many copies of little",
    "max_file_size": "documents may be as long as they like; larger source files are nearly always data",
    "max_line_length": "nobody writes such lines by hand in source code; paragraphs may be as long as they like",
    "max_non_text": "source code in another encoding stays far below it, and is named as such",
    "split_by": "a document belongs to nothing but itself; equal ones are never on both sides",
    "val_split": "a tenth is enough to measure on, and leaves most of the text to learn from",
    "text_column": "the name that most datasets use",
    "dataset_name": "files are the common case",
    "dataset_config": "only some datasets have several",
    "dataset_split": "the name that datasets use",
    "validation_split": "the name that datasets use",
    "min_length": "nothing is skipped unless you ask for it",
    "format": "an extension nearly always says it",
    "encoding": "nearly all text is UTF-8",
    "document_separator": "<|endoftext|> on a line of its own is never meant as text",
    "newlines": "a text made on Windows is the same text, and a carriage return before every line feed costs tokens",
    "encoding_errors": "a wrong encoding should be noticed before training, not after",
    "pack_sequences": "no padding, so no computation is wasted",
    "packing_strategy": "every row is full, and the order of the text is kept",
    "mask_documents": "costs some speed, and matters only where documents are much shorter than a row",
    "augmentation": "changing the text is right only if the model should ignore such differences",
    "augmentation_prob": "one in ten leaves most of the text as it is",
    "fim_rate": "text that is read and written from left to right needs none; models of code use 0.5 to 0.9",
    "fim_format": "what other programs ask models of code with",
    "num_workers": "a batch is one read of token ids, which the training process does between steps",
    "preprocessing_num_workers": "all cores: tokenizing is done once and then cached",
    "cache_dir": "one cache for all runs: the same text is tokenized once",
    # tokenizer
    "tokenizer": "it can encode any text, and a token is 3 to 4 bytes of English: 3 to 4 times the context; nobody's "
    "choice and text in Thai, Lao, Khmer or Burmese: unigram, which learns more of them",
    "eos_token": "most tokenizers declare one, and new ones have <|endoftext|>",
    "special_tokens": "plain text needs none",
    "split_pattern": "gpt4o where marks such as vowel signs are part of words, else gpt2",
    "normalize": "text comes back as it was; where it mixes forms, the run says which one mends it",
    "max_unknown": "a rare sign stays far below it; text of another script is far above, and a model cannot learn it",
    "extend_vocab": "a new tokenizer knows the text that it is learned from; one that is reused may lack characters",
    # model
    "architecture": "learns most from the same number of tokens in our measurements, and other tools load it",
    "vocab_size": "the presets set it by the size of the text; a given tokenizer has its own",
    "d_model": "about 5 M parameters with the other defaults: trains on a laptop's CPU",
    "num_layers": "see d_model",
    "num_heads": "heads of size 32 at the default width",
    "num_kv_heads": "every head has its own; fewer make generation cheaper at some loss",
    "head_dim": "the width is divided among the heads",
    "d_ff": "the usual proportions; the gated block has three matrices instead of two and is as large at 8/3",
    "max_seq_len": "a paragraph or two of BPE tokens; the cost of attention grows with it",
    "dropout": "a model cannot overfit tokens that it sees once; presets for small texts set it",
    "attention_dropout": "one dropout probability is enough to tune",
    "activation": "what the family's published models use",
    "gated_mlp": "SwiGLU is what qwen3 and llama are; with other activations those that copy GPT-2 have no gate",
    "norm": "what the family's published models use",
    "norm_eps": "what the family's published models use",
    "pre_norm": "deep models train without a long warm-up",
    "pos_encoding": "what the family's published models use",
    "rope_theta": "the value of the paper; larger only for contexts of many thousands",
    "tie_embeddings": "in a small model the embedding is a large share of all parameters",
    "bias": "what the family's published models use",
    "init_std": "the value of GPT-2",
    "gradient_checkpointing": "small models rarely run out of memory",
    # training
    "preset": "what fits depends on the machine and the text, which are known when training starts",
    "epochs": "the preset sets one of the four lengths, unless you gave one",
    "max_steps": "see epochs",
    "max_tokens": "see epochs",
    "max_flops": "see epochs",
    "max_time": "see epochs",
    "early_stopping_patience": "a run ends where you said; the best model is kept in any case",
    "early_stopping_min_delta": "any improvement counts",
    "batch_size": "4,096 tokens per step at the default context: many steps from little text",
    "gradient_accumulation_steps": "the batch fits into memory as it is",
    "optimizer": "works everywhere, and its learning rates are the ones that papers quote",
    "learning_rate": "safe for large models; the presets raise it for small ones",
    "min_lr_ratio": "a tenth of the peak is common, and the run can still be extended",
    "min_learning_rate": "min_lr_ratio sets it",
    "lr_schedule": "needs no tuning of its own, unlike the ones with steps",
    "warmup_steps": "a share of the run fits runs of any length",
    "warmup_ratio": "long enough for Adam's averages to fill, short enough to lose nothing",
    "decay_steps": "the learning rate reaches its final value when the run ends",
    "lr_decay": "the usual factor",
    "lr_decay_every": "a third of the run",
    "weight_decay": "the value of GPT-3 and of most since",
    "beta1": "Adam's own",
    "beta2": "0.999 averages over 1,000 steps, too many for short runs and the noisy gradients of text",
    "eps": "Adam's own",
    "momentum": "that of its paper; Muon learns more with it in runs of this length than with its paper's 0.95",
    "loss": "what every published figure measures",
    "model": "the families that other programs load",
    "max_grad_norm": "clips rare spikes and leaves most steps unchanged",
    "on_spike": "most spikes pass by themselves; rolling back changes what the run learns from",
    "label_smoothing": "the loss stays the true cross-entropy",
    "precision": "bf16 is about twice as fast where the hardware multiplies it, and needs no loss scaling",
    "compile": "costs about a minute at the start, which a short run does not win back",
    "deterministic": "deterministic kernels cost time, and most runs are never compared to the bit",
    "device": "cuda, then mps, then cpu",
    "engine": "the command that starts the processes decides",
    "distributed_backend": "the fastest one for the device",
    "world_size": "the launcher sets it",
    "rendezvous_timeout": "processes of one launcher start within seconds; a job on many machines may need more",
    "deepspeed_config": "the other engines need no second file",
    "threads": "all cores; lower it if the machine has other work",
    "seed": "fixed, so that a run can be repeated",
    "data_seed": "one number decides everything; two tell the luck of the weights from that of the order",
    "logging_steps": "often enough to see the loss fall",
    "layer_statistics": "it has a question of its own to answer, and makes steps.jsonl long",
    "eval_steps": "evaluation costs time: at most a fiftieth of the training work is spent on it",
    "eval_batches": "a part of the validation set would add noise",
    "eval_batch_size": "affects memory, not the result",
    "metrics": "loss, perplexity, bits per byte and accuracy are always measured",
    "save_steps": "a crash costs at most an epoch, or a twentieth of a run that is not measured in epochs",
    "save_total_limit": "each contains the optimizer state: three times the size of the model",
    "sample_steps": "text shows what a loss does not",
    "sample_prompt": "the first words of the validation text",
    "sample_tokens": "a few lines on the screen",
    "sample_temperature": "a little below 1: less random than the model's own distribution",
    "sample_top_p": "the model's own distribution, mistakes included",
    "output_dir": "no run overwrites another",
    "overwrite": "nothing is deleted unless you ask for it",
    "trust": "a run folder may be somebody else's",
    "resume": "a new run is the common case",
    "resume_from": "the newest valid checkpoint loses the least work",
    "init_from": "textmill is made for training from scratch",
    # tracking
    "report_to": "the files in the run folder contain everything",
    "log_dir": "everything about a run is in one folder",
    "wandb_project": "the service's own default",
    "run_name": "the folder's name",
}
"""Why each setting's default is what it is."""


class Table(NamedTuple):
    """The page of a table, and the function that makes it."""

    page: str
    make: Callable[[], str]


def settings_table() -> str:
    """Return one table per section: setting, default, what it is, why, other names."""
    parts = []
    for name, section in SECTIONS.items():
        rows = []
        for setting, field in section.model_fields.items():
            others = ", ".join(f"`{alias}`" for alias, target in ALIASES.items() if target == setting)
            rows.append((f"`{setting}`", _default(field), _what(field), WHY[setting], others))
        header = ("setting", "default", "what it is", "why this default", "also called")
        parts.append(f"### `{name}`\n\n{_markdown(header, rows)}")
    return "\n\n".join(parts)


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    if value == []:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _what(field: Any) -> str:
    """Return the setting's docstring, with its choices where it does not name them."""
    text = (field.description or "").replace("\n", " ")
    members = get_args(field.annotation)
    choices = [word for member in (*members, field.annotation) if "Literal" in str(member) for word in get_args(member)]
    words = [word for word in dict.fromkeys(choices) if isinstance(word, str)]
    if words and not all(word in text for word in words):
        text += " One of " + ", ".join(f"`{word}`" for word in words) + "."
    return text


def metrics_table() -> str:
    """Return every measured quantity with its unit, its meaning and its name in trackers."""
    rows = [
        (f"`{name}`", info.unit or "number", info.help, info.better or "", f"`{tag(name)}`")
        for name, info in METRICS.items()
    ]
    return _markdown(("key", "unit", "what it is", "better", "in trackers"), rows)


def presets_table() -> str:
    """Return every preset with its purpose, its shape and its length."""
    rows = [(f"`{name}`", preset.purpose, *_in_short(preset.values)) for name, preset in every_preset().items()]
    return _markdown(
        ("preset", "what it is for", "layers x width, context", "rows per step", "peak rate", "length"), rows
    )


def _in_short(values: dict[str, Any]) -> tuple[str, str, str, str]:
    rows = str(values["batch_size"])
    if values.get("gradient_accumulation_steps", 1) > 1:
        rows += f" x {values['gradient_accumulation_steps']}"
    length = next(
        f"{setting} {values[setting]:,}" for setting in ("epochs", "max_steps", "max_tokens") if setting in values
    )
    shape = f"{values['num_layers']} x {values['d_model']}, {values['max_seq_len']}"
    return shape, rows, f"{values['learning_rate']:g}", length


GUIDES = {
    "guide-characters": "first",
    "guide-configurations": "second",
    "guide-wikitext": "third",
    "guide-toolkit": "fourth",
    "guide-arrays": "last",
}
"""Preset with the defaults of a guide -> the guide's number."""


def guides_table() -> str:
    """Return the settings whose default here is not that of every guide, with the values of the guides' presets."""
    columns = [presets()[name].values for name in GUIDES]
    rows = []
    for setting, default in Config().values().items():
        values = [values.get(setting, default) for values in columns]
        if any(value != default for value in values):
            rows.append((f"`{setting}`", *(_value(value) for value in (default, *values))))
    return _markdown(("setting", "here", *GUIDES.values()), rows)


def _value(value: Any) -> str:
    if value is None:
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def exit_codes_table() -> str:
    """Return every exit code and what it means."""
    meanings: dict[int, str] = {0: "Done, or there was nothing left to do."}
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.TextmillError) and "exit_code" in vars(value):
            text = re.sub(r" \(\d+\)", "", " ".join((value.__doc__ or "").split()))
            meanings[value.exit_code] = f"{meanings[value.exit_code]} {text}" if value.exit_code in meanings else text
    meanings[70] = "A defect of textmill. Or: " + (errors.NonFiniteError.__doc__ or "").strip()
    meanings[129] = "SIGHUP: the terminal was closed; the run has saved and can be resumed."
    meanings[130] = "Ctrl-C (SIGINT): the run has saved and can be resumed."
    meanings[141] = "The program that read the output has closed it (`| head`)."
    meanings[143] = "SIGTERM: the run has saved and can be resumed."
    return _markdown(("code", "meaning"), [(f"`{code}`", meanings[code]) for code in sorted(meanings)])


def _markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


TABLES = {
    "settings": Table("configuration.md", settings_table),
    "presets": Table("configuration.md", presets_table),
    "guides": Table("guides.md", guides_table),
    "metrics": Table("training.md", metrics_table),
    "exit-codes": Table("resume.md", exit_codes_table),
}
"""Name in the comment -> where the table stands and what makes it."""


def refreshed(text: str, name: str) -> str:
    """Return the text of a page with the table `name` made anew."""
    table = TABLES[name].make()
    pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end of table -->)"
    fresh, found = re.subn(pattern, lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text, flags=re.DOTALL)
    assert found == 1, f"the page needs one <!-- table: {name} --> ... <!-- end of table -->"
    return fresh


def main() -> None:
    for name, table in TABLES.items():
        page = DOCS / table.page
        page.write_text(refreshed(page.read_text(encoding="utf-8"), name), encoding="utf-8")


if __name__ == "__main__":
    main()

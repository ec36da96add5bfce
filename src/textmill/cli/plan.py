"""textmill plan: what a run will take, estimated without training."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from textmill.cli.help_pages import Json
from textmill.cli.setting_flags import ConfigFiles, shaped_config_of, takes_settings
from textmill.config.setting_lookup import Setting
from textmill.console.number_format import count, duration, plural, size
from textmill.console.standard_streams import field, note, write_json
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from textmill.config import Config
    from textmill.planning.fit_memory import Hardware
    from textmill.planning.plan import Plan


@takes_settings()
def plan(
    *,
    config: ConfigFiles = None,
    tokens_per_second: float | None = None,
    json: Json = False,
    settings: list[Setting],
) -> None:
    """Estimate what a run will take: parameters, steps, memory, disk, and the time at a given speed.

    It takes the flags of textmill train. Tokens are estimated from the size of the text, and characters, where they are
    tokens, counted in a sample of it. Of a prepared folder all is known. textmill train --dry-run reads and counts.

    Parameters
    ----------
    tokens_per_second
        Training speed of all processes together; needed to estimate the time.

    Examples
    --------
    textmill plan book.txt --d-model 512 --num-layers 8
    textmill plan corpus/ --preset gpt2 --tokens-per-second 12000
    """
    from textmill.config.consistency import free_vocab
    from textmill.data.batches.text_size import estimated_text, is_tokenized, size_of
    from textmill.data.preparing.kind_by_script import settle_kind
    from textmill.data.preparing.prepare_settings import PrepareSettings
    from textmill.planning.fit_memory import settle_auto_preset
    from textmill.planning.plan import plan_run

    values, initial = shaped_config_of(config, settings, note)
    if tokens_per_second is not None and not 0 < tokens_per_second < math.inf:
        raise ConfigError(f"--tokens-per-second: must be a number above zero, not {tokens_per_second}")
    text = PrepareSettings.of(values)
    size = size_of(text)
    hardware = likely_hardware(values)
    if values.training.preset == "auto" and (chosen := settle_auto_preset(values, hardware, size)):
        note(f"preset: {chosen}")
    settle_kind(values, note)
    free_vocab(values, made=is_tokenized(text))
    estimated = estimated_text(values, size, note)
    if initial is not None:
        from textmill.training.initial_model import keep_rows

        keep_rows(values, initial, estimated.vocab_size)
    made, said = plan_run(
        values,
        estimated,
        device=hardware.device,
        precision=hardware.precision,
        world_size=hardware.processes,
        free=hardware.free,
        speed=tokens_per_second,
    )
    for sentence in said:
        note(sentence)
    if (builder := values.training.model) is not None:
        note(f"the numbers are those of the model's shape as one of the family, and not of what {builder} builds")
    show(values, made, json=json, free=hardware.free)


def likely_hardware(config: Config) -> Hardware:
    """Return what the run will most likely compute on. PyTorch is imported where that is a GPU of this machine."""
    from textmill.machine.device_memory import memory_for_run
    from textmill.machine.devices import likely_device, likely_precision
    from textmill.planning.fit_memory import Hardware

    training, here = config.training, likely_device()
    kind, _, index = training.device.replace("auto", here).partition(":")
    processes = training.world_size or 1
    known = kind in ("cpu", here)
    return Hardware(
        kind,
        likely_precision(kind) if training.precision == "auto" else training.precision,
        processes,
        memory_for_run(kind, int(index) if index else None, sharing=processes) if known else None,
    )


def show(config: Config, plan: Plan, *, json: bool, free: int | None = None) -> None:
    """Print the plan as a table or as JSON. free: bytes that each process can have on the device, if known."""
    if json:
        write_json(plan.as_dict())
        return
    for name, text in _lines(config, plan):
        field(name, text)
    field("memory", f"of each process on {plan.device}, {plan.precision}")
    _show_memory(plan, free)


def _lines(config: Config, plan: Plan) -> list[tuple[str, str]]:
    model, length, parameters = config.model.resolved(), plan.length, plan.parameters
    layers = f"{plural(model.num_layers, 'layer')} of width {model.d_model}"
    shape = f"{model.architecture}, {layers}, context {model.max_seq_len}"
    parts = {
        "embedding": parameters.embedding + parameters.positions,
        "attention": parameters.attention,
        "feed-forward": parameters.feed_forward,
        "head": parameters.head,
    }
    detail = ", ".join(f"{name} {count(number)}" for name, number in parts.items() if number)
    about = "about " if plan.text.estimated else ""
    data = (
        f"{about}{count(plan.text.train_tokens)} tokens to train on, {count(plan.text.validation_tokens)} to validate"
    )
    rows = config.training.batch_size
    batch = f"{plural(rows, 'row')} of {length.row_tokens}"
    if config.training.gradient_accumulation_steps > 1:
        batch += f" x {config.training.gradient_accumulation_steps} accumulated"
    if (config.training.world_size or 1) > 1:
        batch += f" x {config.training.world_size} processes"
    steps = "as many steps as fit"
    if length.total_steps:
        steps = f"{plural(length.total_steps, 'step')} (set by {length.limit})"
    lines = [
        ("model", f"{shape}, vocabulary {model.vocab_size:,}"),
        ("parameters", f"{count(parameters.total)}: {detail}"),
        ("data", data + (", estimated from the size of the text" if plan.text.estimated else "")),
        ("length", f"{steps} of {batch} = {count(length.tokens_per_step)} tokens"),
    ]
    if plan.tokens is not None and plan.flops is not None:
        text = f"{count(plan.tokens)} tokens, {length.epochs:.2f} epochs; {count(plan.flops_per_token)}FLOP per token, "
        lines.append(("", text + f"{plan.flops:.2e} in all"))
    free = shutil.disk_usage(existing_folder(Path(config.training.output_dir or "runs"))).free
    enough = f"{size(free)} are free" if free > plan.disk else f"MORE than the {size(free)} that are free"
    kept = f"{plan.kept} checkpoints of {size(plan.checkpoint)}, the best and a new one"
    lines.append(("disk", f"{size(plan.disk)} at most, for {kept}; {enough}"))
    time = "unknown without a speed: give --tokens-per-second, which a short run prints"
    if plan.seconds is not None:
        time = f"{duration(plan.seconds)} of training, evaluations left out"
    elif length.max_seconds is not None:
        time = f"{duration(length.max_seconds)}, set by max_time"
    return [*lines, ("time", time)]


def _show_memory(plan: Plan, free: int | None) -> None:
    from textmill.machine.memory import container_sentence

    memory = plan.memory
    terms = [
        ("weights", memory.weights, "exact"),
        ("gradients", memory.gradients, "exact"),
        ("optimizer", memory.optimizer, "exact"),
        ("half-precision copies", memory.copies, "exact"),
        ("activations", memory.activations, "counted from the shape"),
        ("logits", memory.logits, "scores, logarithms, gradients"),
        ("working space", max(memory.working, memory.update), "estimated"),
        ("evaluation", memory.evaluation, "estimated"),
        ("PyTorch itself", memory.runtime, "an allowance"),
    ]
    for name, number, how in terms:
        if number:
            field("", f"{name:<22} {size(number):>10}  {how}")
    field("", f"{'most at once':<22} {size(memory.total):>10}  at the {memory.peak_moment}")
    if free is not None:
        verdict = "it fits" if free > memory.total else "it does NOT fit: lower batch_size or max_seq_len"
        field("", f"{'free here':<22} {size(free):>10}  {verdict}")
    if plan.device == "cpu" and (allowed := container_sentence()) is not None:
        field("", allowed)


def existing_folder(path: Path) -> Path:
    """Return the nearest folder above `path` that exists."""
    return next((folder for folder in (path, *path.absolute().parents) if folder.is_dir()), Path("/"))

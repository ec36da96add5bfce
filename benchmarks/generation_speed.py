"""Tokens per second of textmill's generation beside transformers' generate, the same weights, both in one process.

    python benchmarks/generation_speed.py --configs S M --threads 1 2

The sides take turns, block by block, so that both meet the same noise; each uses the number of threads with which it is
faster. Medians over the blocks are compared.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from train_speed import machine

import textmill
from textmill.checkpoint.model_folder import load_model, save_model_folder
from textmill.config import ModelConfig
from textmill.machine.cpu_contention import contention_warning

CONFIGS: dict[str, dict[str, Any]] = {
    "S": {"d_model": 128, "num_layers": 4, "num_heads": 4, "max_seq_len": 256},
    "M": {"d_model": 384, "num_layers": 6, "num_heads": 6, "max_seq_len": 256},
}
PROMPT = 32
SIDES = ("transformers", "textmill")
Side = Callable[[torch.Tensor, int], None]


def open_sides(folder: Path, temperature: float) -> tuple[dict[str, Side], torch.nn.Module]:
    """Return what continues a batch of prompts by so many tokens, on either side, and textmill's model."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ours = load_model(folder).model
    sampled = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}

    def continue_theirs(prompts: torch.Tensor, tokens: int) -> None:
        mask = torch.ones_like(prompts)
        theirs.generate(prompts, attention_mask=mask, max_new_tokens=tokens, pad_token_id=0, **sampled)

    def continue_ours(prompts: torch.Tensor, tokens: int) -> None:
        for _ in textmill.generate(ours, prompts.tolist(), max_new_tokens=tokens, temperature=temperature, seed=1):
            pass

    return {"transformers": continue_theirs, "textmill": continue_ours}, ours


def seconds(side: Side, prompts: torch.Tensor, tokens: int, threads: int) -> float:
    torch.set_num_threads(threads)
    started = time.perf_counter()
    side(prompts, tokens)
    return time.perf_counter() - started


def product_seconds(model: torch.nn.Module, batch: int, threads: int) -> float:
    """Return the seconds that the products of one token's step with all weights take, the best of 20."""
    torch.set_num_threads(threads)
    weights = [weight.detach() for weight in model.parameters() if weight.dim() == 2]
    inputs = {size: torch.randn(batch, size) for weight in weights for size in weight.shape}
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        for weight in weights:
            torch.mm(inputs[weight.shape[1]], weight.t())
        taken.append(time.perf_counter() - started)
    return min(taken)


def compare(folder: Path, batch: int, temperature: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the median tokens per second of both sides, their ratio with its range, and the time of the prompt."""
    sides, model = open_sides(folder, temperature)
    prompts = torch.randint(65, (batch, PROMPT), generator=torch.Generator().manual_seed(0))
    threads = {}
    for name, side in sides.items():
        trials = {count: seconds(side, prompts, 20, count) for count in arguments.threads * 2}  # the second counts
        threads[name] = min(trials, key=lambda count: trials[count])
    whole: dict[str, list[float]] = {name: [] for name in SIDES}
    prompt: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(arguments.blocks):
        for name in SIDES:
            whole[name].append(seconds(sides[name], prompts, arguments.tokens, threads[name]))
            prompt[name].append(seconds(sides[name], prompts, 1, threads[name]))
    median = {name: statistics.median(taken) for name, taken in whole.items()}
    ratios = [theirs / ours for theirs, ours in zip(whole["transformers"], whole["textmill"])]
    products = arguments.tokens * product_seconds(model, batch, threads["textmill"])
    return {
        "threads": threads,
        "tokens_per_second": {name: round(batch * arguments.tokens / taken) for name, taken in median.items()},
        "ratio": round(statistics.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
        "prompt_ms": {name: round(1000 * statistics.median(taken), 2) for name, taken in prompt.items()},
        "share_of_products": round(products / median["textmill"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", choices=sorted(CONFIGS), default=["S", "M"])
    parser.add_argument("--families", nargs="+", choices=["qwen3", "gpt2", "llama"], default=["qwen3", "gpt2"])
    parser.add_argument("--vocab", nargs="+", type=int, default=[65, 8192])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--temperature", nargs="+", type=float, default=[0.0, 0.8], help="0: the most likely token")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="each side takes the faster of these")
    parser.add_argument("--tokens", type=int, default=200, help=f"new ones, after a prompt of {PROMPT}")
    parser.add_argument("--blocks", type=int, default=5, help="timed blocks of each side")
    parser.add_argument("--output", type=Path, help="append the result to this JSON Lines file")
    arguments = parser.parse_args()
    if (busy := contention_warning(max(arguments.threads))) is not None:
        print(busy, file=sys.stderr)
    about = {"date": datetime.date.today().isoformat(), "machine": machine()}
    for family, config, vocab in itertools.product(arguments.families, arguments.configs, arguments.vocab):
        with tempfile.TemporaryDirectory() as name:
            shape = ModelConfig(architecture=family, vocab_size=vocab, **CONFIGS[config])
            save_model_folder(Path(name), textmill.build_model(shape, seed=0), None)
            for batch, temperature in itertools.product(arguments.batch, arguments.temperature):
                case = {"config": config, "family": family, "vocab": vocab, "batch": batch, "temperature": temperature}
                line = json.dumps(case | compare(Path(name), batch, temperature, arguments) | about)
                print(line, flush=True)
                if arguments.output:
                    with arguments.output.open("a") as file:
                        file.write(line + "\n")


if __name__ == "__main__":
    main()

"""What textmill makes of texts in many scripts: what comes back, how long tokens are, and what a short run learns.

    python benchmarks/languages.py                                  # the Declaration of Human Rights in 17 languages
    python benchmarks/languages.py FOLDER --train --kilobytes 150   # and runs, of your own texts

Four fifths of each text are learned from, the last fifth is measured. `--train` trains a run without a flag, and the
same with one choice made by hand (another kind of tokenizer, vocabulary, pattern), in turns and on one thread, and
evaluates the best model of each on the last fifth. Every run has the steps that `--max-steps` says, else the epochs of
its preset.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from train_speed import busy, machine

import textmill
from textmill.console.screen import Screen
from textmill.data.preparing.learning_text import share_of_marks
from textmill.data.preparing.tokenizer_choice import suitable_pattern, suitable_vocab_size
from textmill.errors import TextmillError
from textmill.evaluation.evaluate_saved_model import evaluate_model
from textmill.tokenizers import Tokenizer, make_byte, make_char, train_bpe, train_unigram

TEXTS = Path(__file__).with_name("texts")

QWEN35 = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"""
    r"""\s*[\r\n]+|\s+(?!\S)|\s+"""
)
"""The pattern of Qwen3.5: words of letters and marks, single digits."""

PATTERNS = {"gpt2": "gpt2", "gpt4o": "gpt4o", "qwen": QWEN35}

BY_HAND: dict[str, dict[str, Any]] = {
    "no flags": {},
    "bpe": {"tokenizer": "bpe"},
    "gpt2": {"split_pattern": "gpt2"},
    "gpt4o": {"split_pattern": "gpt4o"},
    "bpe 512": {"tokenizer": "bpe", "vocab_size": 512},
    "bpe 1024": {"tokenizer": "bpe", "vocab_size": 1024},
    "bpe 2048": {"tokenizer": "bpe", "vocab_size": 2048},
    "bpe 4096": {"tokenizer": "bpe", "vocab_size": 4096},
    "unigram": {"tokenizer": "unigram"},
    "unigram 512": {"tokenizer": "unigram", "vocab_size": 512},
    "unigram 2048": {"tokenizer": "unigram", "vocab_size": 2048},
    "char": {"tokenizer": "char"},
    "byte": {"tokenizer": "byte"},
    "8 rows": {"batch_size": 8},
    "4 rows": {"batch_size": 4},
    "2 rows": {"batch_size": 2},
    "unigram, 8 rows": {"tokenizer": "unigram", "batch_size": 8},
    "unigram, 4 rows": {"tokenizer": "unigram", "batch_size": 4},
    "unigram 512, 8 rows": {"tokenizer": "unigram", "vocab_size": 512, "batch_size": 8},
    "unigram 512, 4 rows": {"tokenizer": "unigram", "vocab_size": 512, "batch_size": 4},
}


def bytes_per_token(tokenizer: Tokenizer, text: str) -> float:
    """Return the fertility turned round, after the ids were turned back into the same text."""
    ids = tokenizer.encode(text)
    if tokenizer.decode(ids) != text and tokenizer.unk_id is None:
        raise SystemExit("a text did not come back")
    return len(text.encode()) / len(ids)


def fertility(learned: str, measured: str) -> dict[str, Any]:
    """Return bytes per token of `measured` by kind and pattern, learned from the other text; the default pattern."""
    size = suitable_vocab_size(len(learned.encode()))
    default = suitable_pattern(share_of_marks(learned))
    made: dict[str, Callable[[], Tokenizer]] = {
        f"bpe {name}": lambda pattern=pattern: train_bpe([learned], size, pattern=pattern)
        for name, pattern in PATTERNS.items()
    }
    made["unigram"] = lambda: train_unigram([learned], size, pattern=default)
    made["char"] = lambda: make_char([learned])
    made["byte"] = make_byte
    found = {name: round(bytes_per_token(make(), measured), 2) for name, make in made.items()}
    return {"entries": size, "pattern": default, "bytes_per_token": found}


def trained(folder: Path, name: str, settings: dict[str, Any], steps: int | None, seed: int) -> dict[str, Any]:
    """Return bits per byte of the best model of a run on the held-out text, its steps and processor seconds."""
    output = folder / f"{name} {seed}".replace(" ", "-")
    length = {} if steps is None else {"max_steps": steps}
    started = time.process_time()
    result = textmill.train(
        {**settings, **length},
        data=[str(folder / "learned.txt")],
        val_data=[str(folder / "measured.txt")],
        seed=seed,
        threads=1,
        sample_tokens=1,
        cache_dir=str(folder / "cache"),
        output_dir=str(output),
        screen=Screen(quiet=True),
    )
    taken = time.process_time() - started
    model = result.best_model or result.final_model
    found = evaluate_model(model, folder / "measured.txt", cache_dir=folder / "cache", max_unknown=1.0)
    return {
        "bits_per_byte": round(found["bits_per_byte"], 4),
        "steps": result.total_steps,
        "seconds": round(taken, 1),
    }


def runs(folder: Path, names: Sequence[str], steps: int | None, seeds: int) -> dict[str, Any]:
    """Return the runs by name: the mean of their bits per byte over seeds; of a refused one the reason."""
    found: dict[str, Any] = {}
    for seed in range(1, seeds + 1):
        for name in names:
            try:
                found.setdefault(name, []).append(trained(folder, name, BY_HAND[name], steps, seed))
            except TextmillError as error:
                found[name] = str(error)
    return {
        name: each
        if isinstance(each, str)
        else {**each[0], "bits_per_byte": round(statistics.mean(run["bits_per_byte"] for run in each), 4)}
        for name, each in found.items()
    }


def beginning(path: Path, most: int | None) -> str:
    """Return the text of a file, or of its first `most` bytes."""
    content = path.read_bytes()
    return content[:most].decode("utf-8", "ignore") if most else content.decode("utf-8")


def show(results: Sequence[dict[str, Any]]) -> None:
    """Print the tables, in Markdown."""
    names = list(results[0]["bytes_per_token"])
    head = ["text, kB", *names, "default pattern"]
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for one in results:
        cells = [f"{value:.2f}" for value in one["bytes_per_token"].values()]
        print(f"| {one['text']}, {one['kilobytes']} | " + " | ".join(cells) + f" | {one['pattern']} |")
    if "runs" not in results[0]:
        return
    names = list(results[0]["runs"])
    head = ["text, kB, steps", *names, "no flags above the best"]
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for one in results:
        bits = {name: run["bits_per_byte"] for name, run in one["runs"].items() if not isinstance(run, str)}
        cells = [f"{bits[name]:.3f}" if name in bits else "refused" for name in names]
        above = bits["no flags"] / min(bits.values()) - 1
        steps = one["runs"]["no flags"]["steps"]
        print(f"| {one['text']}, {one['kilobytes']}, {steps} | " + " | ".join(cells) + f" | {above:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="*", default=[TEXTS], help="files, or folders of .txt files")
    parser.add_argument("--kilobytes", type=int, help="of each text; all of it if left out")
    parser.add_argument("--train", action="store_true", help="train runs too")
    parser.add_argument("--by-hand", nargs="*", choices=list(BY_HAND), default=list(BY_HAND), metavar="NAME")
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, help="append the results to this JSON Lines file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    files = [file for path in arguments.texts for file in (sorted(path.glob("*.txt")) if path.is_dir() else [path])]
    names = list(dict.fromkeys(["no flags", *arguments.by_hand]))
    results = []
    for path in files:
        text = beginning(path, arguments.kilobytes and 1000 * arguments.kilobytes)
        cut = len(text) * 4 // 5
        result: dict[str, Any] = {"text": path.stem, "kilobytes": round(len(text.encode()) / 1000)}
        result |= fertility(text[:cut], text[cut:])
        if arguments.train:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                (folder / "learned.txt").write_text(text[:cut], encoding="utf-8")
                (folder / "measured.txt").write_text(text[cut:], encoding="utf-8")
                result["runs"] = runs(folder, names, arguments.max_steps, arguments.seeds)
            result |= {"machine": machine(), "foreign_load": busy()}
        print(json.dumps(result, ensure_ascii=False), flush=True)
        results.append(result)
        if arguments.output:
            with arguments.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result, ensure_ascii=False) + "\n")
    show(results)


if __name__ == "__main__":
    main()

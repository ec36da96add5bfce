"""Check training on one GPU, and measure it, in under eight minutes and without a network:

    python benchmarks/gpu.py --output gpu.jsonl

First the checks of `pytest -m gpu`, then tokens per second, share of the peak (MFU) and memory of models of 124M, 350M
and 1.3B parameters with Muon and AdamW, eager and compiled, on made-up token ids. Every line has a time limit of its
own; what fails is one line, and the rest runs. The exit code is 1 if a check failed or a line has no result.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from worker_jobs import Job, run_jobs

SIZES = ("124M", "350M", "1.3B")
CHECKS = {
    "resume": 90, "generation": 60, "optimizers": 60, "attention": 60, "memory": 60, "loss": 90, "precision": 150,
}  # fmt: skip
"""Names of the checks of gpu_checks.py, with the seconds that each may take."""

COLUMNS = ("size", "optimizer", "", "rows", "tokens/s", "spread", "MFU", "matmul", "peak GiB", "plan GiB", "update s")
WIDTHS = (6, 9, 8, 8, 9, 6, 6, 6, 8, 8, 8)


def jobs(arguments: argparse.Namespace) -> list[Job]:
    """Return what the command line asks for, in the order in which it runs."""
    device, small = ("cpu", True) if arguments.dry_run else ("cuda", False)
    sizes = ("tiny",) if arguments.dry_run else SIZES[:1] if arguments.quick else SIZES
    made = [Job("machine", "gpu_speed:machine", {"device": device})]
    for name, limit in CHECKS.items():
        if not (arguments.quick and name == "precision"):
            values = {"name": name, "device": device, "small": small}
            made.append(Job(f"check {name}", "gpu_checks:check", values, limit, alone=name == "resume" and not small))
    for size in sizes:
        for compile in (False,) if small else (False, True):  # on a CPU compiling takes longer than all the rest
            for optimizer in ("muon", "adamw"):
                seconds = 0.01 if small else 4.0  # of timed steps, after warming up
                values = {"size": size, "optimizer": optimizer, "compile": compile, "device": device}
                name = f"speed {size} {optimizer} {'compiled' if compile else 'eager'}"
                made.append(Job(name, "gpu_speed:measure", {**values, "seconds": seconds}, 120 if compile else 45))
    chosen = [job for job in made[1:] if all(word in job.name.split() for word in arguments.only)]
    return [made[0], *chosen]


def lines_of(job: Job, answer: dict[str, Any]) -> list[str]:
    """Return what to print about a job's result or error."""
    if "error" in answer:
        return [f"{job.name}: FAILED: {answer['error']}"]
    result = answer["result"]
    if job.name == "machine":
        rates = ", ".join(f"{rate / 1e12:.1f} TFLOP/s in {name}" for name, rate in result["matmul_flops"].items())
        return [f"{result['device']}, torch {result['torch']}, CUDA {result['cuda']}; a matrix product reaches {rates}"]
    if job.name.startswith("check"):
        return [_check_line(measure) for measure in result]
    gib = [None if result[key] is None else result[key] / 2**30 for key in ("peak_bytes", "planned_bytes")]
    cells = [
        result["size"], result["optimizer"], "compiled" if result["compiled"] else "eager",
        f"{result['rows']} x {result['accumulation']}", f"{result['tokens_per_second']:,}", f"{result['spread']:.1%}",
        *("-" if share is None else f"{share:.1%}" for share in (result["mfu"], result["share_of_matmul_rate"])),
        *("-" if size is None else f"{size:.2f}" for size in gib), f"{result['update_seconds']:.4f}",
    ]  # fmt: skip
    return [row(cells)]


def _check_line(measure: dict[str, Any]) -> str:
    if measure["value"] is None:
        return f"{measure['what']}: not measured, there is no GPU"
    state = "ok" if measure["passed"] else "FAILED"
    return f"{measure['what']}: {measure['value']:.3g}, at most {measure['limit']:g}: {state}"


def row(cells: Any) -> str:
    """Return the cells in columns."""
    return "  ".join(str(cell).rjust(width) for cell, width in zip(cells, WIDTHS)).rstrip()


def failed(answer: dict[str, Any]) -> bool:
    """Whether a job has no result, or one with a number that is beyond its limit."""
    result = answer.get("result")
    return result is None or (isinstance(result, list) and not all(measure["passed"] for measure in result))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, help="append every line to this JSON Lines file")
    made.add_argument("--quick", action="store_true", help="the smallest model, and not the check that compiles most")
    made.add_argument("--dry-run", action="store_true", help="the whole flow on the CPU, in tiny shapes")
    made.add_argument("--only", nargs="+", default=[], metavar="WORD", help="only lines with these words, as 124M")
    made.add_argument("--seconds", type=float, default=470.0, help="time for everything (470)")
    return made


def main() -> int:
    arguments = parser().parse_args()
    failures, headed = 0, False
    for job, answer in run_jobs(jobs(arguments), seconds=arguments.seconds):
        if job.name.startswith("speed") and not headed:
            headed = True
            print(row(COLUMNS), flush=True)
        for line in lines_of(job, answer):
            print(line, flush=True)
        if arguments.output:
            record = {"job": job.name, "date": datetime.date.today().isoformat(), **answer}
            with arguments.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        failures += failed(answer)
        if job.name == "machine" and failures:
            print("nothing was run; --dry-run tries the flow on the CPU")
            return 1
    print(f"{failures} lines failed" if failures else "everything that ran is as it should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""A loop of your own: `assemble` opens everything, `steps` takes one optimizer step each time, the rest is yours."""

from __future__ import annotations

import sys

import textmill


def main(data: str, output_dir: str) -> None:
    config = textmill.load_config(
        data=data, output_dir=output_dir, max_steps=30, d_model=64, num_layers=2, overwrite=True
    )
    with textmill.assemble(config) as run:
        for step in textmill.steps(run):
            if step.number % 10 == 0:
                widest = max(parameter.abs().max().item() for parameter in run.model.parameters())
                print(f"after {step.number} steps the largest weight is {widest:.3f}")
            if step.every(15):
                run.track(step.measured())
                textmill.save(run)


if __name__ == "__main__":
    main(*sys.argv[1:3])

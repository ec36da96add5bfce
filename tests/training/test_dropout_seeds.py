"""Dropout is a function of seed, step, micro-batch and process, and of nothing else."""

from itertools import product

import torch

from textmill.training.loop import seed_dropout


def test_every_micro_batch_of_every_process_has_masks_of_its_own() -> None:
    """No two of them are alike, and each is the same again whatever was drawn in between."""
    drawn = {}
    for place in product((0, 1), (0, 1, 7), (0, 1), (0, 1)):
        seed_dropout(*place)
        drawn[place] = torch.rand(8).tolist()
    assert len({tuple(numbers) for numbers in drawn.values()}) == len(drawn)
    for place, numbers in drawn.items():
        seed_dropout(*place)
        assert torch.rand(8).tolist() == numbers

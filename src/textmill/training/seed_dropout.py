"""Dropout that depends on where the run is and on nothing else, so that no generator has to be saved."""

import hashlib

import torch


def seed_dropout(seed: int, step: int, micro_batch: int, rank: int) -> None:
    """Seed torch's generator for the dropout of one micro-batch in one process."""
    purpose = f"dropout/{seed}/{step}/{micro_batch}/{rank}"
    digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)

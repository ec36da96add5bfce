"""The ways this machine computes."""

from __future__ import annotations

import torch

from textmill.machine.kernel_choices import apply_kernels, prefers_onednn, set_onednn


def test_choices_are_recorded_and_can_be_restored() -> None:
    """What apply_kernels returns says how many threads compute, and the same choices can be asked for again."""
    threads = torch.get_num_threads()
    try:
        chosen = apply_kernels(torch.device("cpu"), threads=1)
        assert chosen["threads"] == torch.get_num_threads() == 1
        assert apply_kernels(torch.device("cpu"), threads=1, onednn=chosen["onednn"]) == chosen
    finally:
        torch.set_num_threads(threads)


def test_the_float32_library_is_as_exact_as_float32() -> None:
    """Whichever library is chosen, float32 products are right to float32's precision and not to bfloat16's."""
    set_onednn(prefers_onednn(torch.device("cpu")))
    generator = torch.Generator().manual_seed(5)
    left, right = torch.randn(2, 96, 300, generator=generator).unbind(0)
    exact = left.double() @ right.double().T
    assert ((left @ right.T).double() - exact).abs().max() / exact.abs().max() < 2e-6

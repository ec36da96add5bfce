"""The ways this machine computes."""

from __future__ import annotations

import os

import pytest
import torch

from textmill.machine.kernel_choices import apply_kernels, prefers_onednn, random_order_allowed, set_onednn
from textmill.machine.precision import choose_precision, float32_products


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
    set_onednn(prefers_onednn())
    generator = torch.Generator().manual_seed(5)
    left, right = torch.randn(2, 96, 300, generator=generator).unbind(0)
    exact = left.double() @ right.double().T
    assert ((left @ right.T).double() - exact).abs().max() / exact.abs().max() < 2e-6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("onednn", [True, False])
def test_a_cpu_computes_in_every_precision_with_either_library(precision: str, onednn: bool) -> None:
    """PyTorch refuses to tell its precision of products once oneDNN is chosen; a CPU needs no answer."""
    try:
        set_onednn(onednn)
        with float32_products(choose_precision(precision, torch.device("cpu"))):
            assert torch.ones(2, 2).mm(torch.ones(2, 2)).tolist() == [[2, 2], [2, 2]]
    finally:
        set_onednn(False)


def test_deterministic_kernels_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch then refuses operations that add in a random order, and cuBLAS gets a workspace of its own."""
    for name in ("CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_DETERMINISTIC"):
        monkeypatch.setenv(name, "")  # so that the variables are as before when the test ends
        monkeypatch.delenv(name)
    device = torch.device("cpu")
    try:
        chosen = apply_kernels(device, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        with random_order_allowed():  # for the samples of a run
            assert not torch.are_deterministic_algorithms_enabled()
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True  # pyright: ignore[reportAttributeAccessIssue]
    assert apply_kernels(device, threads=chosen["threads"], onednn=chosen["onednn"]) == chosen

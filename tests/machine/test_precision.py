"""Which number format a CPU multiplies fastest, by the clock alone."""

import pytest
import torch

from textmill.machine import precision
from textmill.machine.precision import cpu_multiplies_bf16

MEASURED = {
    "AVX2, bfloat16 emulated": ({64: 7.9, 128: 54.2, 256: 388.2}, {64: 184.2, 128: 1463.1, 256: 19276.7}, False),
    "AVX-512 with bfloat16 instructions": ({64: 8.3, 128: 25.7, 256: 207.7}, {64: 30.1, 128: 70.6, 256: 408.0}, False),
    "matrix tiles (AMX)": ({64: 5.6, 128: 25.8, 256: 207.6}, {64: 24.3, 128: 28.5, 256: 51.4}, True),
    "matrix tiles, another day": ({64: 10.4, 128: 38.0, 256: 259.2}, {64: 41.9, 128: 46.7, 256: 91.4}, True),
}
"""Microseconds of a product by its side, in float32 and bfloat16, read on processors of the kind; the answer."""


@pytest.mark.parametrize(("float32", "bfloat16", "faster"), MEASURED.values(), ids=MEASURED)
def test_bf16_is_chosen_by_products_of_a_useful_size(
    float32: dict[int, float], bfloat16: dict[int, float], faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Choosing a kernel costs tiny bfloat16 products more than multiplying; that does not hide a fast format."""
    table = {torch.float32: float32, torch.bfloat16: bfloat16}
    monkeypatch.setattr(precision, "product_seconds", lambda dtype, side=256: table[dtype][side] * 1e-6)
    assert cpu_multiplies_bf16.__wrapped__() is faster

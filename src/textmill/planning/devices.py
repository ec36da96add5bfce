"""What processors can do at most, for model FLOP utilisation (MFU)."""

from __future__ import annotations

# Dense bfloat16 tensor throughput in FLOP/s, from the makers' data sheets (without sparsity).
PEAK_BF16_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "GH200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 150e12,
    "A30": 165e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 5090": 209e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def peak_flops(device_name: str) -> float | None:
    """Return the dense bf16 (fp16 before Ampere) FLOP/s of the GPU with this name, or None when it is not known.

    The longest known name contained in `device_name` wins, so that "H100 PCIe" is not taken for the SXM card.
    """
    known = [name for name in PEAK_BF16_FLOPS if name.lower() in device_name.lower()]
    return PEAK_BF16_FLOPS[max(known, key=len)] if known else None

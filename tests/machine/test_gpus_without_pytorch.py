"""What is known of a GPU from its name and from files, without PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest

from textmill.machine.devices import likely_device, peak_flops


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA B200", 2250),
        ("NVIDIA A40", 150),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("Tesla T4", 65),
        ("Tesla V100-SXM2-16GB", 125),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 3090", 71),
    ],
)
def test_the_peak_of_a_card_is_found_by_its_name(name: str, tera: int) -> None:
    """The names are those that the driver reports; the numbers are the data sheets', without sparsity."""
    assert peak_flops(name) == tera * 1e12


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA RTX A1000",
        "NVIDIA RTX A4000",
        "NVIDIA RTX A1000 6GB Laptop GPU",
        "NVIDIA T400 4GB",
        "NVIDIA T4G",
        "NVIDIA L400",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA A40-48Q",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA GB200",
        "Quadro RTX 4000",
        "NVIDIA",
        "",
    ],
)
def test_another_card_is_not_taken_for_a_known_one(name: str) -> None:
    """A name that only contains a known one, or is part of such a card, has no known peak, and so no MFU."""
    assert peak_flops(name) is None


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["proc/driver/nvidia/gpus/0000:01:00.0/information"], True),
        (["dev/nvidia0", "dev/nvidiactl"], True),  # a container
        (["dev/nvidiactl", "dev/nvidia-uvm"], False),  # the driver, and no card for this container
        (["dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"], True),  # Linux inside of Windows
        (["dev/dxg", "usr/lib/wsl/lib/libd3d12.so"], False),  # the same, on another maker's GPU
        (["dev/nvhost-gpu"], True),  # Jetson
        (["Windows/System32/nvcuda.dll"], True),
        ([], False),
    ],
)
def test_a_gpu_is_known_by_its_files(
    files: list[str], found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`plan` says cuda where training would take it: the GPU is there, visible, and PyTorch was built for it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    root = tmp_path / "root"
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    for package, library in (("cuda", "libtorch_cuda.so"), ("cpu", "libtorch_cpu.so")):
        (tmp_path / package / "lib").mkdir(parents=True)
        (tmp_path / package / "lib" / library).touch()
    assert (likely_device(root, tmp_path / "cuda") == "cuda") is found
    assert likely_device(root, tmp_path / "cpu") != "cuda"
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert likely_device(root, tmp_path / "cuda") != "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert (likely_device(root, tmp_path / "cuda") == "cuda") is found

"""Which device a run computes on."""

import torch

from textmill.errors import ConfigError


def choose_device(name: str, *, local_rank: int = 0, size: int = 1) -> torch.device:
    """Return the device that `name` means on this machine. Raises ConfigError when there is no such device."""
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        elif torch.backends.mps.is_available() and size == 1:  # MPS has no way for processes to talk
            name = "mps"
        else:
            name = "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: {name!r} is not a device; choose auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("device: 'cuda' was asked for, but PyTorch sees no GPU here; use --device auto or cpu")
        index = local_rank if size > 1 else (device.index or 0)
        if index >= torch.cuda.device_count():
            raise ConfigError(f"device: there is no GPU {index}; this machine has {torch.cuda.device_count()}")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: 'mps' was asked for, but it is not available here; use --device auto or cpu")
    return device

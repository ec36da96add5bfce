"""What works only since a version of PyTorch: the one place that asks which version is installed.

pyproject.toml states the oldest version that is allowed; `constraints-oldest.txt` is what the tests are run on as well.
What a run cannot do without is refused by name; what it can do in another way is done in that way.
"""

from dataclasses import dataclass

import torch

from textmill.errors import ConfigError


@dataclass(frozen=True)
class Since:
    """What works, and the first version of PyTorch, (major, minor), in which it does."""

    what: str
    version: tuple[int, int]

    def here(self) -> bool:
        """Return whether the installed version is that one or newer."""
        return _installed() >= self.version

    def in_words(self) -> str:
        """Return what needs which version, as the beginning of a sentence."""
        return f"{self.what} needs PyTorch {'.'.join(map(str, self.version))} or newer"

    def require(self, instead: str) -> None:
        """Refuse an older version, with what can be done `instead`.

        Raises:
            ConfigError: the installed version is older.
        """
        if not self.here():
            raise ConfigError(f"{self.in_words()}, and {torch.__version__} is installed: {instead}")


def _installed() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


FSDP = Since("engine fsdp", (2, 9))
"""On CPUs, gradients of 2.7 and 2.8 are too large by the number of processes, and 2.6 fails in the first step. On GPUs,
older ones were not tried; 2.6 lacks what divides Muon's updates.
"""

CHOICE_OF_FLOAT32_LIBRARY = Since("sending float32 products through oneDNN", (2, 9))
"""`torch.backends.mkldnn.matmul.fp32_precision`; older versions always multiply with their default library."""

RIGHT_ATTENTION_ON_MPS = Since("the fused kernel of attention on Apple's GPUs", (2, 13))
"""Older ones misread transposed views of more than one sequence (PyTorch issue 181133), and show float16 and bfloat16
up to three positions of the future (195910).
"""

"""Steps that were not taken because a gradient was not finite."""

from typing import Any

import torch
from torch import Tensor


class SkippedSteps:
    """How many steps were skipped, in `total` and `in_row` up to now: tensors on the device, so that counting is free.

    Reading one waits for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), dtype=torch.int64, device=device)
        self.in_row = torch.zeros((), dtype=torch.int64, device=device)

    def count(self, finite: Tensor) -> None:
        """Count one more step, which was taken if `finite`, ()."""
        self.total = self.total + ~finite
        self.in_row = torch.where(finite, 0, self.in_row + 1)

    def state(self) -> dict[str, Any]:
        """Return both numbers, for a checkpoint."""
        return {"skipped": int(self.total.item()), "skipped_in_row": int(self.in_row.item())}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take both numbers from a checkpoint."""
        self.total.fill_(state["skipped"])
        self.in_row.fill_(state["skipped_in_row"])

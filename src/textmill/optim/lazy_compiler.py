"""PyTorch's compiler is not imported by runs that compile nothing: it takes as long as PyTorch itself.

Only Muon, the optimizer of runs without flags on a CPU, gains by this: the `step` of PyTorch's own imports it.
"""

import sys

from torch.optim import Optimizer

_KEPT_FROM_IT = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def leave_compiler_out() -> None:
    """Let optimizers be made and used without importing `torch._dynamo`.

    Methods that the compiler must not trace import it at their first call, to tell it so. As long as nothing has
    imported it, there is nothing to tell. Another version of PyTorch may do this in another way, and then imports it.
    """
    if "torch._dynamo" in sys.modules:
        return
    for name in _KEPT_FROM_IT:
        method = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            setattr(method, "__dynamo_disable", method)

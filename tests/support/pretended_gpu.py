"""A GPU that exists in name only: the real code runs on fake tensors, and whatever makes the host wait is counted.

    TEXTMILL_PRETENDED_GPU=cuda python -c "import support.pretended_gpu ..."    # or mps; before anything imports torch

Found by it: operations on tensors of two devices, formats that a device lacks, state that was put on another device,
waits for the device and copies to it. Not found: wrong values (nothing is computed), and what needs NCCL, a compiler or
several processes. PyTorch lets a tensor () on the CPU take part in anything here, where a real kernel may refuse it:
compare devices instead. The C++ file beside this one is compiled once for each version of PyTorch, in about 20 seconds.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

KIND = os.environ.get("TEXTMILL_PRETENDED_GPU", "")
COMPILER = shutil.which("g++")


def _compiled(package: Path) -> Path:
    """Return the library of `pretended_gpu.cpp` for the PyTorch in `package`; compile it if it is not there."""
    source = Path(__file__).with_suffix(".cpp")
    folder = Path(tempfile.gettempdir()) / f"textmill-pretended-gpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    stamp = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    library = folder / f"{importlib.metadata.version('torch')}-{stamp}.so"
    if not library.exists():
        unfinished = library.with_suffix(f".{os.getpid()}.so")
        headers = package / "include"
        includes = [f"-I{headers}", f"-I{headers / 'torch' / 'csrc' / 'api' / 'include'}"]
        options = ["-std=c++20", "-O1", "-fPIC", "-shared", "-w"]
        subprocess.run([COMPILER or "g++", *options, *includes, str(source), "-o", str(unfinished)], check=True)
        unfinished.replace(library)
    return library


def _load() -> None:
    assert KIND in ("cuda", "mps"), "set TEXTMILL_PRETENDED_GPU to cuda or mps"
    assert "torch" not in sys.modules, "the device has to be there before torch is imported"
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin).parent
    for library in (package / "lib" / "libc10.so", package / "lib" / "libtorch_cpu.so", _compiled(package)):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


_load()

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch._subclasses import fake_tensor  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

DEVICE = torch.device(KIND, 0)
fake_tensor.init_gpu_context = lambda *_, **__: None  # would start the real CUDA

_attention = nn.functional.scaled_dot_product_attention


class _Counting(TorchDispatchMode):
    """Counts waits and copies as (what, the nearest line of textmill), and answers for values that nobody computed."""

    def __init__(self, log: Counter[tuple[str, str]], number: float, fake: fake_tensor.FakeTensorMode) -> None:
        super().__init__()
        self.log, self.number, self.fake = log, number, fake
        self.operations = 0
        """How many the device was given."""

    def count(self, what: str) -> None:
        frame: Any = sys._getframe(1)
        while frame is not None and "/textmill/" not in frame.f_code.co_filename:
            frame = frame.f_back
        where = ""
        if frame is not None:
            where = f"{frame.f_code.co_filename.rsplit('/textmill/', 1)[1]}:{frame.f_code.co_name}"
        self.log[what, where] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = str(func)
        if operation == "aten._local_scalar_dense.default":
            return self._value(args[0])
        if operation == "aten.equal.default":
            self.count("wait")
            return True
        if operation == "aten.nonzero.default" and args[0].device.type == KIND:
            self.count("wait")
        if operation == "aten._to_copy.default":
            to = torch.device(kwargs.get("device") or args[0].device)
            self._copy(args[0].device, to, kwargs.get("non_blocking", False))
            if not isinstance(args[0], fake_tensor.FakeTensor):  # read by a thread, to which no mode applies
                args = (self.fake.from_tensor(args[0]), *args[1:])
            elif to.type == KIND:
                args[0].constant = None  # a known number would really be copied to the device
        if operation == "aten.copy_.default":
            self._copy(args[1].device, args[0].device, args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        found = func(*args, **kwargs)
        self.operations += any(isinstance(one, Tensor) and one.device.type == KIND for one in tree_leaves(found))
        if KIND == "mps" and any(isinstance(one, Tensor) and _lacks(one) for one in tree_leaves(found)):
            raise TypeError(f"{operation}: MPS has no float64")
        return found

    def _value(self, tensor: Tensor) -> bool | float | int:
        if tensor.device.type == KIND:
            self.count("wait")
        if tensor.dtype == torch.bool:
            return True
        return self.number if tensor.dtype.is_floating_point else int(self.number)

    def _copy(self, source: torch.device, target: torch.device, non_blocking: bool) -> None:
        if source.type != target.type:
            self.count(f"{source.type} to {target.type}" + (", not waiting" if non_blocking else ""))


def _lacks(tensor: Tensor) -> bool:
    return tensor.device.type == KIND and tensor.dtype == torch.float64


def _moved(module: nn.Module, device: Any = None, *_: Any, **__: Any) -> nn.Module:
    """Do what `nn.Module.to` does with new parameters: those of fake tensors cannot be changed in place."""
    new: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in new:
                new[id(parameter)] = nn.Parameter(parameter.detach().to(device), parameter.requires_grad)
            part._parameters[name] = new[id(parameter)]
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.to(device)
    return module


def _pinned(tensor: Tensor, *_: Any) -> Tensor:
    pinned = tensor.clone()
    pinned.pretends_to_be_pinned = True  # type: ignore[attr-defined]
    return pinned


def _attention_on_mps(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The kernel of MPS cannot be pretended; the general one can."""
    general = torch.ops.aten._scaled_dot_product_attention_math
    found = general(query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa)
    return found[0]


def _event_of(counting: _Counting) -> type:
    """Return what stands for torch.cuda.Event: waiting for one counts as `wait` only if the device has nothing else."""

    class Event:
        def record(self, stream: object = None) -> None:
            self._given = counting.operations

        def synchronize(self) -> None:
            counting.count("wait" if self._given == counting.operations else "wait for an earlier step")

    return Event


def _functions(log: Counter[tuple[str, str]], name: str, capability: tuple[int, int]) -> dict[str, Callable[..., Any]]:
    """Return what torch.cuda says of the device."""
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "current_stream": lambda _=None: None,
        "set_device": lambda _: None,
        "get_device_name": lambda _=None: name,
        "get_device_capability": lambda _=None: capability,
        "mem_get_info": lambda _=None: (100 << 30, 140 << 30),
        "max_memory_allocated": lambda _=None: 0,
        "reset_peak_memory_stats": lambda _=None: None,
        "empty_cache": lambda: None,
        "is_bf16_supported": lambda including_emulation=True: capability >= (8, 0),
        "manual_seed_all": lambda _: None,
        "manual_seed": lambda _: None,
        "synchronize": lambda _=None: log.update([("synchronize", "")]),
    }


@contextmanager
def pretended_gpu(
    *, number: float = 1.0, name: str = "NVIDIA H200", capability: tuple[int, int] = (9, 0)
) -> Iterator[Counter[tuple[str, str]]]:
    """Yield the count of waits and copies; inside, the device exists, and all tensors that are made are fake ones.

    number: the value that every number has when it is read. A loss scaler needs 0: so many infinities it found.
    """
    log: Counter[tuple[str, str]] = Counter()
    with ExitStack() as stack:

        def replace(owner: Any, attribute: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, attribute, value, create=True))

        replace(nn.Module, "to", _moved)
        replace(Tensor, "pin_memory", _pinned)
        replace(Tensor, "is_pinned", lambda tensor, *_: getattr(tensor, "pretends_to_be_pinned", False))
        if KIND == "cuda":
            for attribute, function in _functions(log, name, capability).items():
                replace(torch.cuda, attribute, function)
        else:
            replace(nn.functional, "scaled_dot_product_attention", _attention_on_mps)
            replace(torch.backends.mps, "is_available", lambda: True)
            replace(torch.mps, "manual_seed", lambda _: None)
            replace(torch.mps, "driver_allocated_memory", lambda: 3 << 30)
            replace(torch.mps, "current_allocated_memory", lambda: 2 << 30)
            replace(torch.mps, "recommended_max_memory", lambda: 96 << 30)
            replace(torch.mps, "synchronize", lambda: log.update([("synchronize", "")]))
        fake = stack.enter_context(fake_tensor.FakeTensorMode(allow_non_fake_inputs=True))
        counting = stack.enter_context(_Counting(log, number, fake))
        replace(torch.cuda, "Event", _event_of(counting))
        yield log

"""DeepSpeed's ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054) behind the verbs of the other engines."""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from textmill.engine.clip_and_step import set_learning_rate
from textmill.engine.engine import MakeOptimizer, SkippedSteps
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.imports import optional
from textmill.machine.precision import Precision


class DeepSpeedEngine:
    """The engine that leaves averaging, scaling, clipping and updating to what deepspeed.initialize returns.

    DeepSpeed flattens and divides weights and optimizer, so checkpoints go through a stand-in: a copy of the module in
    float32 in host memory, with an optimizer of its own kind. A run saved here can be resumed under any engine.

    In fp32 and bf16 DeepSpeed does not look for gradients that are not finite: such a step is counted, not skipped.
    """

    name = "deepspeed"
    writers = 1

    def __init__(
        self,
        module: nn.Module,
        make_optimizer: MakeOptimizer,
        precision: Precision,
        world: World,
        *,
        settings: dict[str, Any],
    ) -> None:
        if world.device.type == "cpu":
            os.environ.setdefault("DS_ACCELERATOR", "cpu")  # it would take a GPU that this run was told not to use
        self._package = optional("deepspeed", "engine deepspeed", "deepspeed")
        if not dist.is_initialized():  # a single process: DeepSpeed needs a group even then
            backend = "nccl" if world.device.type == "cuda" else "gloo"
            alone = dist.HashStore()  # pyright: ignore[reportAttributeAccessIssue]  (Windows, which it does not run on)
            dist.init_process_group(backend, store=alone, rank=0, world_size=1)
        self.module, self.precision, self.world = module.to(world.device), precision, world
        self.skipped = SkippedSteps(world.device)
        self._stand_in = copy.deepcopy(module).to("cpu", torch.float32)
        self.optimizer = make_optimizer(self._stand_in)
        names = {parameter: name for name, parameter in module.named_parameters()}
        optimizer = make_optimizer(module)
        self._group_names = [[names[p] for p in group["params"]] for group in optimizer.param_groups]
        self._deepspeed, *_ = self._package.initialize(model=module, optimizer=optimizer, config=settings)
        self.model = self._deepspeed
        self._flat_partitions()  # what cannot be saved is refused now and not at the first checkpoint

    @contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        self._deepspeed.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        # DeepSpeed would divide by accumulation, which is switched off, and averages over processes, which is undone.
        self._deepspeed.backward(loss * self.world.size, scale_wrt_gas=False)

    def step(self, max_norm: float, *, keep_gradients: bool = False) -> Tensor:
        if keep_gradients:
            raise ConfigError("engine deepspeed keeps gradients to itself: use ddp or fsdp to look at them")
        # DeepSpeed clips as its settings say, which were made from the same number.
        self._deepspeed.step()
        norm = torch.as_tensor(self._deepspeed.get_global_grad_norm(), device=self.world.device, dtype=torch.float32)
        self.skipped.count(torch.isfinite(norm) & bool(self._deepspeed.was_step_applied()))
        return norm

    def clear_gradients(self) -> None:
        pass  # it does so itself

    def scale_is_minimal(self) -> bool:
        return self.precision.name != "fp16" or float(self._deepspeed.optimizer.cur_scale) <= 1.0

    def set_learning_rate(self, learning_rate: float) -> None:
        for optimizer in (self.optimizer, self._deepspeed.basic_optimizer):
            set_learning_rate(optimizer, learning_rate)

    def snapshot(self) -> tuple[nn.Module, Optimizer]:
        # All processes gather; the stand-in gets whole tensors in the first one alone.
        whole_of = self._package.utils
        self._link_states()
        targets = dict(self._stand_in.named_parameters())
        here = dict(self.module.named_parameters())
        for names, state in zip(self._group_names, self._group_states()):
            keys = [key for key, value in state.items() if isinstance(value, Tensor) and value.ndim]
            single = {key: value for key, value in state.items() if key not in keys}
            for name in names:
                whole = {key: whole_of.safe_get_full_optimizer_state(here[name], key) for key in keys}
                weight = whole_of.safe_get_full_fp32_param(here[name])
                if self.world.is_first:
                    assert weight is not None
                    targets[name].data.copy_(weight.view_as(targets[name]))
                    full = {
                        key: value.to("cpu").view_as(targets[name]) for key, value in whole.items() if value is not None
                    }
                    self.optimizer.state[targets[name]] = copy.deepcopy(single) | full
        return self._stand_in, self.optimizer

    @contextmanager
    def loading(self) -> Iterator[tuple[nn.Module, Optimizer]]:
        yield self._stand_in, self.optimizer
        sources = dict(self._stand_in.named_parameters())
        here = dict(self.module.named_parameters())
        saved = self.optimizer.state
        for names, state, flat in zip(self._group_names, self._group_states(), self._flat_partitions()):
            for key, value in saved.get(sources[names[0]], {}).items():
                whole = isinstance(value, Tensor) and value.ndim
                state[key] = torch.zeros_like(flat) if whole else copy.deepcopy(value)
        self._link_states()
        for name in (name for names in self._group_names for name in names):
            self._package.utils.safe_set_full_fp32_param(here[name], sources[name].data.to(self.world.device))
            for key, value in saved.get(sources[name], {}).items():
                if isinstance(value, Tensor) and value.ndim:
                    self._package.utils.safe_set_full_optimizer_state(here[name], value.to(self.world.device), key)
        self._copy_to_module()
        saved.clear()

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

    def state(self) -> dict[str, Any]:
        return {**self.skipped.state(), "scaler": None}  # DeepSpeed has a scaler of its own

    def load_state(self, state: dict[str, Any]) -> None:
        self.skipped.load_state(state)

    def _flat_partitions(self) -> list[Tensor]:
        """Return this process's part of each parameter group, one flat tensor per group."""
        optimizer = self._deepspeed.optimizer
        for attribute in ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat"):
            if (parts := getattr(optimizer, attribute, None)) is not None and len(parts) == len(self._group_names):
                return list(parts)
        raise ConfigError("this combination of DeepSpeed settings cannot be saved: use ZeRO stage 2, or --engine fsdp")

    def _group_states(self) -> list[dict[str, Any]]:
        return [self._deepspeed.basic_optimizer.state[part] for part in self._flat_partitions()]

    def _link_states(self) -> None:
        """Link every parameter to its optimizer state: stages 1 and 2 link only one group."""
        optimizer = self._deepspeed.optimizer
        if hasattr(optimizer, "single_partition_of_fp32_groups"):
            for group, part in zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups):
                if optimizer.optimizer.state.get(part):
                    self._package.utils.lazy_init_hp_params_optimizer_state(group, part, optimizer.optimizer.state)

    def _copy_to_module(self) -> None:
        """Compute with the weights of the float32 copies, of which each process has a part."""
        sources = dict(self._stand_in.named_parameters())
        for name, parameter in self.module.named_parameters():
            with self._package.zero.GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
                if parameter.numel():
                    parameter.copy_(sources[name])

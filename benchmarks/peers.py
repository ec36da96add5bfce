"""Other programs' training steps at the same shapes, for `train_speed.py`: each is a `run(steps)` that returns seconds.

nanogpt: its `model.py`, read from a folder that holds the program, in the loop of its `train.py`. transformers: a Llama
in its Trainer. litgpt: its model in a plain loop. The last two come from PyPI.
"""

from __future__ import annotations

import importlib.util
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

BETAS = (0.9, 0.99)
RATE = 1e-3


class Loop:
    """The plain loop of `plain.py` around another model; `loss` computes it from ids and targets."""

    def __init__(
        self, ids: str, model: torch.nn.Module, loss: Callable[..., torch.Tensor], config: dict[str, int]
    ) -> None:
        self.data, self.config = np.load(ids, mmap_mode="r"), config
        self.model, self.loss = model, loss
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=0.1)

    def run(self, steps: int) -> float:
        length, rows = self.config["context"], self.config["batch"]
        started = time.perf_counter()
        for _ in range(steps):
            starts = torch.randint(len(self.data) - length, (rows,))
            picked = [torch.from_numpy(self.data[i : i + length + 1].astype(np.int64)) for i in starts]
            block = torch.stack(picked)  # (B, T + 1)
            self.loss(self.model, block[:, :-1], block[:, 1:]).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - started


def nanogpt(ids: str, folder: Path, config: dict[str, int]) -> Callable[[int], float]:
    """Return the steps of nanoGPT, whose program is in `folder`."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)
    shape: dict[str, Any] = {"n_layer": config["layers"], "n_head": config["heads"], "n_embd": config["width"]}
    shape |= {"block_size": config["context"], "vocab_size": config["vocab"], "dropout": 0.0, "bias": False}
    model = module.GPT(module.GPTConfig(**shape))
    loop = Loop(ids, model, lambda model, x, y: model(x, y.contiguous())[1], config)
    loop.optimizer = model.configure_optimizers(0.1, RATE, BETAS, "cpu")
    return loop.run


def litgpt(ids: str, config: dict[str, int]) -> Callable[[int], float]:
    """Return the steps of LitGPT's model, in the shape of Llama, in a plain loop."""
    from litgpt import GPT, Config  # type: ignore[import-not-found]

    shape: dict[str, Any] = {
        "n_layer": config["layers"],
        "n_head": config["heads"],
        "n_embd": config["width"],
        "bias": False,
    }
    shape |= {"block_size": config["context"], "vocab_size": config["vocab"], "padded_vocab_size": config["vocab"]}
    shape |= {"norm_class_name": "RMSNorm", "mlp_class_name": "LLaMAMLP", "rotary_percentage": 1.0}
    model = GPT(Config(**shape, parallel_residual=False, intermediate_size=-(-8 * config["width"] // 3)))
    return Loop(ids, model, lambda model, x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten()), config).run


def transformers(ids: str, folder: Path, config: dict[str, int]) -> Callable[[int], float]:
    """Return the steps of a Llama in the Trainer of transformers, which runs in a thread and waits between blocks."""
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments  # type: ignore

    data, length = np.load(ids, mmap_mode="r"), config["context"]

    class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __len__(self) -> int:
            return len(data) - length

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            row = torch.from_numpy(data[index : index + length].astype(np.int64))
            return {"input_ids": row, "labels": row}

    asked: queue.Queue[int] = queue.Queue()
    answers: queue.Queue[float] = queue.Queue()

    class Blocks(TrainerCallback):
        left, started = 0, 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if self.left == 0:
                self.left, self.started = asked.get(), time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.left -= 1
            if self.left == 0:
                answers.put(time.perf_counter() - self.started)

    shape: dict[str, Any] = {
        "hidden_size": config["width"],
        "num_hidden_layers": config["layers"],
        "vocab_size": config["vocab"],
    }
    shape |= {"num_attention_heads": config["heads"], "max_position_embeddings": length}
    model = LlamaForCausalLM(LlamaConfig(**shape, intermediate_size=-(-8 * config["width"] // 3)))
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=config["batch"],
        max_steps=10**9,
        learning_rate=RATE,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=10**9,
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[Blocks()])
    threading.Thread(target=trainer.train, daemon=True).start()

    def run(steps: int) -> float:
        asked.put(steps)
        return answers.get()

    return run

"""A disk that takes no more: tolerated while another save follows, and the end of a run when it was the last."""

import json
import os
import resource
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

import textmill
from support.disk_faults import in_child, watched
from support.run_commands import assert_same_run
from textmill.errors import TextmillError

SIZE_LIMIT = 20_000
"""Bytes that a file may have: enough for everything but weights, which have about 50 kB."""


@pytest.fixture
def train(book: Path, cache_dir: Path, tmp_path: Path) -> Callable[..., int]:
    """Train twelve steps in a process of its own, evaluated three times on one batch each, and return its exit code.

    on_evaluation: called at each evaluation. full_at: the change to the disk that finds it full. changes: where to
    write the list of changes.
    """

    def train_in(
        output: Path,
        on_evaluation: Callable[[], None] = lambda: None,
        *,
        full_at: int = -1,
        changes: Path | None = None,
        **settings: Any,
    ) -> int:
        def measured(logits: Any, batch: Any) -> tuple[float, int]:
            on_evaluation()
            return 0.0, 1

        def act() -> None:
            shape = {"tokenizer": "byte", "d_model": 32, "num_layers": 2, "num_heads": 2, "max_seq_len": 32}
            length = {
                "max_steps": 12,
                "batch_size": 2,
                "eval_steps": 4,
                "save_steps": 4,
                "sample_steps": 0,
                "val_split": 0.01,
            }
            given = {
                **shape,
                **length,
                "eval_batch_size": 64,
                "precision": "fp32",
                "device": "cpu",
                "threads": 1,
                **settings,
            }
            try:
                with watched(output, full_at, "error") as operations:
                    textmill.train(
                        data=str(book),
                        cache_dir=str(cache_dir),
                        output_dir=str(output),
                        metrics={"m": measured},
                        **given,
                    )
                if changes is not None:
                    changes.write_text(json.dumps([[kind, path] for kind, path, *_ in operations.record]))
            except TextmillError as error:
                (tmp_path / "error").write_text(str(error))
                os._exit(error.exit_code)

        return in_child(act)

    return train_in


def limit_file_size() -> None:
    """No file of this process grows further: writing more fails as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE_LIMIT, resource.RLIM_INFINITY))


def lift_limit() -> None:
    """Somebody has made room."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def changing_disk(changes: dict[int, Callable[[], None]]) -> Callable[[], None]:
    """Return what makes these changes at the evaluations of these numbers."""
    evaluations = count(1)
    return lambda: changes.get(next(evaluations), lambda: None)()


def test_a_last_save_that_fails_ends_the_run_with_74(train: Callable[..., int], tmp_path: Path) -> None:
    """Nothing was ever saved: the error says so, and neither the status nor the folder claims otherwise."""
    assert train(tmp_path / "run", limit_file_size, save_steps=100, eval_steps=12) == 74
    following = f"Free space on the disk, then: textmill train --output-dir {tmp_path / 'run'} --resume"
    assert (tmp_path / "error").read_text().endswith(f"; nothing of the run is saved. {following}")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["exit_code"], status["resumable"]) == ("failed", 74, False)
    assert not (tmp_path / "run" / "final").exists()


def test_a_last_save_that_fails_names_the_step_to_resume_from(train: Callable[..., int], tmp_path: Path) -> None:
    """The disk is full from the second evaluation on; with room again, the run ends as if nothing had happened."""
    assert train(tmp_path / "run", changing_disk({2: limit_file_size})) == 74
    following = f"Free space on the disk, then: textmill train --output-dir {tmp_path / 'run'} --resume"
    assert (tmp_path / "error").read_text().endswith(f"; the run can be resumed from step 4. {following}")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["resumable"] is True
    assert "will retry at the next save" in (tmp_path / "run" / "train.log").read_text()
    assert train(tmp_path / "run", resume=True) == 0
    assert train(tmp_path / "whole") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_the_third_failed_save_in_a_row_ends_the_run(train: Callable[..., int], tmp_path: Path) -> None:
    """The saves of steps 2 to 4 fail: the run ends at step 4 and can be resumed from step 1."""
    full = changing_disk({2: limit_file_size})
    assert train(tmp_path / "run", full, save_steps=1, eval_steps=1) == 74
    assert "can be resumed from step 1" in (tmp_path / "error").read_text()
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert (status["state"], status["step"]) == ("failed", 4)


def test_failed_saves_with_one_between_that_works_are_tolerated(train: Callable[..., int], tmp_path: Path) -> None:
    """Twice two saves in a row fail; the run ends as if nothing had happened."""
    full = changing_disk({2: limit_file_size, 4: lift_limit, 6: limit_file_size, 8: lift_limit})
    assert train(tmp_path / "run", full, save_steps=1, eval_steps=1) == 0
    assert (tmp_path / "run/train.log").read_text().count("will retry at the next save") == 4
    assert train(tmp_path / "whole", save_steps=1, eval_steps=1) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def spoil_weights_after(step: int) -> RemovableHandle:
    """Make a weight NaN after the optimizer step of this number."""
    taken = count(1)

    def spoil(optimizer: Optimizer, arguments: object, options: object) -> None:
        if next(taken) == step:
            optimizer.param_groups[0]["params"][0].data.view(-1)[0] = float("nan")

    return register_optimizer_step_post_hook(spoil)


def test_weights_that_are_not_numbers_are_not_saved(train: Callable[..., int], tmp_path: Path) -> None:
    """A weight becomes NaN after step 6: the save of step 8 refuses it, and step 4 is left to resume from."""
    with spoil_weights_after(6):
        assert train(tmp_path / "run") == 70
    assert "contains NaN or infinite values" in (tmp_path / "error").read_text()
    assert [folder.name for folder in (tmp_path / "run/checkpoints").iterdir()] == ["step-0000004"]


def test_a_run_whose_gradients_are_never_numbers_ends(train: Callable[..., int], tmp_path: Path) -> None:
    """After step 2 no gradient is finite: five skipped steps are tolerated, and the run ends at the next report."""
    with spoil_weights_after(2):
        assert train(tmp_path / "run", logging_steps=1, eval_steps=12, save_steps=12) == 70
    assert "the gradients of 5 steps in a row were not finite, up to step 7" in (tmp_path / "error").read_text()


def test_a_signal_whose_save_fails_ends_with_74(train: Callable[..., int], tmp_path: Path) -> None:
    """A stopped run that could not be saved is not reported as saved."""

    def stop() -> None:
        limit_file_size()
        os.kill(os.getpid(), signal.SIGTERM)

    assert train(tmp_path / "run", stop) == 74
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"
    assert "continue    " not in (tmp_path / "run" / "train.log").read_text()


def test_no_room_for_best_model_is_tolerated(train: Callable[..., int], tmp_path: Path) -> None:
    """The disk is full when best_model/ is linked for the first time: said once, and linked by the next save."""
    assert train(tmp_path / "whole", changes=tmp_path / "changes") == 0
    changes = json.loads((tmp_path / "changes").read_text())
    first = next(
        number
        for number, (kind, path, *_) in enumerate(changes)
        if kind == "write" and "-best_model-" in Path(path).parent.name
    )
    assert train(tmp_path / "run", full_at=first) == 0
    assert "best_model: No space left on device; training continues" in (tmp_path / "run" / "train.log").read_text()
    assert_same_run(tmp_path / "whole", tmp_path / "run")

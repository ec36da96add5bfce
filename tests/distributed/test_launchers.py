"""The real launchers, which start python anew for every process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.rank_processes import free_port, values

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
data: book.txt
cache_dir: cache
tokenizer: byte
d_model: 32
num_layers: 1
num_heads: 2
max_seq_len: 32
batch_size: 4
max_steps: 100000
sample_steps: 0
logging_steps: 1
eval_steps: 100000
save_steps: 100000
device: cpu
"""

SRUN = """#!/bin/bash
echo $$ > launcher.pid
exec "$@"
"""


def batch_script() -> str:
    """Return the script that the page on scale shows."""
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    found = re.search(r"```sh\n(#!/bin/bash\n#SBATCH.*?)```", page, re.DOTALL)
    assert found
    return found[1]


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_the_batch_script_of_the_documentation_trains_and_stops_on_sigterm(tmp_path: Path) -> None:
    """The script as it is printed, with stand-ins for SLURM's two commands: torchrun, two processes, a saved stop."""
    port = free_port()
    script = batch_script()
    assert "29500" in script
    write_program(tmp_path / "job.sh", script.replace("29500", str(port)))
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "srun", SRUN)
    write_program(programs / "scontrol", "#!/bin/bash\necho 127.0.0.1\n")
    (tmp_path / "train.yaml").write_text(CONFIG)
    (tmp_path / "book.txt").write_text(Path(__file__).read_text()[:2000])
    variables = {
        "SLURM_JOB_NODELIST": "node1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_GPUS_ON_NODE": "2",
        "SLURM_JOB_ID": "7",
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    output = tmp_path / "output.txt"
    with output.open("w") as file:
        job = subprocess.Popen(
            ["bash", "job.sh"], cwd=tmp_path, env={**os.environ, **variables}, stdout=file, stderr=file
        )
        run = tmp_path / "runs" / "book"
        try:
            deadline = time.monotonic() + 100
            while not (run / "steps.jsonl").exists() or len(values(run / "steps.jsonl", "step")) < 3:
                assert job.poll() is None and time.monotonic() < deadline, output.read_text()
                time.sleep(0.05)
            os.kill(int((tmp_path / "launcher.pid").read_text()), signal.SIGTERM)
            job.wait(60)
        finally:
            job.kill()
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["exit_code"], status["reason"]) == ("interrupted", 143, "SIGTERM"), (
        output.read_text()
    )
    assert (run / "checkpoints" / f"step-{status['step']:07d}").is_dir()
    assert "4 rows of 32 x 2 processes = 8 rows" in output.read_text()
    assert output.read_text().count("textmill   ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torch.distributed.run", "torch.distributed.launch"])
def test_both_launchers_start_the_same_run(small_command: list[str], tmp_path: Path, launcher: str) -> None:
    """torchrun, and the older launcher whose --local-rank comes before the verb, train to the end."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", launcher, "--nproc_per_node=2", f"--master_port={free_port()}", "-m", "textmill"]
    command += [*small_command, "--max-steps", "3", "--sample-steps", "0", "--device", "cpu", "--output-dir", str(run)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert values(run / "steps.jsonl", "step") == [1, 2, 3]

"""Which code of the user made a run: the commit of the folder it was started in, and the script that started it."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

_SECONDS = 2.0
"""Seconds that git may take to answer."""


def describe_user_code() -> dict[str, Any]:
    """Return `commit`, of the repository that the current folder belongs to, and `script` with its `script_sha256`.

    None for what is missing: no repository, no git, no commit yet; no script, as at a prompt or in a notebook.
    """
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0].endswith(".py") else None
    try:
        content = None if script is None else script.read_bytes()
    except OSError:
        content = None
    return {
        "commit": _commit(),
        "script": str(script) if content is not None else None,
        "script_sha256": hashlib.sha256(content).hexdigest() if content is not None else None,
    }


def _commit() -> str | None:
    """Return the hash of HEAD. This command reads, and runs nothing that a repository could name."""
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    found = done.stdout.strip()
    return found if done.returncode == 0 and found.isalnum() else None

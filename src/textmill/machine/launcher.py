"""The variables that a launcher such as torchrun sets for the processes of a run. Nothing else reads them."""

import os

from textmill.errors import ConfigError


def launcher_variable(name: str, default: int) -> int:
    """Return RANK, LOCAL_RANK, WORLD_SIZE or LOCAL_WORLD_SIZE. Raises ConfigError if it is not a number."""
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"the environment variable {name} is {text!r}, not a number; launchers set it") from None


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of a launcher; known before the processes have joined."""
    return launcher_variable("RANK", 0) == 0

"""What the files beside a tokenizer's vocabulary say about its special tokens."""

from pathlib import Path
from typing import Any

from textmill import files
from textmill.errors import DataError, one_line
from textmill.tokenizers.tokenizer import ROLES

CONFIG = "tokenizer_config.json"


def settings_of(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file; empty if there is no such file. Raises DataError if it cannot be read."""
    try:
        content = files.parse_json(files.read_bytes(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error
    return content if isinstance(content, dict) else {}


def declared_tokens(folder: Path) -> dict[str, str]:
    """Return the EOS, BOS, unknown and padding tokens that special_tokens_map.json and tokenizer_config.json name.

    `add_bos_token` and `add_eos_token` do not count beside a tokenizer.json, which says itself what is put around a
    text; see `gpt2_files` for those of the older pair of files.
    """
    declared = {}
    for name in ("special_tokens_map.json", CONFIG):
        content = settings_of(folder / name)
        for role in ROLES:
            token = token_name(content.get(role))
            if token is not None:
                declared[role] = token
    return declared


def token_name(described: Any) -> str | None:
    """Return the text of a token that a file describes, as text or as an object with `content`; None for neither."""
    name = described.get("content") if isinstance(described, dict) else described
    return name if isinstance(name, str) else None

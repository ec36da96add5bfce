"""Load existing tokenizers: our folders, Hugging Face folders, GPT-2's two files, names on the hub."""

import json
from pathlib import Path
from typing import Any

from textmill import files
from textmill.config.tokenizer_kinds import NEW_KINDS
from textmill.errors import DataError, MissingInputError, TextmillError, one_line
from textmill.hub_access import hub_client
from textmill.tokenizers.check_foreign import MOST_BYTES, backend_errors, check_foreign
from textmill.tokenizers.declared_tokens import CONFIG, declared_tokens
from textmill.tokenizers.gpt2_files import from_gpt2_files
from textmill.tokenizers.new_tokenizers import END_OF_TEXT
from textmill.tokenizers.tokenizer import Tokenizer

HUB_PREFIX = "hf:"
_FILES = ("tokenizer.json", CONFIG, "special_tokens_map.json", "vocab.json", "merges.txt")
_USUAL_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>")


def load_tokenizer(source: str | Path) -> Tokenizer:
    """Return the tokenizer at `source`.

    `source` is a folder with tokenizer.json or with vocab.json and merges.txt (or one whose `tokenizer` folder has
    them: a run, a prepared corpus), one of those files, or `hf:NAME` for a model's name on the Hugging Face hub.

    Raises:
        MissingInputError: there is nothing at `source`, or the hub cannot be reached and has not been before.
        DataError: the files are not a tokenizer, or not as a manifest beside them lists them.
    """
    if str(source).startswith(HUB_PREFIX):
        return _from_hub(str(source).removeprefix(HUB_PREFIX))
    path = files.expand_home(source)
    if not path.exists():
        if str(source) in NEW_KINDS:
            raise MissingInputError(
                f"a {source} tokenizer is made in training: give the folder of a run, or one with tokenizer.json"
            )
        raise MissingInputError(
            f"there is no tokenizer at {path}: use char, byte, bpe, unigram, a folder with tokenizer.json, or hf:NAME"
        )
    if path.is_file():
        _refuse_changed(path.parent)
    if path.name in ("vocab.json", "merges.txt") and path.is_file():
        return from_gpt2_files(path.with_name("vocab.json"), path.with_name("merges.txt"))
    if path.is_file():
        return _from_json(path, declared_tokens(path.parent))
    for folder in (path, path / "tokenizer"):
        _refuse_changed(folder)
        if (folder / "tokenizer.json").is_file():
            return _from_json(folder / "tokenizer.json", declared_tokens(folder))
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return from_gpt2_files(folder / "vocab.json", folder / "merges.txt")
    raise MissingInputError(f"{path} contains no tokenizer: expected tokenizer.json, or vocab.json and merges.txt")


def _refuse_changed(folder: Path) -> None:
    """Raise DataError if the files of the tokenizer in `folder` are not as the manifest there lists them, if any."""
    if problems := files.listed_problems(folder, _FILES):
        raise DataError(
            f"the tokenizer in {folder} is damaged: {'; '.join(problems)}. {files.without_manifest(problems)}"
        )


def is_missing_folder(name: str) -> bool:
    """Return whether `name` is clearly a path and does not exist: a tokenizer that is yet to be trained."""
    path = files.expand_home(name)
    return "/" in name and not name.startswith(HUB_PREFIX) and not path.suffix and not path.exists()


def _from_json(path: Path, declared: dict[str, str]) -> Tokenizer:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} is larger than {MOST_BYTES >> 20} MB: it is no tokenizer.json")
        content = files.read_text(path)
        described = files.parse_json(content)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a tokenizer.json: {one_line(error)}") from error
    if not isinstance(described, dict) or not isinstance(described.get("model"), dict):
        raise DataError(f'{path} is not a tokenizer.json of Hugging Face tokenizers: it has no "model"')
    with files.report_damage(path, "get the tokenizer again"), backend_errors(f"{path} cannot be used"):
        if _drop_limits(described):
            content = json.dumps(described, ensure_ascii=False)
        check_foreign(path, content, described)
        tokenizer = Tokenizer(content, declared)
        if tokenizer.eos_id is None and tokenizer.kind != "char":
            special = {token["content"] for token in described.get("added_tokens", []) if token["special"]}
            end = next((name for name in _USUAL_ENDS if name in special), None)
            if end is not None:
                return Tokenizer(content, {**declared, "eos_token": end})
        return tokenizer


def _drop_limits(described: dict[str, Any]) -> bool:
    """Remove truncation and padding, which textmill does for itself; return whether there were any."""
    limits = [name for name in ("truncation", "padding") if described.get(name) is not None]
    described.update(dict.fromkeys(limits))
    return bool(limits)


def _from_hub(name: str) -> Tokenizer:
    """Return the tokenizer of a model on the hub, from the local cache if it was downloaded before."""
    try:
        path = _hub_file(name, "tokenizer.json")
        if path is None:
            vocab, merges = _hub_file(name, "vocab.json"), _hub_file(name, "merges.txt")
            if vocab is None or merges is None:
                raise MissingInputError(f"{HUB_PREFIX}{name} has no tokenizer.json, and no vocab.json with merges.txt")
            _hub_file(name, CONFIG)  # beside them
            return from_gpt2_files(vocab, merges)
        declared = _hub_file(name, CONFIG)
    except TextmillError:
        raise
    except Exception as error:  # connection, name, permission: the hub's errors share no base class
        raise MissingInputError(
            f"cannot get the tokenizer {HUB_PREFIX}{name} from the Hugging Face hub ({one_line(error)}): "
            "check the name and the network, or give a folder with tokenizer.json"
        ) from error
    return _from_json(path, declared_tokens(declared.parent) if declared is not None else {})


def _hub_file(name: str, filename: str) -> Path | None:
    """Return the local copy of a file on the hub, downloaded if necessary; None if the model has no such file."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    known = try_to_load_from_cache(name, filename)
    if isinstance(known, str):
        return Path(known)
    try:
        with hub_client(constants.ENDPOINT):
            return Path(hf_hub_download(name, filename))
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return None

"""The older form of a byte-level BPE tokenizer: vocab.json and merges.txt, as GPT-2 has it."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from textmill import files
from textmill.errors import DataError, MissingInputError, one_line
from textmill.tokenizers.declared_tokens import CONFIG, declared_tokens, settings_of, token_name
from textmill.tokenizers.new_tokenizers import END_OF_TEXT
from textmill.tokenizers.tokenizer import Tokenizer


def from_gpt2_files(vocab: Path, merges: Path) -> Tokenizer:
    """Return the byte-level BPE tokenizer of GPT-2's two files.

    The files beside them name its special tokens, which are added if the vocabulary lacks them, and say which ones are
    put around a text (`add_bos_token`, `add_eos_token`): transformers' rules.

    Raises:
        MissingInputError, DataError: a file is missing or is not what its name says.
    """
    for path in (vocab, merges):
        if not path.is_file():
            raise MissingInputError(f"{path} is missing: vocab.json and merges.txt belong together")
    try:
        backend = Backend(models.BPE.from_file(str(vocab), str(merges)))
    except Exception as error:  # the backend raises plain Exception
        raise DataError(f"{vocab} and {merges.name} are not a BPE tokenizer: {one_line(error)}") from error
    asked = settings_of(vocab.with_name(CONFIG))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=asked.get("add_prefix_space") is True)
    backend.decoder = decoders.ByteLevel()
    declared = declared_tokens(vocab.parent)
    if backend.token_to_id(END_OF_TEXT) is not None:
        backend.add_special_tokens([_special(END_OF_TEXT)])
        usual = {role: END_OF_TEXT for role in ("bos_token", "eos_token") if role not in asked}
        declared = {**usual, **declared}
    _add_tokens(backend, vocab.parent, asked, declared)
    before, after = (_around(role, asked, declared) for role in ("bos", "eos"))
    if before or after:
        ids = [(name, backend.token_to_id(name)) for name in {before, after} if name]
        single = [name for name in (before, "$A", after) if name]
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return Tokenizer.from_backend(backend, declared)


def _add_tokens(backend: Backend, folder: Path, asked: dict[str, Any], declared: dict[str, str]) -> None:
    """Add the tokens that the vocabulary lacks: those with ids of their own in the order of these, then the others."""
    older = folder / "added_tokens.json"
    with files.report_damage(older, "get the tokenizer again"):
        numbered: dict[int, Any] = {int(number): name for name, number in settings_of(older).items()}
    with files.report_damage(folder / CONFIG, "get the tokenizer again"):
        numbered |= {int(number): token for number, token in (asked.get("added_tokens_decoder") or {}).items()}
        tokens = [numbered[number] for number in sorted(numbered)]
        tokens += [declared[role] for role in ("bos_token", "eos_token", "unk_token", "pad_token") if role in declared]
        tokens += asked.get("additional_special_tokens") or []
        for token in tokens:
            name = token_name(token) or ""
            if isinstance(token, dict) and not token.get("special", True):
                backend.add_tokens([AddedToken(name, normalized=bool(token.get("normalized", True)))])
            else:
                backend.add_special_tokens([_special(name)])


def _special(name: str) -> AddedToken:
    return AddedToken(name, special=True, normalized=False)


def _around(role: str, asked: dict[str, Any], declared: dict[str, str]) -> str | None:
    """Return the token that is put on the side of `role`, "bos" or "eos", of every text; None for none."""
    return declared.get(f"{role}_token") if asked.get(f"add_{role}_token") is True else None

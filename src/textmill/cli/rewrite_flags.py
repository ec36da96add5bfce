"""From the flags people type to the flags the parser knows.

Other spellings become canonical names, a switch takes an optional value from a closed set, `--no-X` means false, and
every value is joined to its flag, so that the parser never mistakes a value for a file or a flag.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from textmill.config.aliases import ALIASES, REWRITES
from textmill.config.field_types import closest
from textmill.config.fields import SECTIONS
from textmill.config.setting_lookup import is_list, is_switch, section_of, validate
from textmill.errors import ConfigError

_UNSET = frozenset({"none", "null"})
_BOOL = frozenset({"true", "false", "yes", "no", "on", "off", "0", "1"})
_PRECISIONS = frozenset({"auto", "fp16", "bf16", "fp32", "float16", "bfloat16", "float32"})
_OPTIONAL: dict[str, Callable[[str], object]] = {
    "mixed_precision": (_BOOL | _PRECISIONS).__contains__,
    "early_stopping": re.compile(r"true|false|yes|no|on|off|[0-9]+").fullmatch,
    "compile": (_BOOL | {"auto"}).__contains__,
    "resume": re.compile(r"true|false|yes|no|on|off|0|1|auto|best|last|final|(step|epoch)-[0-9]+").fullmatch,
}
"""Spellings that may stand alone -> which next words are their value. All other switches take a boolean word."""

_SEVERAL: dict[str, frozenset[str]] = {
    "report_to": frozenset({"tensorboard", "wandb", "mlflow"}),
    "augmentation": frozenset({"case", "punctuation", "whitespace"}),
}
"""Lists whose words are known: `--report-to tensorboard wandb` takes both."""

VERB_ALIASES: dict[str, dict[str, str]] = {
    "generate": {
        "max_tokens": "max_new_tokens",
        "max_length": "max_new_tokens",
        "num_return_sequences": "num_samples",
        "tokenizer_path": "tokenizer",
    },
}
"""Other spellings that only one verb knows, beside the aliases of the configuration."""


class Rewriter:
    """Rewrites the arguments of one verb; `spelling` then says how each canonical flag was typed.

    verb: its first word. flags: canonical name -> whether the flag takes a value, unlike a switch such as --json.
    """

    def __init__(self, verb: str, flags: Mapping[str, bool]) -> None:
        self._verb = verb
        self.flags = flags
        self.aliases = VERB_ALIASES.get(verb, {})
        self.spelling: dict[str, str] = {}
        self._values: dict[str, list[str]] = {}
        self._positional: list[str] = []

    def rewrite(self, arguments: Sequence[str]) -> list[str]:
        """Return the arguments in canonical flags, positionals first.

        Raises:
            ConfigError: an unknown flag, a missing value, or one setting given two different values.
        """
        words = list(arguments)
        if self._verb == "train" and words[:1] == ["model"] and "--data" in words and not Path("model").is_file():
            del words[0]  # a guide writes `train model --data FILE`; its --output ./model leaves a folder of that name
        plain: list[str] = []
        while words:
            word = words.pop(0)
            if word == "--":
                self._positional += words
                break
            if word.startswith("--"):
                plain += self._flag(word, words)
            elif self._is_assignment(word):
                plain += self._flag(f"--{word}", words)
            elif re.fullmatch(r"-[a-zA-Z]", word):
                plain.append(word)
            else:
                self._positional.append(word)
        valued = [f"--{name.replace('_', '-')}={value}" for name, values in self._values.items() for value in values]
        tail = ["--", *self._positional] if any(word.startswith("-") for word in self._positional) else self._positional
        return [*plain, *valued, *tail]

    def _flag(self, word: str, words: list[str]) -> list[str]:
        """Take one flag with its value off `words`; return it when the parser is to see it as it stands."""
        typed, equals, value = word.partition("=")
        name = _without_section(typed[2:].replace("-", "_"))
        if name in {"help", "version"}:
            return [typed]
        canonical = self._canonical(name)
        negated = self._canonical(name.removeprefix("no_")) if canonical is None else None
        if negated is not None and self._stands_alone(negated):
            if equals:
                raise ConfigError(f"{typed}: takes no value")
            self._add(negated, typed, "false")
            return []
        if canonical is None:
            known = [*self.flags, *self.aliases, *(name for name, setting in ALIASES.items() if setting in self.flags)]
            nearest = closest(name, known).replace("_", "-").replace("'", "'--", 1)
            raise ConfigError(f"{typed}: no such flag{nearest}")
        if not self.flags[canonical]:
            self.spelling[canonical] = typed
            return [f"--{canonical.replace('_', '-')}{equals}{value}"]
        for item in [value] if equals else self._following(canonical, typed, words):
            self._add(canonical, typed, item)
        return []

    def _is_assignment(self, word: str) -> bool:
        """Return whether a word is `model.d_model=64` or `d_model=64`, as other tools write settings, and no file."""
        name, equals, _ = word.partition("=")
        known = _without_section(name) != name or self._canonical(name) is not None
        return bool(equals) and known and "data" in self.flags and not Path(word).exists()

    def _canonical(self, name: str) -> str | None:
        """Return the verb's own name for a flag, or None where it has none."""
        candidates = (name, self.aliases.get(name), ALIASES.get(name))
        return next((candidate for candidate in candidates if candidate in self.flags), None)

    def _stands_alone(self, name: str) -> bool:
        return (section_of(name) is not None and is_switch(name)) or (name in REWRITES and name not in _WITH_VALUE)

    def _following(self, name: str, typed: str, words: list[str]) -> list[str]:
        """Return the values that follow a flag, taken off `words`."""
        if self._stands_alone(name):
            accepts = _OPTIONAL.get(name, _BOOL.__contains__)
            value = words[0].lower() if words else ""
            return [words.pop(0)] if value in _UNSET or accepts(value) else ["true"]
        if not words or re.match("--([^-]|$)", words[0]):  # `---` is a value, such as a line between documents
            raise ConfigError(f"{typed}: needs a value")
        values = [words.pop(0)]
        known = _SEVERAL.get(name, frozenset())
        while words and all(part in known for part in words[0].lower().split(",")):
            values.append(words.pop(0))
        if name == "val_data":
            values += self._more_files(typed, words)
        if name == "betas" and words and re.fullmatch(r"[0-9.e-]+", words[0]) and "," not in values[0]:
            values = [f"{values[0]},{words.pop(0)}"]
        return values

    def _more_files(self, typed: str, words: list[str]) -> list[str]:
        """Return further validation files, as a shell makes of `val/*.txt`.

        One word after the value is the training text; several are further values where the training text came before,
        and anything else would be a guess.
        """
        more = list(takewhile(lambda word: not word.startswith("-"), words))
        if self._positional or self._values.get("data"):
            del words[: len(more)]
            return more
        if len(more) > 1:
            raise ConfigError(f"{typed}: takes one file here; name the training text first, or quote the pattern")
        return []

    def _add(self, name: str, typed: str, value: str) -> None:
        """Note a value; the same again is fine, a different one for a single setting is not."""
        values = self._values.setdefault(name, [])
        first = self.spelling.setdefault(name, typed)
        repeats = not (section_of(name) is not None and not is_list(name)) and name not in REWRITES
        if not values or repeats:
            values.append(value)
        elif values[0] != value and (
            section_of(name) is None or validate(name, values[0], first) != validate(name, value, typed)
        ):
            raise ConfigError(f"{typed}: {value!r} contradicts {first}: {values[0]!r}; both set {name}: leave one out")


def _without_section(name: str) -> str:
    """Return `d_model` for `model.d_model`, and other names as they are."""
    section, _, setting = name.partition(".")
    return setting if section in SECTIONS and setting else name


_WITH_VALUE = frozenset({"amp_dtype", "files_from", "train_split", "betas", "save_every"})
"""Rewritten spellings that always have a value."""

"""Which language a document is in: by py3langid, of the extra `data`, or by a function of the user's.

The model of py3langid 0.4 is an array of NumPy, read without pickle; it tells 139 languages from each other.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from typing import Any

from textmill.config.field_types import closest
from textmill.errors import ConfigError, DataError
from textmill.imports import optional, require, resolve_callable

LOOKED_AT = 2000
"""Characters by which the language of a document is told, from _SAMPLES positions in its first part."""

UNCERTAIN = "und"
"""The code of ISO 639 for a text whose language is not known."""

_SAMPLES = 4
_LEAST = 0.5  # probability, of all languages that are wanted together
_ALIASES = {"nb": "no", "cmn": "zh", "iw": "he", "in": "id", "fil": "tl"}


def sample_of(part: str) -> str:
    """Return the characters of the first part of a document by which its language is told."""
    if len(part) <= LOOKED_AT:
        return part
    size, step = LOOKED_AT // _SAMPLES, len(part) // _SAMPLES
    return "\n".join(part[start : start + size] for start in range(0, step * _SAMPLES, step))


class Languages:
    """Tells whether a text is in one of some languages.

    With a function of the user's, which takes a text and returns the code of its language, any code is a language.
    """

    def __init__(self, wanted: Sequence[str], function: str | None = None) -> None:
        """Raises MissingExtraError without py3langid, ConfigError for a language that it does not know."""
        self._function: Callable[[str], Any] | None = None
        self._name = function
        if function is not None:
            self._function = resolve_callable(function)
            self._wanted = {code.lower() for code in wanted}
            return
        known = known_languages()
        codes = [_ALIASES.get(code.lower(), code.lower()) for code in wanted]
        for code, given in zip(codes, wanted):
            if code not in known:
                such = closest(code, known) or f": it knows {', '.join(sorted(known))}"
                raise ConfigError(
                    f"languages: py3langid does not know {given!r}{such}. --scripts filters by script, and "
                    "--language-function names a function that knows more languages"
                )
        self._wanted = set(codes)

    def accepts(self, text: str) -> bool:
        """Whether `text` is at least as likely in one of the languages as in any other."""
        if self._function is None:
            return bool(text) and sum(p for code, p in _identifier().rank(text) if code in self._wanted) >= _LEAST
        code = self._function(text)
        if not isinstance(code, str):
            raise DataError(f"{self._name} returned {code!r:.60}: it must return the code of a language, such as 'en'")
        return code.lower() in self._wanted


def known_languages() -> set[str]:
    """Return the codes that py3langid knows. Raises MissingExtraError without it."""
    return set(_identifier().labels) - {"zxx"}  # which stands for no language at all


def language_of(text: str) -> str:
    """Return the code of the most likely language of `text`, UNCERTAIN if it is none or less likely than not."""
    code, probability = _identifier().classify(text)
    return code if text and probability >= _LEAST and code != "zxx" else UNCERTAIN


def identity(languages: Sequence[str], function: str | None) -> dict[str, Any]:
    """Return what the languages of documents depend on, as plain values."""
    model = function
    if function is None:
        optional("py3langid", "--languages")
        model = f"py3langid {metadata.version('py3langid')}"
    return {"languages": sorted(languages), "language_model": model}


@cache
def _identifier() -> Any:
    """Return the model of py3langid, which gives probabilities; loading it takes half a second."""
    require("py3langid", "telling languages apart", "data")
    if _release() < (0, 4):
        raise ConfigError(
            "py3langid is older than 0.4, whose model is no pickle: pip install --upgrade 'textmill[data]'"
        )
    langid = optional("py3langid.langid", "telling languages apart")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in metadata.version("py3langid").split(".")[:2])

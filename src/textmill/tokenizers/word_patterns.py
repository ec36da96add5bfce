"""Patterns that cut text into words before BPE: no token is learned across the end of a word.

Sources: Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2); o200k_base of OpenAI's tiktoken
(GPT-4o). Both go into tokenizer.json as transformers reads them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, pre_tokenizers

from textmill.errors import ConfigError, one_line
from textmill.tokenizers.normal_forms import normal_form_of


@dataclass(frozen=True)
class WordPattern:
    """A pattern whose matches, one after the other, are a whole text.

    regex: in the syntax of the library tokenizers. ranked: the same for tiktoken, where it can be faster spelled so.
    """

    name: str
    regex: str
    ranked: str


GPT2 = WordPattern(
    "gpt2",
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    # Without backtracking; the last two alternatives are its `\s+`.
    r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
)
"""Words of letters; a mark, such as a vowel sign of Khmer or Hindi, ends them."""

_GPT4O = "|".join(
    [
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    ]
)
GPT4O = WordPattern("gpt4o", _GPT4O, _GPT4O)
"""Words of letters and marks, with one character before them, such as a space or the tsheg of Tibetan; three digits."""

SEPARATORS = "\u0f0b\u1361"
"""The tsheg of Tibetan and the word space of Ethiopic: they stand between words, as spaces do elsewhere."""

LONGEST_WORD = 512
"""Characters of a word that merges are learned from. Words with spaces around them are far shorter."""

_IN_NAMES = "<(?=0x)"

PATTERNS = {pattern.name: pattern for pattern in (GPT2, GPT4O)}


def pre_tokenizer(pattern: str) -> Any:
    """Return what cuts text by `pattern` and spells it by bytes, for BPE: a name in PATTERNS or a regular expression.

    Raises ConfigError for an expression that the library does not understand.
    """
    if pattern == GPT2.name:
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence([_cut(pattern), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def splitter(pattern: str) -> Any:
    """Return what cuts text by `pattern`, and the names of bytes (see `byte_fallback`) within it, for Unigram.

    Raises ConfigError for an expression that the library does not understand.
    """
    if pattern in PATTERNS:  # both cut between a sign and a digit, as the names have them
        return _cut(pattern)
    return pre_tokenizers.Sequence([_cut(pattern), pre_tokenizers.Split(Regex(_IN_NAMES), behavior="isolated")])


def _cut(pattern: str) -> Any:
    regex = PATTERNS[pattern].regex if pattern in PATTERNS else pattern
    try:
        cut = pre_tokenizers.Split(Regex(regex), behavior="isolated")
    except Exception as error:  # the library raises plain Exception
        names = " or ".join(PATTERNS)
        raise ConfigError(f"split_pattern must be {names} or a regular expression: {one_line(error)}") from error
    return cut


def cut_long_words(texts: Iterable[str], pattern: str) -> Iterator[str]:
    """Yield `texts` to learn from, cut within words of more than LONGEST_WORD characters; together they are the same.

    Learning merges takes time with the square of a word's length: 20 s for 100 kB of Chinese without a break.
    """
    words = pre_tokenizer(pattern)
    for text in texts:
        runs = text.split()
        if max(map(len, runs), default=0) <= LONGEST_WORD:
            yield text
            continue
        start = begin = 0
        for run in runs:
            begin = text.index(run, begin)
            for _, (first, end) in words.pre_tokenize_str(run) if len(run) > LONGEST_WORD else ():
                for cut in range(begin + first + LONGEST_WORD, begin + end, LONGEST_WORD):
                    yield text[start:cut]
                    start = cut
            begin += len(run)
        yield text[start:]


def pattern_of(described: dict[str, Any]) -> str | None:
    """Return the pattern by which byte-level BPE or Unigram cuts text, by its name if it has one, else None.

    described: the content of a tokenizer.json.
    """
    parts = described.get("pre_tokenizer") or {}
    if described.get("normalizer") is not None and normal_form_of(described) is None:
        return None
    if parts.get("type") == "ByteLevel":
        plain = parts.get("use_regex", True) and not parts.get("add_prefix_space", True)
        return GPT2.name if plain else None
    steps = parts.get("pretokenizers", []) if parts.get("type") == "Sequence" else [parts]
    cut, *rest = steps or [{}]
    if cut.get("type") != "Split" or not _cuts_no_further(rest, described["model"].get("type")):
        return None
    regex = cut.get("pattern", {}).get("Regex")
    if regex is None or cut.get("behavior") != "Isolated" or cut.get("invert"):
        return None
    return next((name for name, known in PATTERNS.items() if known.regex == regex), regex)


def _cuts_no_further(steps: list[dict[str, Any]], model: Any) -> bool:
    """Return whether `steps`, after the pattern, are those that `pre_tokenizer` or `splitter` adds."""
    if model == "Unigram":
        return all(step.get("type") == "Split" and step.get("pattern") == {"Regex": _IN_NAMES} for step in steps)
    return [step.get("type") for step in steps] == ["ByteLevel"] and not (
        steps[0].get("use_regex", True) or steps[0].get("add_prefix_space", True)
    )

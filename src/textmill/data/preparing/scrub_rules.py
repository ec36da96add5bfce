"""What secrets and e-mail addresses look like: the rules by which `--scrub` finds them in a text.

Most formats of tokens come from detect-secrets (Yelp, Apache License 2.0), whose rules end where a scanner has seen
enough: a private key at its first line, a JSON Web Token before its signature. Here the whole value is found, and what
is missing there has rules of its own. Rules that name no vendor (entropy, `password = ...`) are left out: they find
more text than secrets.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import NamedTuple

from textmill.errors import MissingExtraError
from textmill.imports import optional

KINDS = ("secrets", "emails")
RULES = 1
"""The version of the rules of this file; with that of detect-secrets it is part of what a corpus depends on."""

LONGEST_KEY = 1 << 16
"""Characters that a private key may have."""

_PLUGINS = {
    "aws.AWSKeyDetector": ("AWS_KEY", ("A(?:KIA|SIA|BIA|CCA|3T)[0-9A-Z]{16}", "aws", "AWS")),
    "azure_storage_key.AzureStorageKeyDetector": ("AZURE_KEY", ("AccountKey=",)),
    "discord.DiscordBotTokenDetector": ("DISCORD_TOKEN", (r"\.[\w-]{6}\.[\w-]{27}",)),
    "github_token.GitHubTokenDetector": ("GITHUB_TOKEN", ("gh[pousr]_",)),
    "gitlab_token.GitLabTokenDetector": ("GITLAB_TOKEN", (r"gl[a-z]+-[\w-]{20}", "GR1348941")),
    "jwt.JwtTokenDetector": ("JWT", ("eyJ",)),
    "mailchimp.MailchimpDetector": ("MAILCHIMP_KEY", (r"-us\d",)),
    "npm.NpmDetector": ("NPM_TOKEN", (":_authToken=",)),
    "openai.OpenAIDetector": ("OPENAI_KEY", ("T3BlbkFJ",)),
    "pypi_token.PypiTokenDetector": ("PYPI_TOKEN", ("pypi-Ag",)),
    "sendgrid.SendGridDetector": ("SENDGRID_KEY", (r"SG\.",)),
    "slack.SlackDetector": ("SLACK_TOKEN", ("xox", r"hooks\.slack")),
    "square_oauth.SquareOAuthDetector": ("SQUARE_TOKEN", ("sq0csp-",)),
    "stripe.StripeDetector": ("STRIPE_KEY", ("k_live_",)),
    "telegram_token.TelegramBotTokenDetector": ("TELEGRAM_TOKEN", (":[0-9A-Za-z_-]{35}",)),
    "twilio.TwilioKeyDetector": ("TWILIO_KEY", ("AC[a-z0-9]{32}", "SK[a-z0-9]{32}")),
}
"""Detector of detect-secrets -> its placeholder, and anchors (see `Rule`).

Left out are those whose rules name no vendor, and Cloudant and SoftLayer, whose keys are of the past and whose rules
are slow.
"""

_PRIVATE_KEY = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_KEY_FIELD = r"[A-Z][A-Za-z-]+: [^\n\\]*"  # as Proc-Type, Version, Comment
BEGIN_OF_KEY = re.compile(rf"-{{4,5}} ?BEGIN {_PRIVATE_KEY}|PuTTY-User-Key-File-\d:")
END_OF_KEY = re.compile(rf"-{{4,5}} ?END {_PRIVATE_KEY}|Private-MAC: \w+")
_PEM = re.compile(
    rf"-{{4,5}} ?BEGIN {_PRIVATE_KEY}"
    rf"(?:(?P<body>(?:[^-]|-(?!---)){{0,{LONGEST_KEY}}}?)-{{4,5}} ?END {_PRIVATE_KEY}"
    rf"|(?:(?:\s|\\+[nr]|[\"'+#>|*,]|{_KEY_FIELD})*[A-Za-z0-9+/=]{{16,}}){{1,1000}})"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/=]{16,}")
_ONE_WORD = re.compile(r"(?:\s|\\n)*[A-Za-z0-9+/=]+(?:\s|\\n)*")
_TEMPLATE = re.compile(r"\$.*|\{.*\}|<.*>|\[.*\]|%\w?|%\(.*\)s|\*+|x+|X+|\.+")
"""What stands for a password in documentation and code."""


class Match(NamedTuple):
    """A value to be replaced: text[start:end], and what it is."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Rule:
    """How one kind of value is found.

    Attributes:
        label: the name of its placeholder.
        pattern: of the value; with groups without names, the last one that matched is the value.
        anchors: patterns of which a text with such a value has one. They begin with letters, so looking for them is
            ten times as fast as looking for values.
        more: how the value may go on behind the pattern.
        accepts: whether what the pattern finds is such a value.
    """

    label: str
    pattern: re.Pattern[str]
    anchors: tuple[str, ...]
    more: re.Pattern[str] | None = None
    accepts: Callable[[re.Match[str]], bool] | None = None

    def find(self, text: str) -> Iterator[Match]:
        """Yield the values in `text`, in their order."""
        for found in self.pattern.finditer(text):
            if self.accepts is None or self.accepts(found):
                start, end = found.span(0 if found.lastgroup else found.lastindex or 0)
                more = self.more.match(text, end) if self.more is not None else None
                yield Match(start, end if more is None else more.end(), self.label)


def _alone(found: re.Match[str]) -> bool:
    """Whether an AWS key is no part of a longer word of capitals and digits, such as the sequence of a protein."""
    if found.lastindex:
        return True
    text, (start, end) = found.string, found.span()
    return not re.match("[A-Z0-9]", text[start - 1 : start]) and not re.match("[A-Z0-9]", text[end : end + 1])


def _is_key(found: re.Match[str]) -> bool:
    """Whether what stands between the first and the last line of a private key is one, not a text about keys."""
    body = found["body"]
    if body is None or _ONE_WORD.fullmatch(body):
        return True
    return 2 * sum(map(len, _BASE64.findall(body))) >= len("".join(body.split()))


def _is_password(found: re.Match[str]) -> bool:
    return _TEMPLATE.fullmatch(found[1]) is None


_WORD = re.compile(r"[\w-]+", re.ASCII)

_OWN = (
    Rule("PRIVATE_KEY", _PEM, ("PRIVATE KEY",), None, _is_key),
    Rule(
        "PRIVATE_KEY",
        re.compile(rf"PuTTY-User-Key-File-\d:[\s\S]{{0,{LONGEST_KEY}}}?Private-MAC: \w+"),
        ("PuTTY-User-Key-File-",),
    ),
    Rule("PASSWORD", re.compile(r"""://[^\s:/?#"'<>]*:([^\s/"'<>,]+)@(?=[\w\[{$<%])"""), ("://",), None, _is_password),
    Rule("PASSWORD", re.compile(r"://[^\s:/?#\"'<>@]+@[^\s:/?#\"'<>@]+:([^\s/\"'<>,@]+)@(?=[\w\[])"), ("://",)),
    Rule(
        "AWS_KEY",
        re.compile(
            r"(?:aws_?secret_?(?:access_?)?key|secret_?access_?key|session_?token)"
            r"['\"]?[ \t]{0,4}(?::|=|=>|:=)[ \t]{0,4}['\"]?"
            r"([0-9a-zA-Z/+=]{40,})(?![0-9a-zA-Z/+=])",
            re.IGNORECASE,
        ),
        ("ecret_?(?:acc|k)", "ecretAcc", "ECRET_?(?:ACC|K)", "ession_?[tT]oken", "ESSION_?TOKEN"),
    ),
    Rule("GITHUB_TOKEN", re.compile(r"github_pat_\w{22,}", re.ASCII), ("github_pat_",)),
    Rule("SLACK_TOKEN", re.compile(r"\b(?:xox[a-z](?:\.xox[a-z])?|xapp)-[\w%-]{16,}", re.ASCII), ("xox", "xapp-")),
    Rule("STRIPE_KEY", re.compile(r"(?:sk|rk)_(?:test|live)_\w{16,}", re.ASCII), ("k_live_", "k_test_")),
    Rule("STRIPE_KEY", re.compile(r"\bwhsec_\w{24,}", re.ASCII), ("whsec_",)),
    Rule("GOOGLE_KEY", re.compile(r"AIza[\w-]{35}|\bGOCSPX-[\w-]{28}", re.ASCII), ("AIza", "GOCSPX-")),
    Rule("HUGGING_FACE_TOKEN", re.compile(r"\bhf_[A-Za-z0-9]{34}"), ("hf_",), _WORD),
    Rule("ANTHROPIC_KEY", re.compile(r"\bsk-ant-[\w-]{20,}", re.ASCII), ("sk-ant-",)),
    Rule(
        "OPENAI_KEY",
        re.compile(r"\bsk-(?:(?:proj|svcacct|admin)-[\w-]{20,}|[A-Za-z0-9]{48}\b)", re.ASCII),
        ("sk-",),
    ),
    Rule("NPM_TOKEN", re.compile(r"\bnpm_[A-Za-z0-9]{36}\b"), ("npm_",)),
)
"""Values of which detect-secrets finds a part, and formats that it does not know; as their vendors describe them."""


@cache
def secret_rules() -> tuple[Rule, ...]:
    """Return the rules for secrets. Raises MissingExtraError without detect-secrets."""
    optional("detect_secrets", "--scrub secrets")
    signature = re.compile(r"[A-Za-z0-9_+/=-]*(?:\.[A-Za-z0-9_+/=-]*[A-Za-z0-9_=-])*")
    rules = list(_OWN)
    for name, (label, anchors) in _PLUGINS.items():
        module, _, class_name = name.partition(".")
        detector = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), class_name)
        more = {"JWT": signature, "AWS_KEY": None, "NPM_TOKEN": None}.get(label, _WORD)
        if label == "SLACK_TOKEN":
            more = re.compile(r"[\w/-]+", re.ASCII)
        accepts = {"AWS_KEY": _alone, "JWT": lambda found: found[0].index(".") >= 15}.get(label)
        for pattern in detector.denylist:
            rules.append(Rule(label, _plain(pattern, label), anchors, more, accepts))
    return tuple(rules)


@cache
def _anchored() -> list[tuple[Callable[[str], object], list[tuple[int, Rule]]]]:
    """Return, for each anchor, its search and the rules for texts that have it, with their numbers."""
    by_anchor: dict[str, list[tuple[int, Rule]]] = {}
    for number, rule in enumerate(secret_rules()):
        for anchor in rule.anchors:
            by_anchor.setdefault(anchor, []).append((number, rule))
    return [(re.compile(anchor, re.ASCII).search, rules) for anchor, rules in by_anchor.items()]


def _plain(pattern: re.Pattern[str], label: str) -> re.Pattern[str]:
    """Return a pattern of detect-secrets whose last group, if it has one, is the value.

    In its patterns for GitHub and GitLab a group is the beginning of the token.
    """
    if label in ("GITHUB_TOKEN", "GITLAB_TOKEN"):
        return re.compile(re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern.pattern), pattern.flags)
    return pattern


_LETTER = "A-Za-z0-9À-ÖØ-öø-ɏ"  # an address may stand between Chinese or Khmer letters, which are not part of it
_DOMAIN = re.compile(
    rf"@(?:[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?\.)+"
    rf"(?!(?:png|jpe?g|gif|svg|webp|bmp|js|ts|s?css|html?|json|xml|pdf)\b)"  # image@2x.png
    rf"(?:[a-z]{{2,24}}|[A-Z]{{2,24}})(?!-?[{_LETTER}_])"
)
_LOCAL = re.compile(rf"[{_LETTER}_+](?:[{_LETTER}_.%+~&'-]{{0,62}}[{_LETTER}_+-])?\Z")
_LONGEST_LOCAL = 64
_OF_A_URL = re.compile(r"://[^\s/?#]*\Z")


def find_emails(text: str) -> Iterator[Match]:
    """Yield the e-mail addresses in `text`, by the rules of HTML without rare signs: `user@host` of a URL is none."""
    position = 0
    if "@" not in text:
        return
    for found in _DOMAIN.finditer(text):
        before = max(position, found.start() - _LONGEST_LOCAL)
        local = _LOCAL.search(text, before, found.start())
        if local is None or local[0] == "git":  # git@github.com:... is an address of a repository
            continue
        if _OF_A_URL.search(text, max(0, local.start() - 200), local.start()):
            continue
        position = found.end()
        yield Match(local.start(), position, "EMAIL")


def find_values(text: str, kinds: tuple[str, ...]) -> list[Match]:
    """Return what is to be replaced in `text`, in order, without overlaps. Raises MissingExtraError."""
    found: list[Match] = []
    if "secrets" in kinds:
        rules = {number: rule for search, some in _anchored() if search(text) for number, rule in some}
        found = _merged(sorted(match for rule in rules.values() for match in rule.find(text)))
    if "emails" in kinds and (emails := list(find_emails(text))):
        apart = [one for one in emails if not any(one.start < two.end and two.start < one.end for two in found)]
        found = sorted(found + apart)
    return found


def available_kinds() -> tuple[str, ...]:
    """Return the kinds of values that are found here: secrets only where detect-secrets is installed."""
    try:
        secret_rules()
    except MissingExtraError:
        return tuple(kind for kind in KINDS if kind != "secrets")
    return KINDS


def _merged(matches: list[Match]) -> list[Match]:
    """Return sorted matches with overlapping ones joined: the first names it, and nothing of the others stays."""
    merged: list[Match] = []
    for match in matches:
        if merged and match.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, match.end))
        else:
            merged.append(match)
    return merged


def identity(kinds: tuple[str, ...]) -> dict[str, object]:
    """Return what scrubbed text depends on, as plain values. Raises MissingExtraError without detect-secrets."""
    rules = f"textmill {RULES}"
    if "secrets" in kinds:
        optional("detect_secrets", "--scrub secrets")
        rules += f", detect-secrets {metadata.version('detect-secrets')}"
    return {"scrub": list(kinds), "scrub_rules": rules}

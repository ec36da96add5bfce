"""Secrets and e-mail addresses become placeholders: none stays, anywhere; other text stays as it is."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.small_corpora import kept, made, write
from textmill.cli.main import main
from textmill.data import Corpus, prepare
from textmill.data.preparing import scrub_rules
from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.scrub import ScrubReport, scrubbed
from textmill.data.reading.document import Document
from textmill.errors import ConfigError, Interrupted, MissingExtraError
from textmill.runs.layout import CORPUS_REPORT

KINDS = ("secrets", "emails")
LETTERS = string.ascii_letters + string.digits
chance = random.Random(7)


@pytest.fixture
def detector() -> None:
    """The package that finds secrets."""
    pytest.importorskip("detect_secrets", reason="needs detect-secrets, of the extras data and test")


def drawn(length: int, letters: str = LETTERS) -> str:
    """Random characters: no secret stands in this file."""
    return "".join(chance.choice(letters) for _ in range(length))


def key_id() -> str:
    return chance.choice(["AK", "AS"]) + "IA" + drawn(16, string.ascii_uppercase + "234567")


def private_key(kind: str = "", line_end: str = "\n", fields: str = "") -> str:
    """A key in PEM of random bytes, with its first and last line."""
    body = base64.b64encode(chance.randbytes(600)).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    dashes, what = "-" * 5, f"{kind}PRIVATE KEY{' BLOCK' if kind == 'PGP ' else ''}{'-' * 5}"
    return line_end.join([f"{dashes}BEGIN {what}", *([fields, ""] if fields else []), *lines, f"{dashes}END {what}"])


def putty() -> str:
    lines = "\n".join(drawn(64) for _ in range(8))
    return f"PuTTY-User-Key-File-{3}: ssh-rsa\nEncryption: none\nPrivate-Lines: 8\n{lines}\nPrivate-MAC: {drawn(40)}"


def web_token() -> str:
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}), json.dumps({"sub": drawn(8)})]
    encoded = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, drawn(43)])


def email() -> str:
    return (
        f"{drawn(6).lower()}.{drawn(4)}+{drawn(2)}@{drawn(5).lower()}.example.{chance.choice(['org', 'co.uk', 'de'])}"
    )


MAKERS: dict[str, list[tuple[str, Callable[[], str]]]] = {
    "AWS_KEY": [
        *[(f'client("{{}}", {number})', key_id) for number in range(8)],
        *[("[default]\naws_access_key_id = {}", key_id) for _ in range(8)],
        *[("aws_secret_access_key = {}\n", lambda: drawn(40, LETTERS + "/+")) for _ in range(4)],
        *[("AWS_SECRET_KEY='{}'", lambda: drawn(40, LETTERS + "/+")) for _ in range(2)],
        *[('{{"SecretAccessKey": "{}"}}', lambda: drawn(40, LETTERS + "/+")) for _ in range(2)],
    ],
    "PRIVATE_KEY": [
        ("before\n{}\nafter", lambda: private_key("RSA ")),
        ("{}", lambda: private_key("EC ")),
        ("{}", lambda: private_key("DSA ")),
        ("{}", lambda: private_key("OPENSSH ")),
        ("{}", lambda: private_key("ENCRYPTED ")),
        ("{}\n", private_key),
        ("text {} text", lambda: private_key("PGP ", fields="Version: GnuPG v2")),
        ("{}", lambda: private_key("RSA ", fields=f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,{drawn(32)}")),
        ("tls:\n  key: |\n    {}\n  port: 1", lambda: private_key("RSA ", "\n    ")),
        ('{{"private_key": "{}\\n"}}', lambda: private_key("", "\\n")),
        ('KEY = ("{}")', lambda: private_key("RSA ", '\\n"\n       "')),
        ("{}\n", putty),
    ],
    "GITHUB_TOKEN": [
        ("git clone https://{}@github.com/a/b", lambda: f"ghp_{drawn(36)}"),
        ("token: {}", lambda: f"ghs_{drawn(36)}"),
        ("token: {}", lambda: f"github_pat_{drawn(22)}_{drawn(59)}"),
    ],
    "SLACK_TOKEN": [
        ("x = '{}'", lambda: f"xoxb-{drawn(12, string.digits)}-{drawn(12, string.digits)}-{drawn(24)}"),
        ("x = '{}'", lambda: f"xoxp-{drawn(24)}"),
        ("curl {}", lambda: f"https://hooks.slack.com/services/T{drawn(8)}/B{drawn(8)}/{drawn(24)}"),
    ],
    "STRIPE_KEY": [
        ("pay({})", lambda: f"sk_live_{drawn(24)}"),
        ("pay({})", lambda: f"sk_live_51{drawn(97)}"),
        ("pay({})", lambda: f"rk_test_{drawn(24)}"),
    ],
    "JWT": [("Authorization: Bearer {}.", web_token), ("cookie={}; path=/", web_token)],
    "PASSWORD": [
        ("postgres://bob:{}@db.example.com:5432/x", lambda: drawn(12)),
        ("redis://:{}@localhost", lambda: f"p{drawn(8)}!$&"),
        ("smtp://bob:{}@{{host}}", lambda: drawn(9)),
        ("mongodb+srv://bob:{}@a.example.net,", lambda: drawn(16)),
    ],
    "OPENAI_KEY": [("{}", lambda: f"sk-proj-{drawn(40)}"), ("'{}'", lambda: f"sk-{drawn(20)}T3BlbkFJ{drawn(20)}")],
    "ANTHROPIC_KEY": [("{}", lambda: f"sk-ant-api03-{drawn(60)}-AA")],
    "GOOGLE_KEY": [("?key={}&x", lambda: f"AIza{drawn(35)}")],
    "GITLAB_TOKEN": [("{}", lambda: f"glpat-{drawn(20)}")],
    "HUGGING_FACE_TOKEN": [("{}", lambda: f"hf_{drawn(34)}")],
    "NPM_TOKEN": [("{}", lambda: f"npm_{drawn(36)}")],
    "SENDGRID_KEY": [("{}", lambda: f"SG.{drawn(22)}.{drawn(43)}")],
    "EMAIL": [
        ("From: Amy <{}>", email),
        ("联系{}获取，ទាក់ទង", email),
        ("mailto:{}?subject=x", email),
        ("https://example.com/?mail={}&x=1", email),
        ("write to {}.", email),
    ],
}
"""Label -> what stands around such values, and what makes one."""

CLEAN = [
    "A key begins with -----BEGIN PRIVATE KEY----- and ends, many lines later, with -----END PRIVATE KEY----- alone.",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "url = f'postgres://{user}:{password}@{host}' and https://user:$PASSWORD@host and http://a.b:80/@c",
    "git@github.com:someone/project.git, image@2x.png, @decorator.name, a@b, (A @ B.T), ssh://bob@example.com/x",
    "MKVAKIAGGGGSSSSLLLLAKIAVVVVTTTTPPPPQQQQRRRR",
    "task-management, desk-organizer-something-longer-than-that, sha256 " + "0123456789abcdef" * 4,
    "The password is secret. Asia and AWS are words; eyJ is the beginning of a token.",
]


def planted() -> tuple[list[str], list[str], list[str]]:
    """Documents with every kind of value, the same with placeholders, and the values."""
    texts, expected, values = [], [], []
    for label, makers in MAKERS.items():
        for around, make in makers:
            value = make()
            values.append(value)
            texts.append(f"Some text.\n{around.format(value)} more")
            expected.append(f"Some text.\n{around.format(f'<{label}_1>')} more")
    return texts, expected, values


def scrub(text: str, *cuts: int, kinds: tuple[str, ...] = KINDS) -> str:
    """The text with placeholders, read in parts that end at `cuts`."""
    ends = [*sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    parts = [text[start:end] for start, end in zip([0, *ends], ends)]
    documents = [Document(part, "a.txt", number < len(parts) - 1) for number, part in enumerate(parts)]
    return "".join(part.text for part in scrubbed(documents, kinds, ScrubReport()))


def nowhere(folder: Path, values: list[str], said: str) -> None:
    """No file below `folder` and nothing said has a line of one of the values."""
    written = said.encode() + b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for value in values:
        for piece in re.split(r"\s+|\\n", value):
            if len(piece) >= 12 and not re.search("PRIVATE|PuTTY|Encryption|Private", piece):
                bytes_ = piece.encode()
                assert bytes_ not in written and np.frombuffer(bytes_, np.uint8).astype("<u2").tobytes() not in written


@pytest.mark.usefixtures("detector")
def test_nothing_that_was_planted_stays(tmp_path: Path) -> None:
    """24 keys of AWS, 12 private keys, tokens, passwords and addresses: each a placeholder, all else as it was."""
    texts, expected, values = planted()
    assert len(MAKERS["AWS_KEY"]) == 24 and len(MAKERS["PRIVATE_KEY"]) == 12
    for text, wanted in zip(texts, expected):
        assert scrub(text) == wanted
    source = write(tmp_path / "train.jsonl", texts + CLEAN)
    out, said = tmp_path / "out", list[str]()
    cleaning = Cleaning(scrub=KINDS)
    corpus = prepare(source, val_split=0, tokenizer="byte", cleaning=cleaning, output=out, say=said.append)
    assert kept(corpus) == expected + CLEAN
    found = corpus.report["train"]["scrubbed"]
    assert {label: what["number"] for label, what in found.items()} == {label: len(of) for label, of in MAKERS.items()}
    assert found["AWS_KEY"]["lines"] == [f"{source}:{number}" for number in range(1, 25)]
    assert sum("scrubbed 24 AWS_KEY, 12 PRIVATE_KEY" in sentence for sentence in said) == 1
    assert f"- `{source}:25`" in (out / CORPUS_REPORT).read_text("utf-8")
    nowhere(out, values, "\n".join(said))


@pytest.mark.usefixtures("detector")
def test_files_and_tables(tmp_path: Path) -> None:
    """Source code, YAML, CSV and Parquet are scrubbed too; lines are those of the file, rows those of the table."""
    texts, expected, values = planted()
    folder = tmp_path / "tree"
    folder.mkdir()
    everything = "\n".join(texts)
    (folder / "a.py").write_text(everything, "utf-8")
    (folder / "b.yaml").write_text("x: 1\n\n" + texts[30], "utf-8")
    rows = [{"text": text} for text in texts[:30]]
    items: list[str | Path] = [folder]
    if (arrow := pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, of the extra data")) is not None:
        import pyarrow

        arrow.write_table(pyarrow.Table.from_pylist(rows), folder / "c.parquet")
    corpus = prepare(items, val_split=0, tokenizer="byte", cleaning=Cleaning(scrub=KINDS), output=tmp_path / "out")
    documents = kept(corpus)
    assert re.sub(r"_\d+>", "_1>", documents[0]) == "\n".join(expected)
    assert documents[1] == "x: 1\n\n" + expected[30] and documents[2:] == expected[:30]
    lines = corpus.report["train"]["scrubbed"]["PRIVATE_KEY"]["lines"]
    begin = everything[: everything.index("-----BEGIN")].count("\n") + 1
    assert lines[0] == f"{folder / 'a.py'}:{begin}" and f"{folder / 'c.parquet'}:25" in lines
    nowhere(tmp_path / "out", values, "")


@pytest.mark.parametrize("text", CLEAN)
@pytest.mark.usefixtures("detector")
def test_text_without_values_stays(text: str) -> None:
    """Templates of passwords, texts about keys, addresses of repositories, proteins and file names are left alone."""
    assert scrub(text) == text


@pytest.mark.usefixtures("detector")
def test_a_key_without_an_end_goes_with_its_lines() -> None:
    """A private key that is cut off is replaced as far as it goes, and the text behind it stays."""
    key = private_key("RSA ").rpartition("\n")[0]
    assert scrub(f"a\n{key}\n\nAnd then.") == "a\n<PRIVATE_KEY_1>\n\nAnd then."


def test_equal_values_have_equal_numbers() -> None:
    """Within a document; in the next one they begin with 1. What is scrubbed once is not changed again."""
    documents = [Document("a@example.org b@example.org a@example.org", "x"), Document("b@example.org", "y")]
    texts = [part.text for part in scrubbed(documents, ("emails",), ScrubReport())]
    assert texts == ["<EMAIL_1> <EMAIL_2> <EMAIL_1>", "<EMAIL_1>"]
    assert scrub(texts[0], kinds=("emails",)) == texts[0]


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 100_000), max_size=6), seed=st.integers(0, 50))
def test_parts_of_a_document_do_not_matter(cuts: list[int], seed: int) -> None:
    """However a document is divided into parts, also within a value, it becomes the same text."""
    pytest.importorskip("detect_secrets", reason="needs detect-secrets, of the extras data and test")
    texts, _, _ = planted()
    random.Random(seed).shuffle(texts)
    text = "\n".join(texts[:20])
    assert scrub(text, *cuts) == scrub(text)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_long_lines_are_cut_beside_values(cuts: list[int]) -> None:
    """A line that is longer than what is looked at again is scrubbed in parts to the same text."""
    text = " ".join(f"word word {number}@example.org" for number in range(200))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textmill.data.preparing.scrub.LONG_LINE", 300)
        patch.setattr("textmill.data.preparing.scrub.CONTEXT", 40)
        assert scrub(text, *cuts, kinds=("emails",)) == scrub(text, kinds=("emails",))


def mails(number: int) -> list[str]:
    return [f"Mail {index} from user{index % 7}@example.org\nto amy@example.com. " * 30 for index in range(number)]


def ids_of(corpus: Corpus) -> np.ndarray:
    return corpus.train.read(0, len(corpus.train))


def test_one_thread_and_many_give_the_same(tmp_path: Path) -> None:
    """The ids, the tokenizer and the report are equal, with texts that were read twice more for it."""
    source = write(tmp_path / "a.jsonl", mails(60))
    options: dict[str, Any] = {"cleaning": Cleaning(scrub=("emails",)), "vocab_size": 300}
    one = prepare(source, output=tmp_path / "one", workers=1, **options)
    many = prepare(source, output=tmp_path / "many", workers=4, **options)
    assert np.array_equal(ids_of(one), ids_of(many))
    assert (one.fingerprint, one.report) == (many.fingerprint, many.report)
    assert one.tokenizer is not None and "@" not in one.tokenizer.decode(ids_of(one))


def test_interrupted_preparing_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while it encodes, it becomes the same corpus as in one go; another choice of kinds is another corpus."""
    monkeypatch.setattr("textmill.data.preparing.chunks.LARGE", 2_000)
    source = write(tmp_path / "a.jsonl", mails(60))
    options: dict[str, Any] = {"tokenizer": "byte", "val_split": 0, "cleaning": Cleaning(scrub=("emails",))}
    whole = prepare(source, output=tmp_path / "whole", **options)
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        prepare(source, output=tmp_path / "parts", interrupted=stop, workers=1, **options)
    again = prepare(source, output=tmp_path / "parts", **options)
    assert np.array_equal(ids_of(whole), ids_of(again)) and whole.report == again.report
    plain = made(tmp_path, mails(60))
    assert (
        plain.folder != made(tmp_path, mails(60), scrub=("emails",)).folder and "scrubbed" not in plain.report["train"]
    )


def test_what_the_key_of_a_corpus_says() -> None:
    """Kinds in any order, and the version of the rules; corpora that are not scrubbed keep their key."""
    assert "scrub" not in Cleaning().identity()
    assert Cleaning(scrub=("emails",)).identity()["scrub_rules"] == f"textmill {scrub_rules.RULES}"
    assert Cleaning(scrub=("emails", "secrets")).scrub == KINDS
    for wrong in ((), ("passwords",), ("emails", "")):
        with pytest.raises(ConfigError, match="choose secrets or emails, or both"):
            Cleaning(scrub=wrong)


def test_standard_input_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was piped in is deleted from the cache when it is scrubbed, after a refusal too; what was there stays."""
    piped = io.TextIOWrapper(io.BytesIO(b"mail amy@example.com\n<|endoftext|>\n" * 9))
    monkeypatch.setattr(sys, "stdin", piped)
    said: list[str] = []
    options: dict[str, Any] = {"tokenizer": "byte", "val_split": 0, "cache_dir": tmp_path, "say": said.append}
    corpus = prepare("-", cleaning=Cleaning(scrub=("emails",)), **options)
    assert kept(corpus) == ["mail <EMAIL_1>\n"] * 9
    assert any("is deleted" in sentence for sentence in said)
    nowhere(tmp_path, ["amy@example.com"], "\n".join(said))
    with pytest.raises(ConfigError):
        prepare(iter(["mail bob@example.com"] * 3), cleaning=Cleaning(scrub=("emails",)), vocab_size=1, **options)
    nowhere(tmp_path, ["bob@example.com"], "")
    prepare(iter(["mail amy@example.com"] * 3), **options)
    prepare(iter(["mail amy@example.com"] * 3), cleaning=Cleaning(scrub=("emails",)), **options)
    assert len(list((tmp_path / "texts").iterdir())) == 1


def test_without_the_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses need no package; for secrets one line says which is missing, and `textmill data` is silent."""
    monkeypatch.setitem(sys.modules, "detect_secrets", None)
    scrub_rules.secret_rules.cache_clear()
    assert scrub_rules.available_kinds() == ("emails",)
    assert kept(made(tmp_path, ["to amy@example.com"] * 2, scrub=("emails",))) == ["to <EMAIL_1>"] * 2
    with pytest.raises(MissingExtraError, match=r"^--scrub secrets needs detect_secrets.*'textmill\[data\]'$"):
        made(tmp_path, ["text"], scrub=KINDS)


@pytest.mark.usefixtures("detector")
def test_the_data_report_offers_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`textmill data` counts values, names the first line and the flag, and shows none; nor does `prepare`."""
    texts, _, values = planted()
    (tmp_path / "a.txt").write_text("\n".join(texts), "utf-8")
    assert main(["data", str(tmp_path / "a.txt")]) == 0
    shown = capsys.readouterr().out
    number = sum(len(makers) for label, makers in MAKERS.items() if label != "EMAIL")
    assert re.search(
        rf"\b{number} keys, tokens and passwords in URLs: --scrub secrets \(first: .*a.txt, line 2\)", shown
    )
    assert "5 e-mail addresses: --scrub emails" in shown
    out = tmp_path / "out"
    flags = ["--output", str(out), "--scrub", "emails,secrets", "--cache-dir", str(tmp_path / "cache"), "--json"]
    assert main(["prepare", str(tmp_path / "a.txt"), *flags]) == 0
    heard = capsys.readouterr()
    nowhere(out, values, shown + heard.out + heard.err)
    assert json.loads(heard.out)["report"]["train"]["scrubbed"]["JWT"]["number"] == 2

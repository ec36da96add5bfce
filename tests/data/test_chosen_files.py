"""Which files of a tree are read: patterns, lists of files, what git ignores."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.small_corpora import kept
from textmill.cli.main import main
from textmill.data import list_files, prepare
from textmill.data.sources.file_rules import FileRules
from textmill.data.sources.git_ignore import GitIgnore
from textmill.data.sources.glob_patterns import git_pattern, with_alternatives
from textmill.errors import ConfigError, DataError, MissingInputError

TREE = ("a.py", "b.md", "c.txt", "data/d.csv", "docs/e.md", "docs/deep/f.txt", "src/g.py", "src/tests/h.py", "i.foo")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of small files, each with its own path as text."""
    folder = tmp_path / "tree"
    for name in TREE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"the text of {name}")
    return folder


def below(folder: Path, found: list[Path]) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"include": ["*.{py,md}"]}, "a.py b.md docs/e.md src/g.py src/tests/h.py"),
        ({"include": ["docs/"]}, "docs/e.md docs/deep/f.txt"),
        ({"include": ["/*.md", "src/*.py"]}, "b.md src/g.py"),
        ({"include": ["*.foo", "*.csv"]}, "data/d.csv i.foo"),
        ({"exclude": ["tests/", "*.{md,txt}"]}, "a.py src/g.py"),
        ({"exclude": ["docs/**"]}, "a.py b.md c.txt src/g.py src/tests/h.py"),
        ({"exclude": ["*.py", "!g.py"]}, "b.md c.txt docs/e.md docs/deep/f.txt src/g.py"),
        ({"include": ["src/**"], "exclude": ["h.*"]}, "src/g.py"),
    ],
)
def test_patterns_choose_files(tree: Path, rules: dict[str, list[str]], expected: str) -> None:
    """Paths below the folder, as gitignore(5) has them, with braces; an extension that is asked for is read."""
    chosen = FileRules(tuple(rules.get("include", ())), tuple(rules.get("exclude", ())), source_code=False)
    found = list_files(tree, rules=chosen)
    assert below(tree, found) == set(expected.split())


def test_patterns_choose_among_what_a_glob_matches(tree: Path) -> None:
    """They go by the path below the folder of the glob, and leave a file that is named alone."""
    rules = FileRules(include=("docs/",), exclude=("deep/",))
    assert below(tree, list_files(tree / "**" / "*.*", rules=rules)) == {"docs/e.md"}
    assert list_files(tree / "a.py", rules=rules) == [tree / "a.py"]


def test_what_patterns_leave_out_is_said(tree: Path) -> None:
    """Each reason once, with files; a pattern that matches nothing is said, and one that means nothing refused."""
    said: list[str] = []
    list_files(tree, said.append, rules=FileRules(include=("*.py", "*.rst"), exclude=("src/tests/", "nothing")))
    assert "--include *.rst matches nothing in what was named" in said
    assert "--exclude nothing matches nothing in what was named" in said
    assert any(sentence.startswith("skipped, because --include leaves it out:") for sentence in said)
    assert f"skipped, because --exclude leaves it out: {tree / 'src' / 'tests'}" in said
    with pytest.raises(ConfigError, match="exclude is '#', which matches nothing"):
        FileRules(exclude=("#",))
    with pytest.raises(MissingInputError, match=r"no text file .*--include leaves it out"):
        list_files(tree, rules=FileRules(include=("*.rs",)))


def test_alternatives_in_braces() -> None:
    """As a shell expands them; braces without a comma are characters."""
    assert with_alternatives("{a,b}/*.{c,d}") == ["a/*.c", "a/*.d", "b/*.c", "b/*.d"]
    assert with_alternatives("{a,{b,c}x}") == ["a", "bx", "cx"]
    assert with_alternatives("{a}") == ["{a}"]


PIECES = (
    "a",
    "b",
    "ab",
    "*",
    "?",
    "[ab]",
    "[!a]",
    "a*",
    "*.c",
    "[a-b]",
    "[[:alpha:]]",
    "[]a]",
    "\\*",
    "a/**/b",
    "a/**",
)
NAMES = ("a", "b", "ab", "a.c", "b.c", "*", "]")


def random_patterns(dice: random.Random) -> str:
    """Return some lines of a .gitignore."""
    lines = []
    for _ in range(dice.randint(1, 4)):
        body = "/".join(dice.choice(PIECES) for _ in range(dice.randint(1, 2)))
        ending = dice.choice(["", "", "/"]) if not body.endswith("**") else ""
        lines.append(dice.choice(["", "", "!"]) + dice.choice(["", "/", "**/"]) + body + ending)
    return "\n".join(["# a comment", "", *lines, ""])


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@pytest.mark.parametrize("seed", range(8))
def test_git_ignores_the_same_files(tmp_path: Path, seed: int) -> None:
    """Random .gitignore files, inner ones too: what is left is what `git ls-files` lists."""
    dice = random.Random(seed)
    for outer in NAMES:
        for inner in NAMES:
            for name in dice.sample(NAMES, 3) if dice.random() < 0.4 else ():
                (tmp_path / outer / inner).mkdir(parents=True, exist_ok=True)
                (tmp_path / outer / inner / name).write_text("")
            if not (tmp_path / outer / inner).exists():
                (tmp_path / outer).mkdir(exist_ok=True)
                (tmp_path / outer / inner).write_text("")
    for folder in (".", "a", "b", "ab"):
        (tmp_path / folder / ".gitignore").write_text(random_patterns(dice))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    command = ["git", "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout.decode()
    expected = {name for name in listed.split("\0") if name and not name.endswith(".gitignore")}
    found = set()

    def walk(folder: Path, ignored: GitIgnore) -> None:
        for path in folder.iterdir():
            if path.name.startswith(".git"):
                continue
            if path.is_dir() and not ignored.ignores(f"{path.name}/"):
                has_file = (path / ".gitignore").exists()
                walk(path, ignored.below(path.name, path, has_git=False, has_file=has_file))
            elif path.is_file() and not ignored.ignores(path.name):
                found.add(path.relative_to(tmp_path).as_posix())

    walk(tmp_path, GitIgnore.of(tmp_path))
    assert found == expected


def test_spaces_and_comments_in_patterns() -> None:
    """Spaces at the end do not count unless a backslash is before them; a backslash makes # and ! characters."""
    assert git_pattern("  ") is None and git_pattern("# a") is None and git_pattern("/") is None
    for line, name in (("a  ", "a"), ("a\\ ", "a "), ("\\#a", "#a"), ("\\!a", "!a"), ("a\r\n", "a")):
        pattern = git_pattern(line)
        assert pattern is not None and pattern.regex.fullmatch(name) and not pattern.negated


def test_what_git_ignores_is_not_read(tree: Path, tmp_path: Path) -> None:
    """Within a repository: of the folder, of inner ones, and of those above; a flag reads it all the same."""
    (tree / ".gitignore").write_text("*.py\n")
    (tree / "docs" / ".gitignore").write_text("deep/\n")
    assert "a.py" in below(tree, list_files(tree))  # there is no repository
    (tree / ".git").mkdir()
    said: list[str] = []
    assert below(tree, list_files(tree, said.append)) == {"b.md", "c.txt", "docs/e.md"}
    assert any("a .gitignore lists it (--gitignore false reads it)" in sentence for sentence in said)
    assert below(tree, list_files(tree / "docs")) == {"docs/e.md"}
    assert len(list_files(tree, rules=FileRules(gitignore=False))) == 7


def test_a_folder_that_git_ignores_is_read_when_it_is_named(tree: Path) -> None:
    """Projects ignore their data/: whoever names it wants it; what it ignores itself still counts."""
    (tree / ".git").mkdir()
    (tree / ".gitignore").write_text("docs/\n*.md\n")
    (tree / "docs" / ".gitignore").write_text("*.txt\n")
    assert below(tree, list_files(tree / "docs")) == {"docs/e.md"}


def test_a_repository_within_has_its_own_rules(tree: Path) -> None:
    """In a folder of repositories the .gitignore of one says nothing about another."""
    for name in ("docs", "src"):
        (tree / name / ".git").mkdir()
    (tree / "docs" / ".gitignore").write_text("*.md\n*.py\n")
    assert below(tree, list_files(tree)) == set(TREE) - {"docs/e.md", "data/d.csv", "i.foo"}


def test_folders_of_tools_are_skipped(tree: Path) -> None:
    """Packages, caches and virtual environments below a folder, said; by name they are read."""
    for name in (
        "node_modules/x/x.js",
        "__pycache__/x.py",
        "env/pyvenv.cfg",
        "env/x.py",
        "target/CACHEDIR.TAG",
        ".git/x",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("no text of the author")
    said: list[str] = []
    assert below(tree, list_files(tree, said.append)) == set(TREE) - {"data/d.csv", "i.foo"}
    (sentence,) = [sentence for sentence in said if "folder that tools fill" in sentence]
    assert sentence.endswith("and 1 more")
    assert len(list_files(tree / "node_modules")) == len(list_files(tree / "env" / "x.py")) == 1


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_a_list_of_files(tree: Path, tmp_path: Path, separator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines, those of Windows, or zero bytes; in order, relative to the current folder; a folder is read whole."""
    monkeypatch.chdir(tree)
    names = ["src/g.py", "i.foo", str(tree / "a.py"), "docs"]
    (tmp_path / "list").write_bytes(separator.join(names).encode() + separator.encode())
    found = list_files(f"@{tmp_path / 'list'}")
    assert [path.name for path in found] == ["g.py", "i.foo", "a.py", "f.txt", "e.md"]


def test_a_list_that_names_what_is_missing_is_refused(tree: Path, tmp_path: Path) -> None:
    """With its line; so are an empty list and one that is not there."""
    listing = tmp_path / "list"
    listing.write_text(f"{tree / 'a.py'}\n\nmissing.py\n")
    with pytest.raises(MissingInputError, match=r"list: line 3 names missing\.py, which is missing, relative to"):
        list_files(f"@{listing}")
    listing.write_text("\n")
    with pytest.raises(DataError, match="lists no file"):
        list_files(f"@{listing}")
    with pytest.raises(MissingInputError, match="cannot read the list of files"):
        list_files(f"@{tmp_path / 'nothing'}")


def test_a_file_called_so_is_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose name begins with @ is a text."""
    monkeypatch.chdir(tmp_path)
    Path("@a").write_text("text")
    assert list_files("@a") == [Path("@a")]


def test_one_odd_file_of_a_list_is_skipped(tree: Path, tmp_path: Path) -> None:
    """A program made the list, so that it is as with a folder."""
    (tree / "b.md").write_bytes("größer".encode("latin-1"))
    (tmp_path / "list").write_text(f"{tree / 'a.py'}\n{tree / 'b.md'}\n{tree / 'c.txt'}\n")
    corpus = prepare(f"@{tmp_path / 'list'}", val_split=0, tokenizer="byte", cache_dir=tmp_path / "cache")
    assert kept(corpus) == ["the text of a.py", "the text of c.txt"]
    assert any("b.md is not UTF-8" in note for note in corpus.notes)


def test_flags_files_and_keywords_mean_the_same(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that is piped in, by a file of the configuration and by Python: one corpus, found again."""
    monkeypatch.chdir(tree)
    listing = "a.py\ndocs/e.md\nsrc\n"
    Path("list").write_text(listing)
    common = f"--tokenizer byte --val-split 0 --exclude tests/ --cache-dir {tmp_path / 'cache'}".split()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listing.encode())))
    assert main(["prepare", "--files-from", "-", *common, "--output", str(tmp_path / "piped")]) == 0
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"files_from": "list", "exclude": ["tests/"]}))
    assert main(["prepare", "--files-from", "list", *common, "--output", str(tmp_path / "flags")]) == 0
    rules = FileRules(exclude=("tests/",))
    keys = {prepare("@list", tokenizer="byte", val_split=0, rules=rules, cache_dir=tmp_path / "cache").key}
    keys |= {prepare(tmp_path / name).key for name in ("piped", "flags")}
    assert len(keys) == 1
    assert prepare("@list", tokenizer="byte", val_split=0, cache_dir=tmp_path / "cache").key not in keys
    assert "src/tests" in capsys.readouterr().err


def test_a_run_on_a_list_is_repeated_from_another_folder(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its configuration names a list of whole paths in the cache, and the patterns."""
    monkeypatch.chdir(tree)
    Path("list").write_text("src\n")
    small = "--preset tiny --tokenizer byte --max-steps 1 --d-model 8 --num-heads 2 --num-layers 1 --max-seq-len 4"
    command = f"train --files-from list --exclude tests/ {small} --batch-size 1 --val-split 0 --threads 1"
    (tree / "src" / "g.py").write_text("some more text than before " * 9)
    assert main([*command.split(), "--cache-dir", str(tmp_path / "cache"), "--output-dir", str(tmp_path / "run")]) == 0
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]
    (item,) = saved["data"]
    assert os.path.isabs(item.removeprefix("@")) and saved["exclude"] == ["tests/"]  # noqa: PTH117
    monkeypatch.chdir(tmp_path)
    assert list_files(item) == [tree / "src" / "g.py", tree / "src" / "tests" / "h.py"]
    again = ["train", "--config", str(tmp_path / "run" / "config.yaml"), "--output-dir", str(tmp_path / "again")]
    assert main(again) == 0

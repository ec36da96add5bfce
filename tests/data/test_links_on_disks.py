"""Links, and two names of one file: what is read is in what was named, and each file once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from textmill.data import list_files
from textmill.data.sources.file_selection import select_files
from textmill.errors import ConfigError, MissingInputError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder `mine` with two files, beside a file and a folder that nobody named."""
    for name in ("mine/a.txt", "mine/sub/b.txt", "secret.txt", "other/c.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(found: list[Path]) -> list[str]:
    return [path.name for path in found]


@pytest.mark.parametrize("pattern", ["", "**/*.txt"])
@pytest.mark.parametrize("target", ["..", "../secret.txt", "../other"])
def test_no_link_leads_out_of_what_was_named(tree: Path, target: str, pattern: str) -> None:
    """A link to the folder above, to a file beside, to a folder beside: not read, and said where it is read."""
    link = tree / "mine" / "z.txt"
    link.symlink_to(target)
    said: list[str] = []
    assert names(list_files(tree / "mine" / pattern, said.append)) == ["a.txt", "b.txt"]
    if not pattern or target == "../secret.txt":
        (sentence,) = said
        assert "leads out of what was named" in sentence and str(link) in sentence


def test_a_chain_of_links_leads_outside_too(tree: Path) -> None:
    """A link within, to a link within, to a file outside; and a pattern through a linked folder."""
    (tree / "mine" / "y.txt").symlink_to("sub/link.txt")
    (tree / "mine" / "sub" / "link.txt").symlink_to("../../secret.txt")
    (tree / "mine" / "out").symlink_to("../other")
    assert names(list_files(tree / "mine")) == ["a.txt", "b.txt"]
    assert names(list_files(tree / "mine" / "*" / "*.txt")) == ["b.txt"]
    with pytest.raises(MissingInputError, match="that leads out"):
        list_files(tree / "mine" / "y*.txt")


def test_a_link_that_is_named_is_followed(tree: Path) -> None:
    """Whoever names a link wants what it leads to, a file or a folder."""
    (tree / "mine" / "file").symlink_to("../secret.txt")
    (tree / "mine" / "folder").symlink_to("../other")
    assert list_files(tree / "mine" / "file")[0].read_text() == "secret.txt"
    assert [path.read_text() for path in list_files(tree / "mine" / "folder")] == ["other/c.txt"]


def test_a_link_within_leads_to_what_has_no_name_of_its_own(tree: Path) -> None:
    """A hidden store with links to it, as the hub's cache has one, is read once, by the links."""
    (tree / "mine" / ".store").mkdir()
    (tree / "mine" / ".store" / "5ca1ab1e").write_text("stored")
    (tree / "mine" / "one.txt").symlink_to(".store/5ca1ab1e")
    (tree / "mine" / "two.txt").symlink_to(".store/5ca1ab1e")
    said: list[str] = []
    assert names(list_files(tree / "mine", said.append)) == ["a.txt", "one.txt", "b.txt"]
    assert len(said) == 1 and "another name" in said[0] and "two.txt" in said[0]


@pytest.mark.parametrize("pattern", ["", "**/*.txt"])
def test_links_and_hard_links_to_what_is_read_are_no_second_text(tree: Path, pattern: str) -> None:
    """A circle, a link that sorts before its target and a hard link: each file once, the repeats counted."""
    mine = tree / "mine"
    (mine / "0.txt").symlink_to("a.txt")
    os.link(mine / "a.txt", mine / "b.txt")
    (mine / "sub" / "circle").symlink_to("..")
    said: list[str] = []
    found = list_files(mine / pattern, said.append)
    assert sorted(path.read_text() for path in found) == ["mine/a.txt", "mine/sub/b.txt"]
    assert names(found)[0] == "a.txt"
    assert len(said) == 1 and "another name" in said[0] and "0.txt" in said[0]


def test_two_spellings_are_one_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder by two paths, by a link, and a file within it: read once, in `data` and in a validation set."""
    monkeypatch.chdir(tree)
    (tree / "alias").symlink_to("mine")
    spellings = ["mine", "./mine/../mine", str(tree / "mine"), "alias", "mine/a.txt"]
    said: list[str] = []
    files = select_files(spellings, spellings[::-1], say=said.append)
    assert len(files.train) == 2 and files.validation is not None and len(files.validation) == 2
    assert any("another name" in sentence for sentence in said)
    assert [path.name for path in files.within] == ["b.txt", "b.txt"]  # of both sets: a.txt was named


def test_a_weight_of_nothing_is_refused(tree: Path) -> None:
    """A part of a mixture whose files all belong to an earlier part would have no share."""
    with pytest.raises(ConfigError, match=r"a\.txt has a weight, and all its files belong to an earlier item"):
        select_files([f"{tree / 'mine'}=0.5", f"{tree / 'mine' / 'a.txt'}=0.5"], None)


def test_a_folder_within_that_cannot_be_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is skipped and said; the folder that was named is refused."""
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    said: list[str] = []
    assert names(list_files(tree / "mine", said.append)) == ["a.txt"]
    assert len(said) == 1 and "cannot be read (Permission denied)" in said[0]
    with pytest.raises(MissingInputError, match="cannot read the folder"):
        list_files(tree / "mine" / "sub")

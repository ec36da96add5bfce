"""What the documentation says is true: every command and snippet of every page runs, and every table is fresh."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from support.doc_pages import PAGES, ROOT, Block, blocks, commands, dialogue, given
from support.doc_tables import TABLES, refreshed
from support.typed_commands import run_line
from textmill.config import load_config


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page: Path, reader_folder: Any) -> None:
    """Every block of the page that can be run runs, one after the other, in one folder."""
    reader_folder.lay_out(given(page))
    folder = reader_folder.folder
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.not_run:
            continue
        place = f"{page.name}:{block.line}"
        if block.file_name:
            (folder / block.file_name).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file_name).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            run_python(block, place, names)
        elif block.language in ("bash", "sh"):
            for command in commands(block.text):
                done = run_line(command)
                assert done.code == 0, f"{place}: {command} exits {done.code}: {done.errors or done.output}"
        elif block.language == "console":
            for command, printed in dialogue(block.text):
                compare(command, printed, place, reader_folder)
        elif block.language in ("yaml", "toml"):
            path = folder / f"snippet.{block.language}"
            path.write_text(block.text, encoding="utf-8")
            load_config(path)


def run_python(block: Block, place: str, names: dict[str, Any]) -> None:
    try:
        exec(compile("\n" * (block.line - 1) + block.text, place.partition(":")[0], "exec"), names)
    except BaseException:
        pytest.fail(f"{place}: {traceback.format_exc(limit=-3)}")


def compare(command: str, printed: list[str], place: str, desk: Any) -> None:
    """The command prints what the page shows; `...` stands for any lines, or for the rest of one."""
    wanted = "\n".join(printed).strip()
    fails = "textmill: error:" in wanted
    desk.small = not fails  # what is refused is refused as it stands
    done = run_line(command)
    desk.small = True
    said = (done.output + done.errors).strip()
    pattern = re.escape(wanted).replace(r"\.\.\.", "(?:.|\n)*")
    assert re.fullmatch(pattern, said), f"{place}: {command} prints\n{said}\nand the page shows\n{wanted}"
    assert (done.code != 0) == fails, f"{place}: {command} exits {done.code}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files that the page links to exist, and so do the headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as Markdown viewers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_on_the_map() -> None:
    """docs/index.md links to every page."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, f"docs/index.md does not mention {page.name}"


@pytest.mark.parametrize("name", TABLES)
def test_table_is_fresh(name: str) -> None:
    """The table on the page is what the code says now; `python tests/support/doc_tables.py` writes it anew."""
    page = ROOT / "docs" / TABLES[name].page
    text = page.read_text(encoding="utf-8")
    assert refreshed(text, name) == text, f"docs/{page.name} is stale: run python tests/support/doc_tables.py"


def test_few_blocks_are_left_out() -> None:
    """Four in five of the blocks that could be run are; others need a launcher, an install or a shell."""
    runnable = [
        block for page in PAGES for block in blocks(page) if block.language in ("bash", "sh", "python", "console")
    ]
    left_out = [block for block in runnable if block.not_run]
    assert len(runnable) > 50 and len(left_out) < len(runnable) / 5


def test_windows_installs_what_linux_does() -> None:
    """The lines for Windows are the command for Linux, with Windows' Python, folders and ends of lines."""
    for name in ("README.md", "docs/platforms.md"):
        page = next(page for page in PAGES if page == ROOT / name)
        linux = [
            block.text for block in blocks(page) if block.language == "bash" and ".venv/bin/textmill" in block.text
        ]
        windows = next(block.text for block in blocks(page) if block.language == "bat")
        lines = [line.strip() for text in linux for line in re.split(r"&&|\n", text) if line.strip()]
        assert [re.sub(r"^python3 ", "py ", line).replace(".venv/bin/", ".venv\\Scripts\\") for line in lines] == (
            windows.splitlines()
        )


def test_platforms_names_files_that_exist() -> None:
    """The tests and programs by which a platform is simulated are there."""
    named = re.findall(
        r"`((?:tests|benchmarks)/[\w./]+)`", (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
    )
    assert len(named) >= 3
    assert not [path for path in named if not (ROOT / path).exists()]

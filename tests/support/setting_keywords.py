"""The keyword arguments that a type checker knows: every setting and every other name of one.

    python tests/support/setting_keywords.py

writes `src/textmill/config/setting_keywords.py` anew.
"""

from __future__ import annotations

import keyword
from pathlib import Path

from textmill.config.aliases import ALIASES, REWRITES
from textmill.config.run_config import SECTION_CLASSES
from textmill.config.setting_lookup import setting_names

FILE = Path(__file__).resolve().parents[2] / "src" / "textmill" / "config" / "setting_keywords.py"

OF_TRAIN = ("data", "loss", "metrics", "model", "optimizer", "quiet", "validation")
"""Parameters of `train` with types of their own."""

HEAD = '''"""The settings as keyword arguments, for type checkers: a misspelled name is an error where it is written.

Made by `python tests/support/setting_keywords.py`. Values are checked when they are used.
"""

from typing import Any, TypedDict


class TrainKeywords(TypedDict, total=False):
    """Every setting, under any of its names, that is no parameter of `train`, and every section."""

'''

FURTHER = '''

class SettingKeywords(TrainKeywords, total=False):
    """Every setting, under any of its names, and every section."""

'''


def made() -> str:
    """Return the text of the file."""
    known = {*setting_names(), *ALIASES, *REWRITES, *SECTION_CLASSES}
    names = sorted(name for name in known if name.isidentifier() and not keyword.iskeyword(name))
    lines = {name: f"    {name}: Any\n" for name in names}
    further = [line for name, line in lines.items() if name in OF_TRAIN]
    return HEAD + "".join(line for name, line in lines.items() if name not in OF_TRAIN) + FURTHER + "".join(further)


if __name__ == "__main__":
    FILE.write_text(made(), encoding="utf-8")

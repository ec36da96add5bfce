"""Normal forms of Unicode: one spelling for what can be spelled in several ways, such as é as one character or as two.

Source: Unicode Standard Annex #15. A tokenizer normalises by the `normalizer` of its tokenizer.json, as it does in
transformers.
"""

import unicodedata
from typing import Any, Literal

from tokenizers import normalizers

from textmill.tokenizers.split_long_text import pieces

NORMAL_FORMS = {"nfc": normalizers.NFC, "nfd": normalizers.NFD, "nfkc": normalizers.NFKC}
"""nfc: composed where a composed character exists. nfd: letters and marks apart. nfkc: as nfc, and variants such as
full-width letters and ligatures become the plain ones."""

STANDARD_NAMES: dict[str, Literal["NFC", "NFD", "NFKC"]] = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC"}
"""As the module `unicodedata` calls them; its tables are newer than the backend's."""

_PIECE_CHARACTERS = 16384  # the backend keeps track of every byte; pieces keep its memory small


def normal_form_of(described: dict[str, Any]) -> str | None:
    """Return the form into which a tokenizer.json brings text, if that is all that its normalizer does, else None."""
    normalizer = described.get("normalizer")
    name = str(normalizer.get("type")).lower() if isinstance(normalizer, dict) else ""
    return name if name in NORMAL_FORMS else None


def normalized(text: str, form: str | None) -> str:
    """Return `text` in a normal form, by the tables of the library that saved tokenizers use; as it is for None."""
    if form is None or text.isascii():
        return text
    normalizer = NORMAL_FORMS[form]()
    return "".join(map(normalizer.normalize_str, pieces(text, _PIECE_CHARACTERS)))


def begins_unit(character: str) -> bool:
    """Return whether text may be cut before `character`: no form joins it with, or moves it before, what precedes.

    Marks, vowels and final consonants of Korean written as letters, and what decomposes to them, do.
    """
    first = unicodedata.normalize("NFKD", character)[0]
    return not unicodedata.category(first).startswith("M") and not "\u1160" <= first <= "\u11ff"

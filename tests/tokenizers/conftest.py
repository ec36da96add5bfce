"""One small tokenizer of every kind."""

from __future__ import annotations

import pytest

from support.awkward_texts import PROSE
from textmill.tokenizers import Tokenizer, make_byte, make_char, train_bpe


@pytest.fixture(scope="session")
def byte_tokenizer() -> Tokenizer:
    return make_byte()


@pytest.fixture(scope="session")
def char_tokenizer() -> Tokenizer:
    return make_char([PROSE])


@pytest.fixture(scope="session")
def bpe_tokenizer() -> Tokenizer:
    return train_bpe([PROSE], 400)

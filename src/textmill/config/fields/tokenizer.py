"""The section `tokenizer`: how text becomes token ids."""

from pydantic import Field

from textmill.config.field_types import Fields, Place, Texts


class TokenizerFields(Fields):
    """How text becomes token ids."""

    tokenizer: Place = "bpe"
    """char, byte, bpe (trained on the data), a saved tokenizer's path, or hf:NAME."""
    special_tokens: Texts = Field(default_factory=list)
    """Further tokens that never split, such as <|user|>."""

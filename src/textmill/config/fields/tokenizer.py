"""The section `tokenizer`: how text becomes token ids."""

from pydantic import Field

from textmill.config.field_types import Fields, PathText, Texts


class TokenizerFields(Fields):
    """How text becomes token ids."""

    tokenizer: PathText = "bpe"
    """char, byte, bpe (trained on the data), the path of a saved tokenizer, or hf:NAME."""
    special_tokens: Texts = Field(default_factory=list)
    """Additional tokens that are never split, such as <|user|>."""

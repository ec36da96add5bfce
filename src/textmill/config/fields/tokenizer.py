"""The section `tokenizer`: how text becomes token ids."""

from pydantic import Field

from textmill.config.field_types import Fields, MaybeText, PathText, Texts


class TokenizerFields(Fields):
    """How text becomes token ids."""

    tokenizer: PathText = "bpe"
    """char, byte, bpe (trained on the data), the path of a saved tokenizer, or hf:NAME."""
    eos_token: MaybeText = None
    """Token that follows every document, such as </s>. Unset: the one that the tokenizer declares."""
    special_tokens: Texts = Field(default_factory=list)
    """Additional tokens that are never split, such as <|user|>."""

"""Bytes as tokens of their own beside pieces of text, named <0x00> to <0xFF>: what spells a character without a token.

Source: Kudo and Richardson, "SentencePiece" (2018), and the parts `byte_fallback` and `ByteFallback` of Hugging Face
`tokenizers`.
"""

from typing import Any

BYTE_NAMES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""The names of the bytes 0 to 255."""

_BYTE_OF_NAME = {name: bytes([byte]) for byte, name in enumerate(BYTE_NAMES)}

DECODER = [{"type": "ByteFallback"}, {"type": "Fuse"}]
"""The steps of a decoder that joins such tokens."""


def fallback_bytes(token: str) -> bytes:
    """Return the byte that `token` names, else its text in UTF-8."""
    return _BYTE_OF_NAME.get(token) or token.encode("utf-8")


def falls_back_to_bytes(described: dict[str, Any]) -> bool:
    """Return whether a tokenizer.json is Unigram that spells by bytes what it has no piece for, and changes nothing."""
    model, decoder = described["model"], described.get("decoder") or {}
    if model.get("type") != "Unigram" or not model.get("byte_fallback") or decoder.get("decoders") != DECODER:
        return False
    return {piece for piece, _ in model["vocab"]}.issuperset(BYTE_NAMES)

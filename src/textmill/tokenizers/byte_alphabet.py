"""The alphabet in which byte-level tokenizers write bytes: every byte is one printable character.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2), and the `ByteLevel` parts of
Hugging Face `tokenizers`, which write these characters into tokenizer.json.
"""

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]

CHARACTER_OF_BYTE: dict[int, str] = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + index) for index, byte in enumerate(_HIDDEN)
}
BYTE_OF_CHARACTER: dict[str, int] = {character: byte for byte, character in CHARACTER_OF_BYTE.items()}


def token_bytes(token: str) -> bytes:
    """Return the bytes of a byte-level token.

    A token with a character outside the alphabet was added by name and stands for its own UTF-8 bytes.
    """
    try:
        return bytes(BYTE_OF_CHARACTER[character] for character in token)
    except KeyError:
        return token.encode("utf-8")

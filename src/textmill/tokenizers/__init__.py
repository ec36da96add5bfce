"""Text to ids and back: characters, bytes, byte-level BPE, Unigram, and tokenizers made elsewhere."""

from textmill.tokenizers.detokenizer import Detokenizer
from textmill.tokenizers.existing_tokenizers import from_gpt2_files, load_tokenizer
from textmill.tokenizers.new_tokenizers import END_OF_TEXT, make_byte, make_char, train_bpe
from textmill.tokenizers.tokenizer import Tokenizer
from textmill.tokenizers.unigram import train_unigram

__all__ = [
    "END_OF_TEXT",
    "Detokenizer",
    "Tokenizer",
    "from_gpt2_files",
    "load_tokenizer",
    "make_byte",
    "make_char",
    "train_bpe",
    "train_unigram",
]

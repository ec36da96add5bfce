"""The names of tokenizers that textmill makes itself; any other name is that of one which exists."""

NEW_KINDS = ("char", "byte", "bpe", "unigram")
"""What `tokenizer` may be, besides a path and hf:NAME."""

WITH_VOCAB_SIZE = ("bpe", "unigram")
"""Those that learn as many entries as `vocab_size` asks for."""

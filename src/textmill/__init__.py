"""textmill: train transformer language models from scratch on your own text."""

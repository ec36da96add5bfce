"""Documents to token ids: split, clean, choose a tokenizer, encode. `pipeline.py` shows it on one page."""

"""Which files are read: what people write as `data`, listed, fetched, downloaded or piped in."""

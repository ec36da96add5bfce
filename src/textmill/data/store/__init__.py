"""Token ids on disk, and the corpora that they make up."""

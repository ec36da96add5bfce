"""Token ids to batches: rows, their order, packing, the loader."""

"""How large a corpus is, before it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textmill.data.sources.listing import default_corpus, list_files
from textmill.data.store.corpus import is_prepared, open_corpus


def corpus_size_bytes(
    data: Sequence[str | Path] | str | Path | None, *, split: str = "train", cache_dir: str | Path | None = None
) -> int:
    """Return the size of all files that `data` names (None: the default corpus) without reading them.

    Of a prepared corpus it is the size of its text. Datasets and named corpora are fetched. Raises what `list_files`
    and `open_corpus` raise.
    """
    items = [data] if isinstance(data, str | Path) else data
    if items is not None and len(items) == 1 and is_prepared(Path(items[0])):
        corpus = open_corpus(Path(items[0]))
        return sum(store.num_bytes for store in (corpus.train, corpus.validation) if store is not None)
    files = default_corpus() if items is None else list_files(items, split=split, cache_dir=cache_dir)
    return sum(path.stat().st_size for path in files)

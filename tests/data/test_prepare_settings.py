"""One value decides what a prepared corpus is, and a saved configuration decides the same as the one it came from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textmill.config import Config, DataConfig, TokenizerConfig, load_config
from textmill.config.consistency import fit_vocab, free_vocab
from textmill.data import prepare
from textmill.data.prepare import prepare_corpus
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.errors import ConfigError
from textmill.training.resume import merge_with_saved

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "val_split": st.sampled_from([0, 0.1, 0.2, 0.5]),
    "text_column": st.sampled_from(["text", "body"]),
    "min_length": st.integers(0, 3),
    "encoding_errors": st.sampled_from(["strict", "replace"]),
    "newlines": st.sampled_from(["lf", "keep"]),
    "format": st.sampled_from([None, "jsonl"]),
    "encoding": st.sampled_from(["utf-8", "UTF8", "latin-1"]),
    "document_separator": st.sampled_from(["auto", None, "---"]),
    "dataset_split": st.just("train"),
    "validation_split": st.sampled_from(["validation", None]),
    "tokenizer": st.sampled_from(["char", "byte", "bpe", "unigram"]),
    "special_tokens": st.lists(st.sampled_from(["<|user|>", "<|bot|>"]), unique=True),
    "vocab_size": st.sampled_from([None, 300, 400, 5000]),
    "preset": st.sampled_from(["auto", "tiny", "gpt2"]),
}
GIVEN = st.fixed_dictionaries({}, optional=VALUES)
DOCUMENTS = [{"text": f"story {number} of the mill", "body": f"{number} other words"} for number in range(30)]


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty documents with two columns of text."""
    path = tmp_path_factory.mktemp("stories") / "stories.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    return path


def saved_by_a_run(config: Config, learned_size: int, folder: Path) -> None:
    """Write config.yaml as a run does that has read its text."""
    fit_vocab(config, learned_size, config.tokenizer.tokenizer)
    config.model = config.model.resolved()  # as the model of a run gives it back
    (folder / "config.yaml").write_text(yaml.safe_dump(config.copy().dump(as_asked=True)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=GIVEN)
def test_fresh_resumed_repeated_and_evaluated_runs_ask_for_one_corpus(
    tmp_path_factory: pytest.TempPathFactory, stories: Path, values: dict[str, Any]
) -> None:
    """Whatever is given or left out, the run, its resume and `--config` of its folder find the corpus it prepared."""
    folder = tmp_path_factory.mktemp("run")
    config = load_config({"data": [str(stories)], "cache_dir": str(folder / "cache"), **values})
    free_vocab(config, made=False)
    fresh = PrepareSettings.of(config)
    try:
        corpus = prepare_corpus(fresh)
    except ConfigError:  # a vocabulary below that of the tokenizer
        return
    made = corpus.folder.stat()
    saved_by_a_run(config, corpus.vocab_size, folder)
    resumed = merge_with_saved(Config(), folder, None, lambda sentence: None).config
    repeated = load_config(folder / "config.yaml")
    for later in (resumed, repeated):
        assert PrepareSettings.of(later) == fresh
        again = prepare_corpus(PrepareSettings.of(later))
        assert again.key == corpus.key
        assert again.folder.stat() == made  # found, not made again
        fit_vocab(later, again.vocab_size, later.tokenizer.tokenizer)
        assert later.model.vocab_size == config.model.vocab_size


ROWS_AND_BATCHES = {
    *("pack_sequences", "packing_strategy", "mask_documents", "augmentation", "augmentation_prob", "num_workers"),
    "fim_format",
}
"""Settings of the section `data` that concern what is made of a prepared corpus."""

OTHER_VALUES: dict[str, Any] = {
    "data": ["other.txt"],
    "val_data": ["other.txt"],
    "include": ["*.txt"],
    "exclude": ["*.csv"],
    "gitignore": False,
    "source_code": True,
    "keep_files": ["vendored"],
    "max_file_size": 5,
    "max_line_length": 5,
    "max_non_text": 0.5,
    "val_split": 0.3,
    "split_by": "folder",
    "text_column": "body",
    "min_length": 7,
    "dataset_split": "test",
    "validation_split": "test",
    "encoding_errors": "replace",
    "newlines": "keep",
    "format": "jsonl",
    "encoding": "latin-1",
    "document_separator": None,
    "cache_dir": "elsewhere",
    "preprocessing_num_workers": 3,
    "tokenizer": "char",
    "eos_token": "<|end|>",
    "special_tokens": ["<|user|>"],
    "split_pattern": "gpt4o",
    "normalize": "nfc",
    "max_unknown": 0.5,
    "extend_vocab": True,
    "fim_rate": 0.5,
    "vocab_size": 300,
}


def test_every_setting_of_the_data_is_in_it() -> None:
    """No setting that a corpus depends on is forgotten: each changes the settings, or is named as one of rows."""
    plain = PrepareSettings.of(load_config())
    for name, value in OTHER_VALUES.items():
        assert PrepareSettings.of(load_config({name: value})) != plain, name
    assert PrepareSettings.of(load_config(dataset_name="wikitext")).data == ["hf:wikitext"]
    named = PrepareSettings.of(load_config(dataset_name="wikitext", dataset_config="wikitext-2-raw-v1"))
    assert named.data == ["hf:wikitext:wikitext-2-raw-v1"]
    known = {*OTHER_VALUES, *ROWS_AND_BATCHES, "dataset_name", "dataset_config"} - {"vocab_size"}
    assert {*DataConfig.model_fields, *TokenizerConfig.model_fields} == known


def test_the_default_share_is_one_share(tmp_path: Path, stories: Path) -> None:
    """Left out, given as None and given as a tenth are one setting with one cache key; another share is another."""
    arguments: list[dict[str, Any]] = [{}, {"val_split": None}, {"val_split": 0.1}, {"val_split": 0.2}]
    keys = [prepare(stories, tokenizer="byte", cache_dir=tmp_path, **share).key for share in arguments]
    assert len(set(keys[:3])) == 1 and keys[3] != keys[0]
    assert len(list((tmp_path / "corpora").iterdir())) == 2


@pytest.mark.parametrize(
    "change",
    [{"workers": 1}, {"cache_dir": "elsewhere"}, {"data": "copy.jsonl"}],
    ids=lambda change: next(iter(change)),
)
def test_where_and_how_fast_do_not_enter_the_key(tmp_path: Path, stories: Path, change: dict[str, Any]) -> None:
    """Threads, the cache's folder and the file's name leave the key as it is."""
    (tmp_path / "copy.jsonl").write_bytes(stories.read_bytes())
    change = {name: value if name == "workers" else tmp_path / value for name, value in change.items()}
    one = PrepareSettings(data=stories, tokenizer="byte", cache_dir=tmp_path / "cache")
    assert prepare_corpus(one).key == prepare_corpus(replace(one, **change)).key


@pytest.mark.parametrize(
    "change",
    [
        {"val_split": 0.3},
        {"tokenizer": "char"},
        {"vocab_size": 300, "tokenizer": "bpe"},
        {"special_tokens": ["<|user|>"]},
        {"normalize": "nfd"},
        {"normalize": "nfc", "tokenizer": "char"},
        {"text_column": "body"},
        {"encoding_errors": "replace"},
        {"encoding": "latin-1"},
        {"format": "text"},
        {"min_length": 2},
        {"val_data": "stories"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_a_corpus_changes_its_key(tmp_path: Path, stories: Path, change: dict[str, Any]) -> None:
    """Each setting that can change the ids is part of the key."""
    change = {name: stories if name == "val_data" else value for name, value in change.items()}
    plain: dict[str, Any] = {"tokenizer": "byte", "cache_dir": tmp_path}
    assert prepare(stories, **plain).key != prepare(stories, **{**plain, **change}).key

"""Saved folders open in transformers with the same ids; broken ones are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, processors

from support.awkward_texts import AWKWARD, EOS
from support.foreign_folders import write_gpt2_files
from textmill.errors import DataError, MissingInputError
from textmill.tokenizers import Tokenizer, load_tokenizer, make_byte, make_char, train_bpe


@pytest.mark.parametrize("family", ["qwen3", "llama", "gpt2"])
def test_transformers_reads_the_same_ids(
    family: str, byte_tokenizer: Tokenizer, char_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """AutoTokenizer gives our ids and our text for every kind, whatever model lies beside the tokenizer."""
    transformers = pytest.importorskip("transformers")
    for tokenizer in (byte_tokenizer, char_tokenizer, bpe_tokenizer):
        folder = tmp_path / tokenizer.kind
        tokenizer.save(folder)
        (folder / "config.json").write_text(json.dumps({"model_type": family}))
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert theirs.eos_token_id == tokenizer.eos_id
        assert len(theirs) == tokenizer.vocab_size
        for text in AWKWARD:
            if EOS in text and tokenizer.kind != "char":
                continue  # transformers reads the name of a special token as the token
            assert theirs(text)["input_ids"] == tokenizer.encode(text).tolist()
            assert theirs.decode(theirs(text)["input_ids"]) == text


def test_saving_and_loading_changes_nothing(
    byte_tokenizer: Tokenizer, char_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """A loaded tokenizer is the saved one, from its folder, its file or the folder around it."""
    for tokenizer in (byte_tokenizer, char_tokenizer, bpe_tokenizer):
        tokenizer.save(tmp_path / tokenizer.kind / "tokenizer")
        for source in ("", "tokenizer", "tokenizer/tokenizer.json"):
            loaded = load_tokenizer(tmp_path / tokenizer.kind / source)
            assert loaded.content == tokenizer.content
            assert (loaded.kind, loaded.eos_id, loaded.unk_id) == (tokenizer.kind, tokenizer.eos_id, tokenizer.unk_id)


def test_gpt2_files_survive_saving(shared: Path, tmp_path: Path) -> None:
    """The pair of files becomes a tokenizer.json with the same ids; either file names the pair."""
    source = shared / "data/gpt2-tokenizer"
    gpt2 = load_tokenizer(source)
    assert load_tokenizer(source / "vocab.json").fingerprint == gpt2.fingerprint
    gpt2.save(tmp_path)
    text = (shared / "data/wikitext2-valid.txt").read_text(encoding="utf-8")[:20_000]
    assert load_tokenizer(tmp_path).encode(text).tolist() == gpt2.encode(text).tolist()
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text)["input_ids"] == gpt2.encode(text).tolist()


def saved_with_template(folder: Path, single: str, **declared: object) -> Path:
    """Save the byte tokenizer with <s> and </s>, a post-processor, and what tokenizer_config.json declares."""
    backend = Backend.from_str(make_byte(["<s>", "</s>"]).content)
    backend.enable_truncation(4)
    backend.enable_padding(length=8)
    backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 257), ("</s>", 258)])
    folder.mkdir(parents=True)
    backend.save(str(folder / "tokenizer.json"))
    if declared:
        values = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", **declared}
        (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return folder


def test_truncation_and_padding_are_left_behind(tmp_path: Path) -> None:
    """A folder that truncates and pads is loaded, and saved again, without that; tokens around a text stay."""
    tokenizer = load_tokenizer(saved_with_template(tmp_path / "first", "<s> $A"))
    assert tokenizer.encode("hello").tolist() == list(b"hello")
    assert (tokenizer.prefix_ids, tokenizer.suffix_ids) == ([257], [])
    assert tokenizer.eos_id == 256  # found by its usual name, without a tokenizer_config.json
    tokenizer.save(tmp_path / "again")
    assert Backend.from_file(str(tmp_path / "again/tokenizer.json")).encode("hello").ids == [257, *b"hello"]


@pytest.mark.parametrize("single", ["$A", "<s> $A", "$A </s>", "<s> $A </s>"])
@pytest.mark.parametrize("bos", [None, False, True])
@pytest.mark.parametrize("eos", [None, False, True])
def test_tokens_around_a_text_are_those_of_transformers(
    single: str, bos: bool | None, eos: bool | None, tmp_path: Path
) -> None:
    """The post-processor says what is around a text, whatever tokenizer_config.json asks for; it is saved as it is."""
    transformers = pytest.importorskip("transformers")
    flags = {f"add_{role}_token": flag for role, flag in (("bos", bos), ("eos", eos)) if flag is not None}
    folder = saved_with_template(tmp_path / "given", single, padding_side="right", **flags)
    tokenizer = load_tokenizer(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    theirs.backend_tokenizer.no_truncation()
    theirs.backend_tokenizer.no_padding()
    ours = [*tokenizer.prefix_ids, *tokenizer.encode("hello").tolist(), *tokenizer.suffix_ids]
    assert ours == theirs.backend_tokenizer.encode("hello").ids
    tokenizer.save(tmp_path / "again")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "again")("hello")["input_ids"] == ours
    again = load_tokenizer(tmp_path / "again")
    assert (again.fingerprint, again.roles["eos_token"]) == (tokenizer.fingerprint, "</s>")


def test_unknown_characters_of_unigram_are_known_as_such(tmp_path: Path) -> None:
    """Unigram names its unknown token by id: unknown characters are counted."""
    backend = Backend(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.5)], unk_id=0))
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.kind, tokenizer.unk_id) == ("pretrained", 0)
    assert tokenizer.encode("abz").tolist() == [1, 2, 0]


def test_batches_can_be_padded(
    byte_tokenizer: Tokenizer, char_tokenizer: Tokenizer, bpe_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """transformers pads a batch of any kind, returns what models take, and reads the unknown token's name as text."""
    transformers = pytest.importorskip("transformers")
    for tokenizer in (byte_tokenizer, char_tokenizer, bpe_tokenizer):
        tokenizer.save(tmp_path / tokenizer.kind)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / tokenizer.kind)
        assert theirs.model_input_names == ["input_ids", "attention_mask"]
        padded = theirs(["a", "abc"], padding=True)
        pad = tokenizer.eos_id if tokenizer.eos_id is not None else tokenizer.unk_id
        assert len(padded["input_ids"][0]) == len(padded["input_ids"][1])
        assert padded["input_ids"][0][-1] == pad
        assert theirs("<unk>")["input_ids"] == tokenizer.encode("<unk>").tolist()


def test_declared_roles_are_kept(tmp_path: Path) -> None:
    """What tokenizer_config.json calls its tokens is kept, as text or as an object, if the vocabulary has it."""
    make_char(["ab"], ["<end>"]).save(tmp_path)
    declared = {"eos_token": {"content": "<end>"}, "pad_token": "<nowhere>", "model_max_length": 5}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(declared))
    assert load_tokenizer(tmp_path).roles == {"eos_token": "<end>"}
    assert load_tokenizer(tmp_path).eos_id == 3


def test_missing_and_broken_tokenizers(tmp_path: Path) -> None:
    """Every refusal is one line that names the path."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "vocab.json").write_text("{}")
    cases: dict[str, tuple[type[Exception], str]] = {
        "nowhere": (MissingInputError, "there is no tokenizer"),
        "empty": (MissingInputError, "contains no tokenizer"),
        "vocab.json": (MissingInputError, "merges.txt is missing"),
    }
    broken = {
        "cut.json": '{"version": "1.0", "model": {',
        "list.json": "[1, 2]",
        "other.json": '{"hello": 1}',
        "model.json": '{"version": "1.0", "model": {"type": "Nonsense"}}',
        "bytes.json": "\udcff",
    }
    for name, content in broken.items():
        (tmp_path / name).write_text(content, errors="surrogateescape")
        cases[name] = (DataError, name)
    for name, (kind, message) in cases.items():
        with pytest.raises(kind, match=message) as caught:
            load_tokenizer(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without network and cache the name of a model leads to one line that says what to do."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://nowhere.invalid")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingInputError, match=r"hf:nobody/nothing.*give a folder") as caught:
        load_tokenizer("hf:nobody/nothing")
    assert "\n" not in str(caught.value)


def test_a_cached_hub_name_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tokenizer that was fetched before is found in the hub's cache."""
    from huggingface_hub import constants

    snapshot = tmp_path / "models--nobody--words" / "snapshots" / ("0" * 40)
    train_bpe(["some words some words"], 270).save(snapshot)
    (tmp_path / "models--nobody--words" / "refs").mkdir()
    (tmp_path / "models--nobody--words" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "ENDPOINT", "https://nowhere.invalid")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert load_tokenizer("hf:nobody/words").eos_id == 0


@pytest.mark.parametrize(
    ("config", "others"),
    [
        ({}, {}),
        ({"add_bos_token": True, "add_eos_token": True}, {}),
        ({"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}, {}),
        ({"add_bos_token": True, "bos_token": None, "add_prefix_space": True}, {}),
        ({"add_bos_token": True}, {"special_tokens_map.json": {"bos_token": "<s>"}}),
        ({"bos_token": "<s>", "add_bos_token": True}, {"added_tokens.json": {"<x>": 257, "<s>": 258}}),
        ({"add_bos_token": None, "additional_special_tokens": ["<y>"]}, {}),
        ({"add_bos_token": True, "added_tokens_decoder": {"257": {"content": "<x>", "special": True}}}, {}),
    ],
)
def test_gpt2_files_are_read_with_what_is_declared_beside_them(
    config: dict[str, object], others: dict[str, object], tmp_path: Path
) -> None:
    """Tokens around a text, added tokens and a space before it: the ids of transformers, also once it is saved."""
    transformers = pytest.importorskip("transformers")
    write_gpt2_files(tmp_path, config)
    for name, content in others.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = load_tokenizer(tmp_path)
    ids = [*ours.prefix_ids, *ours.encode("hello world").tolist(), *ours.suffix_ids]
    assert ids == theirs("hello world").input_ids
    assert ours.vocab_size == len(theirs)
    assert ours.eos_id == theirs.eos_token_id
    ours.save(tmp_path / "again")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "again")("hello world").input_ids == ids


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", '{"<x>": "last"}'),
        ("added_tokens.json", '{"<x>": [1]}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": 1}}'),
        ("tokenizer_config.json", '{"additional_special_tokens": 3}'),
    ],
)
def test_added_tokens_that_are_none(name: str, content: str, tmp_path: Path) -> None:
    """One line that names the file."""
    write_gpt2_files(tmp_path, {})
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{name} is damaged"):
        load_tokenizer(tmp_path)

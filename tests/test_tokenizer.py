"""The tokenizer against transformers' CLIPTokenizer (golden/make_tokenizer.py) and against broken files."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from golden import make_tokenizer

from sdgen.errors import CheckpointError
from sdgen.text.tokenizer import ClipTokenizer
from sdgen.text.tokenizer_files import AddedToken

GOLDEN = json.loads(make_tokenizer.GOLDEN.read_text())
MINI = make_tokenizer.MINI


@pytest.fixture(scope="module")
def tokenizers():
    return {
        "clip": ClipTokenizer.clip(),
        "clip!": ClipTokenizer.clip("!"),
        "mini": ClipTokenizer.from_files(MINI),
    }


@pytest.fixture
def folder(tmp_path):
    """A copy of mini's tokenizer folder, to be broken."""
    return Path(shutil.copytree(MINI, tmp_path / "tokenizer"))


@pytest.mark.parametrize("name", ["clip", "clip!", "mini"])
def test_thousands_of_strings_equal_transformers(tokenizers, name):
    assert make_tokenizer.digests(tokenizers[name].encode) == GOLDEN["digests"][name]


@pytest.mark.parametrize("name", ["clip", "clip!", "mini"])
def test_examples_equal_transformers(tokenizers, name):
    texts = make_tokenizer.strings()
    for category, numbers in GOLDEN["examples"][name].items():
        assert tokenizers[name].encode(texts[category][0]) == numbers, category


@pytest.mark.parametrize("name", ["clip", "clip!", "mini"])
def test_rows_are_padded_and_cut_as_diffusers_does(tokenizers, name):
    texts = [*make_tokenizer.strings()["prompts"][:6], ""]
    assert [tokenizers[name].encode_row(text)[0] for text in texts] == GOLDEN["rows"][name]


def test_decode_equals_transformers(tokenizers):
    for numbers, text in GOLDEN["decoded"]:
        assert tokenizers["clip"].decode(numbers) == text


@pytest.mark.parametrize("name", GOLDEN["folders"])
def test_folders_are_read_as_transformers_reads_them(tmp_path, name):
    folder = make_tokenizer.write_folder(make_tokenizer.folders()[name], tmp_path)
    tokenizer = ClipTokenizer.from_files(folder)
    expected = GOLDEN["folders"][name]
    assert [tokenizer.bos, tokenizer.eos, tokenizer.pad] == expected["special"]
    assert tokenizer.vocab_size == expected["size"]
    assert tokenizer.max_length == 77
    assert [tokenizer.encode(text) for text in make_tokenizer.PROBES] == expected["probes"]


def test_clip_vocabulary_has_openai_numbers(tokenizers):
    clip = tokenizers["clip"]
    assert (clip.vocab_size, clip.bos, clip.eos, clip.pad) == (49408, 49406, 49407, 49407)
    assert (clip.vocab["!"], clip.vocab[",</w>"]) == (0, 267)
    assert tokenizers["clip!"].pad == 0
    assert clip.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]


def test_a_row_says_what_it_left_out(tokenizers):
    row, rest = tokenizers["clip"].encode_row("word " * 75 + "Castle, it's Snow!")
    assert len(row) == 77
    assert row[75:] == [2653, 49407]
    assert rest == "castle , it 's snow !"


def test_a_row_that_is_just_full_leaves_nothing_out(tokenizers):
    row, rest = tokenizers["clip"].encode_row("word " * 75)
    assert rest is None
    assert row == [49406, *[2653] * 75, 49407]


def test_decode_leaves_out_unknown_numbers(tokenizers):
    assert tokenizers["clip"].decode([320, 10**6, -1, 2368]) == "a cat"


def test_bytes_that_the_vocabulary_lacks_are_unknown():
    tokenizer = ClipTokenizer({"a": 0, "a</w>": 1, "B": 2, "E": 3}, [], bos=2, eos=3, pad=3)
    assert tokenizer.encode("aaza") == [0, 0, 3, 1]


def test_equal_ranks_merge_from_the_left():
    vocab = {name: number for number, name in enumerate(["a", "a</w>", "aa", "aa</w>", "B", "E"])}
    tokenizer = ClipTokenizer(vocab, [("a", "a"), ("a", "a</w>")], bos=4, eos=5, pad=5)
    assert tokenizer.encode("aaaa") == [vocab["aa"], vocab["aa</w>"]]
    assert tokenizer.encode("aaaaa") == [vocab["aa"], vocab["aa"], vocab["a</w>"]]


def test_an_added_token_has_the_number_that_its_file_says():
    added = [AddedToken("<cat>", 9)]
    tokenizer = ClipTokenizer({"a</w>": 0, "B": 1, "E": 2}, [], bos=1, eos=2, pad=2, added=added)
    assert tokenizer.encode("a<cat>a") == [0, 9, 0]


def test_a_long_word_takes_no_time(tokenizers):
    began = time.perf_counter()
    assert len(tokenizers["clip"].encode("lo" * 10_000 + "-" * 20_000)) > 5000
    assert time.perf_counter() - began < 5


def test_pad_token_outside_the_vocabulary_is_refused():
    with pytest.raises(CheckpointError, match=r"pad token '\[PAD\]'"):
        ClipTokenizer.clip("[PAD]")


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=f"{missing} is missing"):
        ClipTokenizer.from_files(folder)


@pytest.mark.parametrize(
    ("file", "contents", "reason"),
    [
        ("vocab.json", "{", "vocab.json is not valid JSON"),
        ("vocab.json", "[]", "vocab.json must hold a JSON object"),
        ("vocab.json", '{"a": "b"}', "vocab.json is not a vocabulary"),
        ("vocab.json", '{"a": 1, "b": 1}', "two tokens share one number"),
        ("vocab.json", '{"a": 0}', "the merge .* makes a token that the vocabulary lacks"),
        ("merges.txt", "#version: 0.2\na b c\n", "merges.txt, line 2: 'a b c' is not two tokens"),
        ("merges.txt", "#version: 0.2\nqqq zzz\n", "the merge 'qqq' 'zzz' makes a token"),
        ("tokenizer_config.json", '{"pad_token": "[PAD]"}', "names '\\[PAD\\]' as pad_token"),
        ("tokenizer_config.json", '{"eos_token": 3}', "names 3 as eos_token"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', "added_tokens_decoder is not"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"1": {}}}', "without spelling or id"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"%s": {}}}' % ("9" * 5000), "decoder is not"),
        ("added_tokens.json", '{"<cat>": -1}', "added_tokens.json is not a vocabulary"),
        (
            "tokenizer.json",
            '{"added_tokens": [{"id": -1, "content": "x"}], "model": '
            '{"end_of_word_suffix": "</w>", "merges": [], "vocab": {}}}',
            "without spelling or id",
        ),
        ("special_tokens_map.json", "nul", "special_tokens_map.json is not valid JSON"),
        ("added_tokens.json", '{"<cat>": null}', "added_tokens.json is not a vocabulary"),
        ("tokenizer.json", "{}", "tokenizer.json is not a CLIP tokenizer"),
        ("tokenizer.json", '{"model": {"end_of_word_suffix": "</w>"}}', "has no merges"),
        (
            "tokenizer.json",
            '{"model": {"end_of_word_suffix": "</w>", "merges": [["a"]]}}',
            "merge 0 is not a pair",
        ),
        (
            "tokenizer.json",
            '{"model": {"end_of_word_suffix": "</w>", "merges": [7]}}',
            "merge 0 is not a pair",
        ),
        ("tokenizer.json", '{"model": {"end_of_word_suffix": "</w>", "merges": []}}', "is not a vocabulary"),
        (
            "tokenizer.json",
            '{"added_tokens": 1, "model": {"end_of_word_suffix": "</w>", "merges": []}}',
            "no list of",
        ),
    ],
)
def test_malformed_files_are_refused_with_the_reason(folder, file, contents, reason):
    (folder / file).write_text(contents, encoding="utf-8")
    with pytest.raises(CheckpointError, match=reason):
        ClipTokenizer.from_files(folder)


def test_merges_that_are_not_text_are_refused(folder):
    (folder / "merges.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"merges.txt cannot be read"):
        ClipTokenizer.from_files(folder)


def test_windows_line_ends_in_merges_are_read(folder):
    plain = ClipTokenizer.from_files(folder).encode("a red fox")
    merges = (folder / "merges.txt").read_bytes()
    (folder / "merges.txt").write_bytes(merges.replace(b"\n", b"\r\n"))
    assert ClipTokenizer.from_files(folder).encode("a red fox") == plain


@pytest.mark.parametrize(
    "tokens",
    [
        {f"<t{n}>": 50_000 + n for n in range(1_100)},
        {"a" * 60_000 + str(n): 50_000 + n for n in range(2)},
    ],
    ids=["many", "long"],
)
def test_added_tokens_are_bounded(folder, tokens):
    (folder / "added_tokens.json").write_text(json.dumps(tokens))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("added_tokens_decoder", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="more added tokens than are read"):
        ClipTokenizer.from_files(folder)


@pytest.mark.parametrize("name", ["merges.txt", "vocab.json"])
@pytest.mark.usefixtures("bounded")
def test_a_pointer_or_a_pipe_in_a_files_place_is_named(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CheckpointError, match=f"{name} is a Git LFS pointer"):
        ClipTokenizer.from_files(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match=f"{name} is a named pipe"):
        ClipTokenizer.from_files(folder)


def test_what_a_file_holds_is_shown_in_short(folder):
    (folder / "merges.txt").write_text("x" * 100_000 + "\n")
    with pytest.raises(CheckpointError, match="is not two tokens") as caught:
        ClipTokenizer.from_files(folder)
    assert len(str(caught.value)) < 500

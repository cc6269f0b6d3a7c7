"""The prompt syntax and the chunks, against AUTOMATIC1111's (golden/make_prompt_syntax.py)."""

import json
import time

import ml_dtypes
import numpy as np
import pytest
from golden import make_prompt_syntax, make_tokenizer

from sdgen.errors import InputError
from sdgen.text.prompt_syntax import LoraTag, Segment, extract_loras, parse_emphasis
from sdgen.text.prompt_tokens import Placement, apply_emphasis, pad_chunks, tokenize_prompt
from sdgen.text.tokenizer import ClipTokenizer

GOLDEN = json.loads(make_prompt_syntax.GOLDEN.read_text())
EMBEDDINGS = make_prompt_syntax.EMBEDDINGS
WORD = 2653  # "word" in CLIP's vocabulary
BOS, EOS = 49406, 49407


@pytest.fixture(scope="module")
def clip():
    return ClipTokenizer.clip()


def segments(prompt):
    """parse_emphasis in the form of AUTOMATIC1111's list."""
    flat = []
    for part in parse_emphasis(prompt):
        flat += [["BREAK", -1], *map(list, part)]
    return flat[1:]


def chunks(prompt, clip):
    tokenized = tokenize_prompt(prompt, clip, embeddings=EMBEDDINGS)
    return [tokenized.tokens.tolist(), tokenized.weights.tolist()]


@pytest.mark.parametrize("prompt", make_prompt_syntax.EXAMPLES)
def test_segments_equal_a1111(prompt):
    assert segments(prompt) == GOLDEN["segments"][prompt]


def test_chunks_equal_a1111(clip):
    for number, prompt in enumerate(make_prompt_syntax.EXAMPLES):
        tokens, weights = chunks(prompt, clip)
        assert [row.index(EOS) - 1 for row in tokens] == GOLDEN["lengths"][number], prompt
        assert make_prompt_syntax.digest([tokens, weights]) == GOLDEN["examples"][number], prompt


def test_hundreds_of_prompts_equal_a1111(clip):
    prompts = make_prompt_syntax.prompts()
    results = [[segments(prompt), chunks(prompt, clip)] for prompt in prompts]
    size = make_prompt_syntax.BLOCK
    digests = [make_prompt_syntax.digest(results[at : at + size]) for at in range(0, len(results), size)]
    assert digests == GOLDEN["blocks"]


def test_a_long_run_of_spaces_takes_no_time():
    started = time.process_time()
    parse_emphasis(" " * 20_000)
    parse_emphasis("BREAK" + " " * 20_000 + "BREAK")
    assert time.process_time() - started < 1


def test_break_inside_brackets_breaks():
    assert parse_emphasis("(a BREAK b:1.5)") == [[Segment("a", 1.5)], [Segment("b", 1.5)]]


@pytest.mark.parametrize("prompt", ["(a:1.2.3)", "(a:.)", "(a:9999999)", "((((a:100):100):100):100)"])
def test_wrong_weight_is_refused(prompt):
    with pytest.raises(InputError, match="weight"):
        parse_emphasis(prompt)


def test_a_hundred_open_brackets_are_allowed_and_no_more():
    [[segment]] = parse_emphasis("(" * 100 + "a")
    assert segment.weight == pytest.approx(1.1**100)
    with pytest.raises(InputError, match="more than 100 brackets open"):
        parse_emphasis("([" * 51)


@pytest.mark.parametrize(
    ("tag", "lora"),
    [
        ("<lora:film>", LoraTag("film", 1.0, 1.0)),
        ("<lora:film:0.8>", LoraTag("film", 0.8, 0.8)),
        ("<lora:film grain v2:-.5>", LoraTag("film grain v2", -0.5, -0.5)),
        ("<lora:film:0.8:0.3>", LoraTag("film", 0.8, 0.3)),
        ("<lyco:film:0.8:unet=0>", LoraTag("film", 0.8, 0.0)),
        ("<lora:film:te=0>", LoraTag("film", 0.0, 0.0)),
        ("<lora:film:te=0:unet=1>", LoraTag("film", 0.0, 1.0)),
    ],
)
def test_lora_tags(tag, lora):
    assert extract_loras(f"a {tag} fox") == ("a  fox", (lora,))


def test_lora_tags_come_in_order_and_leave_the_text_alone(clip):
    prompt = "(a fox <lora:b:0.5>:1.2) <lora:a> in snow < 3 > 2"
    tokenized = tokenize_prompt(prompt, clip)
    assert tokenized.loras == (LoraTag("b", 0.5, 0.5), LoraTag("a", 1.0, 1.0))
    expected = tokenize_prompt("(a fox :1.2)  in snow < 3 > 2", clip)
    np.testing.assert_array_equal(tokenized.tokens, expected.tokens)
    np.testing.assert_array_equal(tokenized.weights, expected.weights)


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("<hypernet:x:1>", "unknown kind 'hypernet'"),
        ("<Lora:x:1>", "unknown kind 'Lora'"),
        ("<lora::1>", "names no LoRA"),
        ("<lora:te=1>", "names no LoRA"),
        ("<lora:x:loud>", "the scale 'loud', which is not a number"),
        ("<lora:x:nan>", "the scale 'nan', which is not a number"),
        ("<lora:x:1:1:4>", "more than a name and two scales"),
        ("<lora:x:dyn=4>", "more than a name and two scales"),
    ],
)
def test_wrong_tags_are_refused(tag, reason):
    with pytest.raises(InputError, match=reason):
        extract_loras(f"a {tag} fox")


def test_plain_takes_everything_literally(clip):
    prompt = r"a (fox:1.3) \( BREAK <lora:x:1>"
    tokenized = tokenize_prompt(prompt, clip, plain=True)
    assert tokenized.tokens.tolist() == [clip.row(clip.encode(prompt))]
    assert (tokenized.weights == 1).all()
    assert (tokenized.loras, tokenized.truncated) == ((), None)


def test_plain_is_cut_as_diffusers_does_and_says_what_went(clip):
    for text in make_tokenizer.strings()["prompts"][:6]:
        row, rest = clip.encode_row(text)
        tokenized = tokenize_prompt(text, clip, plain=True)
        assert tokenized.tokens.tolist() == [row]
        assert tokenized.truncated == rest


def test_plain_keeps_a_textual_inversion_whole(clip):
    tokenized = tokenize_prompt("word " * 70 + "EasyNegative, a cat", clip, plain=True, embeddings=EMBEDDINGS)
    assert tokenized.tokens[0, 70:73].tolist() == [WORD, EOS, EOS]
    assert tokenized.truncated == "EasyNegative , a cat"
    assert tokenized.embeddings == ()


def test_types_and_shapes(clip):
    tokenized = tokenize_prompt("a (fox:1.3) BREAK snow", clip)
    assert (tokenized.tokens.dtype, tokenized.weights.dtype) == (np.int32, np.float32)
    assert tokenized.tokens.shape == tokenized.weights.shape == (2, 77)
    assert tokenized.weights[0, :5].tolist() == [1, 1, np.float32(1.3), 1, 1]


def test_padding_is_the_models_own():
    tokenized = tokenize_prompt("a (fox)", ClipTokenizer.clip("!"))
    assert tokenized.tokens[0, :6].tolist() == [BOS, 320, 3240, EOS, 0, 0]


def test_textual_inversions_are_placed(clip):
    tokenized = tokenize_prompt("a (easynegative:1.2) and bad-hands-5", clip, embeddings=EMBEDDINGS)
    assert tokenized.embeddings == (Placement("EasyNegative", 0, 2, 8), Placement("bad-hands-5", 0, 11, 2))
    assert tokenized.tokens[0, :14].tolist() == [BOS, 320, *[0] * 8, 537, 0, 0, EOS]
    assert tokenized.weights[0, 2:10].tolist() == [np.float32(1.2)] * 8


def test_textual_inversion_moves_with_the_text_after_a_comma(clip):
    tokenized = tokenize_prompt("word " * 70 + ", cat " + "word " * 5, clip, embeddings=EMBEDDINGS)
    assert tokenized.embeddings == (Placement("cat", 1, 1, 1),)
    assert tokenized.tokens[1, :7].tolist() == [BOS, 0, *[WORD] * 5]


@pytest.mark.parametrize("text", ["a <cat-toy>, red", "a (<Cat-Toy>)", "!<cat-toy>!", "<cat-toy><cat-toy>"])
def test_diffusers_names_are_found_beside_punctuation(clip, text):
    assert tokenize_prompt(text, clip, embeddings={"<cat-toy>": 3}).embeddings


@pytest.mark.parametrize(
    ("embeddings", "reason"),
    [({" ": 1}, "needs a name"), ({"x": 0}, "has 0 vectors"), ({"x": 76}, "has 76 vectors; 1 to 75 fit")],
)
def test_wrong_textual_inversions_are_refused(clip, embeddings, reason):
    with pytest.raises(InputError, match=reason):
        tokenize_prompt("a fox", clip, embeddings=embeddings)


def test_pad_chunks_appends_empty_ones(clip):
    padded = pad_chunks(tokenize_prompt("a (fox)", clip), 3, clip)
    assert padded.tokens.shape == padded.weights.shape == (3, 77)
    assert padded.tokens[1].tolist() == padded.tokens[2].tolist() == [BOS, *[EOS] * 76]
    assert (padded.tokens.dtype, padded.weights.dtype) == (np.int32, np.float32)
    assert (padded.weights[1:] == 1).all()


def test_pad_chunks_leaves_a_long_prompt_alone(clip):
    prompt = tokenize_prompt("a BREAK b", clip)
    np.testing.assert_array_equal(pad_chunks(prompt, 1, clip).tokens, prompt.tokens)


@pytest.fixture
def encoded():
    return np.random.default_rng(0).normal(0.1, 1, (2, 77, 16)).astype(np.float32)


def test_emphasis_weighs_and_keeps_the_mean_of_each_chunk(encoded):
    weights = np.ones((2, 77), np.float32)
    weights[0, 3:5], weights[1, 7] = 1.5, 0.25
    result = apply_emphasis(encoded, weights)
    np.testing.assert_allclose(result.mean((1, 2)), encoded.mean((1, 2)), rtol=1e-5)
    ratio = result / encoded
    np.testing.assert_allclose(ratio[0, 3] / ratio[0, 0], 1.5, rtol=1e-5)
    np.testing.assert_allclose(ratio[1, 7] / ratio[1, 0], 0.25, rtol=1e-5)


def test_emphasis_equals_its_formula(encoded):
    weights = np.linspace(0.5, 2, 77, dtype=np.float32)[None]
    weighted = encoded[:1].astype(np.float64) * weights[..., None]
    expected = weighted * encoded[:1].astype(np.float64).mean() / weighted.mean()
    np.testing.assert_allclose(apply_emphasis(encoded[:1], weights), expected, rtol=1e-5)


def test_weights_of_one_change_nothing(encoded):
    weights = np.ones((2, 77), np.float32)
    weights[1, 1] = 1.1
    np.testing.assert_array_equal(apply_emphasis(encoded, weights)[0], encoded[0])


def test_emphasis_with_a_weighted_mean_of_zero_is_not_rescaled():
    encoded = np.ones((1, 2, 3), np.float32)
    result = apply_emphasis(encoded, np.array([[1, -1]], np.float32))
    np.testing.assert_array_equal(result, [[[1, 1, 1], [-1, -1, -1]]])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_emphasis_keeps_the_dtype(encoded, dtype):
    weights = np.full((2, 77), 1.2, np.float32)
    weights[:, 0] = 1
    assert apply_emphasis(encoded.astype(dtype), weights).dtype == dtype

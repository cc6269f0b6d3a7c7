"""What is said to whoever mistypes, or knows another tool."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from command import Command

from sdgen.cli import guesses
from sdgen.cli.options import DRAWING
from sdgen.cli.root import COMMANDS, root
from sdgen.errors import ExitCode


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def complaint(sdgen: Command, *arguments: str) -> str:
    result = sdgen.run(*arguments)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert not sdgen.loads
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("doctro", "did you mean sdgen doctor? to draw it: sdgen draw doctro"),
        ("model list", "did you mean sdgen models? to draw it: sdgen draw model list"),
        ("shwo x.png", "did you mean sdgen show? to draw it: sdgen draw shwo x.png"),
        ("Batch prompts.txt", "did you mean sdgen batch? to draw it: sdgen draw Batch prompts.txt"),
        ("pull sd2.1-base", "did you mean sdgen models pull?"),
        ("version", "did you mean sdgen --version?"),
        ("generate it", "did you mean sdgen it? to draw it: sdgen draw generate it"),
        ("prompts.txt", "prompts.txt is a file; did you mean sdgen batch prompts.txt?"),
        ("fox.png", "fox.png is a file; did you mean sdgen show fox.png?"),
    ],
)
def test_a_first_word_that_is_nearly_a_command_asks(sdgen: Command, arguments: str, expected: str) -> None:
    for name in ("prompts.txt", "fox.png"):
        Path(name).touch()
    assert expected in complaint(sdgen, *arguments.split())


@pytest.mark.parametrize(
    "prompt", ["fox", "beach", "a doctro", "models of ships", "absent.png", "gnu.txt", "Ω"]
)
def test_other_words_are_prompts(sdgen: Command, prompt: str) -> None:
    assert sdgen.draw(prompt).exit_code == 0


def test_draw_takes_any_word(sdgen: Command) -> None:
    for word in ("doctro", "model", "help", "pull"):
        assert sdgen.run("draw", word, "--model", "mini").exit_code == 0


@pytest.mark.parametrize("prompt", ["", " ", "\t\n", "\u3000"])
def test_a_blank_prompt_is_an_error(sdgen: Command, prompt: str) -> None:
    assert complaint(sdgen, prompt, "--model", "mini").startswith("error: the prompt is blank")


@pytest.mark.parametrize("prompt, flag", [("a fox --ar 16:9", "--ar"), ("a fox --w 512 --h 768", "--w")])
def test_a_prompt_with_flags_in_it_is_an_error_unless_it_is_plain_text(
    sdgen: Command, prompt: str, flag: str
) -> None:
    result = sdgen.run(prompt)
    assert result.exit_code == ExitCode.USAGE
    assert f"the prompt goes on with {flag}, which would be drawn as text" in result.stderr
    assert sdgen.draw(prompt, "--prompt-syntax", "plain").exit_code == ExitCode.OK
    assert sdgen.draw("a fox -- or a cat--dog").exit_code == ExitCode.OK


def test_a_blank_prompt_among_others_is_counted(sdgen: Command) -> None:
    assert complaint(sdgen, "a fox", "", "--model", "mini").startswith("error: prompt 2 of 2 is blank")


def test_a_picture_is_not_replayed_with_a_blank_prompt(sdgen: Command) -> None:
    sdgen.draw("a fox", "-o", "fox.png")
    sdgen.loads.clear()
    assert complaint(sdgen, "replay", "fox.png", "--prompt", " ").startswith("error: --prompt: it is blank")


def test_a_blank_prompt_of_a_file_names_its_line(sdgen: Command) -> None:
    Path("p.jsonl").write_text('{"prompt": "a fox"}\n{"prompt": " "}\n')
    assert complaint(sdgen, "batch", "p.jsonl", "--model", "mini").startswith(
        "error: p.jsonl:2: the prompt is blank\n"
    )


def test_the_prompt_of_several_that_is_at_fault_is_named(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "broken", "-n", "2", "--seed", "7")
    assert result.exit_code == ExitCode.SOME_FAILED
    for seed in (7, 8):
        assert f"error: prompt 2 of 2, seed {seed}: the image came out black\n" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-s", "x"], "error: --seed: 'x' is not a whole number\n"),
        (["--size", "64"], "error: --size: '64' is not a width and a height such as 512x768\n"),
        (["--vae", "absent"], "error: --vae: Path 'absent' does not exist.\n"),
    ],
)
def test_a_wrong_value_names_its_option(sdgen: Command, arguments: list[str], expected: str) -> None:
    assert complaint(sdgen, "a fox", *arguments) == expected


def test_one_is_not_several(sdgen: Command) -> None:
    Path("p.txt").write_text("a fox\na fox\n")
    result = sdgen.run("batch", "p.txt", "--model", "mini", "--dry-run")
    assert "1 entry repeats another and is drawn once\n" in result.stderr
    assert result.stdout.startswith("1 request, 0 there already, 1 to draw\n1 batch of up to 1")
    assert "1 program to compile\n  mini 256x256: 1 image\n" in result.stdout


def test_help_is_a_command(sdgen: Command) -> None:
    assert sdgen.run("help").stdout == sdgen.run("--help").stdout
    assert sdgen.run("help", "batch").stdout == sdgen.run("batch", "--help").stdout
    assert sdgen.run("help", "models", "pull").stdout == sdgen.run("models", "pull", "--help").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("modls", "sdgen has no command modls; did you mean models?"),
        ("models get", "sdgen models has no command get; there are convert"),
        ("draw fox", "sdgen draw has no command fox; it has none"),
    ],
)
def test_help_of_an_unknown_command_says_what_there_is(sdgen: Command, words: str, expected: str) -> None:
    assert expected in complaint(sdgen, "help", *words.split())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("--cfg", "--guidance"),
        ("--cfg-scale", "--guidance"),
        ("--num", "--count"),
        ("--negative-prompt", "--negative"),
        ("--negative_prompt", "--negative"),
        ("--num-inference-steps", "--steps"),
        ("--sampling-method", "--sampler"),
        ("--ckpt", "--model"),
        ("--outdir", "--output"),
        ("--W", "--width"),
        ("--ar", "--size"),
        ("--lora-paths", "--lora"),
        ("--fp16", "--dtype"),
        ("--lowvram", "--low-memory"),
        ("--batch_size", "--batch-size"),
        ("--stpes", "--steps"),
        ("--no-fats", "--no-fast"),
    ],
)
def test_an_unknown_option_names_ours(sdgen: Command, written: str, meant: str) -> None:
    expected = f"error: there is no option {written}; did you mean {meant}?\n"
    assert complaint(sdgen, "a fox", written, "3") == expected


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("--prompt", 'the prompt needs no option: sdgen "a red fox"'),
        ("--init-img", "did you mean --init-image?"),
        ("--scheduler", "did you mean --sampler or --schedule?"),
        ("--xformers", "leave it out"),
        ("--qqqqq", "sdgen draw --help lists them"),
    ],
)
def test_an_option_without_counterpart_says_what_to_do(sdgen: Command, written: str, advice: str) -> None:
    assert advice in complaint(sdgen, "a fox", written)


def test_a_command_suggests_its_own_options_alone(sdgen: Command) -> None:
    assert "did you mean --model?" in complaint(sdgen, "bench", "--ckpt", "x")
    assert "sdgen bench --help lists them" in complaint(sdgen, "bench", "--cfg", "3")


def test_every_synonym_means_an_option() -> None:
    ours = {name for option in DRAWING for name in (*option.opts, *option.secondary_opts)} | {"--config"}
    assert {f"--{option}" for option in guesses._OPTIONS} <= ours
    assert not {f"--{name}" for name in (*guesses._MEANT, *guesses._INSTEAD)} & (ours - {"--metadata"})


def test_every_synonym_of_a_command_means_one() -> None:
    for meant in guesses._COMMANDS.values():
        assert meant.startswith("--") or meant.split()[0] in COMMANDS


def test_short_options(sdgen: Command) -> None:
    result = sdgen.run(
        "a fox", "-m", "mini", "-s", "7", "-W", "96", "-H", "32", "--name", "{seed}-{width}-{height}"
    )
    assert result.stdout == "outputs/7-96-32.png\n"


def commands() -> list[list[str]]:
    found: list[list[str]] = [[]]
    groups: list[tuple[list[str], click.Group]] = [([], root)]
    while groups:
        words, group = groups.pop()
        for name in group.list_commands(click.Context(group)):
            inner = group.get_command(click.Context(group), name)
            found.append([*words, name])
            if isinstance(inner, click.Group):
                groups.append(([*words, name], inner))
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_pages_fit_eighty_columns(sdgen: Command, words: list[str]) -> None:
    lines = sdgen.run(*words, "--help").stdout.splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 80

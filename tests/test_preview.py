"""A picture on the terminal as it forms: what is sent, where it stands, and that nothing is left of it."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import stand_in
from command import Command
from PIL import Image
from screen import EMPTY, Screen

import sdgen as package
from sdgen.cli.terminal import abilities, graphics, streams
from sdgen.cli.terminal.abilities import BLOCKS, ITERM2, KITTY, SIXEL, Abilities
from sdgen.cli.terminal.graphics import Box
from sdgen.cli.terminal.preview import MOST_LINES, Preview

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
QUARTERS = np.asarray([[RED, GREEN], [BLUE, WHITE]], np.uint8).repeat(16, 0).repeat(16, 1)
"""32 x 32: red and green above, blue and white below."""


class Terminal(io.StringIO):
    """In place of stderr."""

    encoding = "utf-8"

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        super().__init__()
        self.screen = Screen(columns, lines)
        self.size = os.terminal_size((columns, lines))

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.screen.feed(text)
        return super().write(text)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(streams, "draw", terminal.write)
    return terminal


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def preview(terminal: Terminal, way: Abilities, clock: Clock | None = None) -> Preview:
    return Preview(way, lambda: terminal.size, clock or Clock())


def corners(screen: Screen, lines: int, columns: int) -> list[tuple[int, ...]]:
    """The colours of a picture's four corners, upper pixels above and lower pixels below."""
    cells = screen.cells
    top, bottom = cells[0], cells[lines - 1]
    return [top[0][1], top[columns - 1][1], bottom[0][2], bottom[columns - 1][2]]


def test_half_blocks_show_two_pixels_a_cell(terminal: Terminal) -> None:
    terminal.write(graphics.half_blocks(QUARTERS, Box(4, 2), true_colour=True))
    assert corners(terminal.screen, 2, 4) == [(2, *RED), (2, *GREEN), (2, *BLUE), (2, *WHITE)]
    assert terminal.screen.text()[:3] == ["▀▀▀▀", "▀▀▀▀", ""]
    assert (terminal.screen.row, terminal.screen.column) == (0, 0)


def test_a_terminal_of_256_colours_gets_no_others(terminal: Terminal) -> None:
    terminal.write(graphics.half_blocks(QUARTERS, Box(4, 2), true_colour=False))
    assert corners(terminal.screen, 2, 4) == [(5, 196), (5, 46), (5, 21), (5, 231)]


def test_kitty_gets_the_pixels_in_chunks() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", graphics.kitty(pixels, Box(20, 10)))
    assert len(commands) > 1 and all(len(payload) <= 4096 for _, payload in commands)
    first = dict(pair.split("=") for pair in commands[0][0].split(","))
    assert first | {"a": "T", "f": "24", "s": "64", "v": "64", "c": "20", "r": "10", "C": "1"} == first
    assert [keys.rpartition("m=")[2] for keys, _ in commands] == ["1"] * (len(commands) - 1) + ["0"]
    data = zlib.decompress(base64.b64decode("".join(payload for _, payload in commands)))
    assert data == pixels.tobytes()


def test_iterm2_gets_a_png_of_the_box_s_size() -> None:
    text = graphics.iterm2(QUARTERS, Box(20, 10))
    match = re.fullmatch(r"\x1b7\x1b\]1337;File=([^:]*):([A-Za-z0-9+/=]*)\a\x1b8", text)
    assert match is not None
    data = base64.b64decode(match[2])
    assert f"inline=1;size={len(data)};width=20;height=10" in match[1]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), QUARTERS)


def sixels(text: str) -> np.ndarray:
    """The picture of a sixel sequence, percent (height, width, 3)."""
    match = re.fullmatch(r'\x1b7\x1bP0;1q"1;1;([0-9]+);([0-9]+)(.*)\x1b\\\x1b8', text, re.S)
    assert match is not None
    width, height = int(match[1]), int(match[2])
    picture, palette, colour, top, at = np.full((height, width, 3), -1), {}, 0, 0, 0
    for token in re.findall(r"#[0-9]+(?:;2;[0-9;]+)?|![0-9]+[?-~]|[?-~]|[$-]", match[3]):
        if token.startswith("#"):
            colour, *values = [int(value) for value in token[1:].split(";")]
            if values:
                palette[colour] = values[1:]
        elif token == "$":
            at = 0
        elif token == "-":
            top, at = top + 6, 0
        else:
            count, bits = int(token[1:-1] or 1) if token[0] == "!" else 1, ord(token[-1]) - 63
            for row in range(6):
                if bits >> row & 1:
                    picture[top + row, at : at + count] = palette[colour]
            at += count
    return picture


def test_sixels_cover_every_pixel_of_the_box() -> None:
    picture = sixels(graphics.sixel(QUARTERS, Box(4, 2), cell=(9, 18)))
    assert picture.shape == (36, 36, 3)
    expected = np.asarray([[RED, GREEN], [BLUE, WHITE]]).repeat(18, 0).repeat(18, 1) * 100 // 255
    assert np.abs(picture - expected).max() <= 1


@pytest.mark.parametrize(
    ("size", "room", "box"),
    [
        ((256, 256), (79, 21), Box(42, 21)),
        ((512, 256), (79, 21), Box(79, 20)),
        ((256, 1024), (79, 21), Box(10, 21)),
        ((2000, 1), (79, 21), Box(79, 1)),
    ],
)
def test_a_picture_keeps_its_shape(size: tuple[int, int], room: tuple[int, int], box: Box) -> None:
    assert graphics.fitting(*size, *room) == box


def test_a_picture_is_drawn_again_in_its_place(terminal: Terminal) -> None:
    terminal.write("before\nbar")
    shown = preview(terminal, Abilities(true_colour=True))
    for pixels in (QUARTERS, QUARTERS[::-1].copy(), QUARTERS):
        shown.show(lambda pixels=pixels: pixels)
        terminal.write("\rbar")
    text = terminal.screen.text()
    assert text[0] == "before"
    assert [line[:1] for line in text[1:22]] == ["▀"] * 21
    assert text[22:] == ["bar", ""]
    assert terminal.screen.cells[1][0][1] == (2, *RED)


def test_a_full_screen_scrolls_once(terminal: Terminal) -> None:
    terminal.write("".join(f"line {number}\n" for number in range(30)) + "bar")
    shown = preview(terminal, Abilities(true_colour=True))
    for _ in range(3):
        shown.show(lambda: QUARTERS)
        terminal.write("\rbar")
    text = terminal.screen.text()
    assert text[:2] == ["line 28", "line 29"]
    assert [line[:1] for line in text[2:23]] == ["▀"] * 21
    assert text[23] == "bar"


@pytest.mark.parametrize("way", [KITTY, ITERM2, SIXEL, BLOCKS])
def test_nothing_of_a_preview_is_left(terminal: Terminal, way: str) -> None:
    terminal.write("before\n")
    shown = preview(terminal, Abilities(way, True, (10, 20)))
    shown.show(lambda: QUARTERS)
    shown.end()
    assert "".join(terminal.screen.text()) in ("before", "")
    assert all(cell == EMPTY for line in terminal.screen.cells[1:] for cell in line)
    deleted = any("a=d" in picture for picture in terminal.screen.pictures)
    assert deleted == (way == KITTY)


def test_a_terminal_that_is_too_low_gets_no_picture(terminal: Terminal) -> None:
    terminal.size = os.terminal_size((80, 3))
    preview(terminal, Abilities()).show(lambda: QUARTERS)
    assert terminal.getvalue() == ""


def test_a_terminal_that_is_made_smaller_gets_a_smaller_picture(terminal: Terminal) -> None:
    shown = preview(terminal, Abilities(true_colour=True))
    shown.show(lambda: QUARTERS)
    terminal.size = os.terminal_size((80, 12))
    shown.show(lambda: QUARTERS)
    assert sum(line.startswith("▀") for line in terminal.screen.text()) == 9


def test_a_large_terminal_keeps_most_of_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(200, 90)
    monkeypatch.setattr(streams, "draw", terminal.write)
    preview(terminal, Abilities(true_colour=True)).show(lambda: QUARTERS)
    assert sum(line.startswith("▀") for line in terminal.screen.text()) == MOST_LINES


def test_previews_take_a_small_share_of_the_time(terminal: Terminal) -> None:
    clock = Clock()
    shown = preview(terminal, Abilities(), clock)

    def slow() -> np.ndarray:
        clock.now += 0.03
        return QUARTERS

    spent = 0.0
    while clock.now < 30:
        if shown.due():
            before = clock.now
            shown.show(slow)
            spent += clock.now - before
        clock.now += 0.1
    assert 0 < spent <= 0.05 * clock.now


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, Abilities(KITTY, True)),
        ({"TERM": "xterm-ghostty"}, Abilities(KITTY, True)),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, Abilities(ITERM2, True)),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, Abilities(ITERM2, True)),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, Abilities(ITERM2, True)),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, Abilities(BLOCKS, True)),
        ({"TERM": "xterm-256color"}, Abilities(BLOCKS, False)),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/1", "KITTY_WINDOW_ID": "1"}, Abilities(BLOCKS, False)),
        ({"TERM": "screen", "LC_TERMINAL": "iTerm2", "COLORTERM": "truecolor"}, Abilities(BLOCKS, True)),
    ],
)
def test_the_environment_tells_what_a_terminal_can(environment: dict[str, str], expected: Abilities) -> None:
    assert abilities.of_environment(environment) == expected


@pytest.mark.parametrize(
    ("answer", "way"),
    [
        (b"\x1b[6;20;10t\x1b[?62;4;22c", SIXEL),
        (b"\x1b[?62;4;22c", BLOCKS),  # of what size?
        (b"\x1b[6;20;10t\x1b[?62;22c", BLOCKS),
        (b"\x1b[6;20;10t\x1b[?64;14;24c", BLOCKS),
        (b"\x1b[6;9999;1t\x1b[?4c", BLOCKS),
        (b"", BLOCKS),
        (b"typed ahead", BLOCKS),
    ],
)
def test_the_answer_tells_of_sixels(answer: bytes, way: str) -> None:
    assert abilities.of_answer(answer, Abilities()).way == way


class OnTerminal:
    """A process whose terminal is another end that we hold; ``answer`` is what that answers."""

    def __init__(self, arguments: list[str], answer: bytes) -> None:
        self.pid, self.other_end = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, *arguments])
        fcntl.ioctl(self.other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.said = b""
        self._thread = threading.Thread(target=self._serve, args=(answer,), daemon=True)
        self._thread.start()

    def _serve(self, answer: bytes) -> None:
        answered = False
        while True:
            try:
                data = os.read(self.other_end, 4096)
            except OSError:
                return
            if not data:
                return
            self.said += data
            if b"\x1b[c" in self.said and not answered:
                answered = True
                os.write(self.other_end, answer)

    def result(self) -> bytes:
        self._thread.join(60)
        assert not self._thread.is_alive()
        os.waitpid(self.pid, 0)
        os.close(self.other_end)
        return self.said


CODE = """
import os
os.environ["TERM"] = "xterm-256color"
for name in ("COLORTERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY"):
    os.environ.pop(name, None)
from sdgen.cli.terminal import abilities
abilities.SECONDS = 30.0
print("found", abilities.found().way, flush=True)
"""


def test_a_terminal_is_asked_and_its_answer_is_not_shown() -> None:
    said = OnTerminal(["-c", CODE], b"\x1b[6;20;10t\x1b[?62;4c").result()
    assert b"found sixel" in said
    assert b"?62;4c" not in said


def test_a_terminal_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert abilities.obstacle() is None


def test_a_pipe_a_dumb_terminal_and_latin_1_are_obstacles(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "encoding", "latin-1", raising=False)
    assert "no half blocks" in str(abilities.obstacle())
    monkeypatch.setenv("TERM", "dumb")
    assert "TERM is dumb" in str(abilities.obstacle())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert abilities.obstacle() == "stderr is no terminal"


def test_the_command_shows_what_forms_and_takes_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Command(tmp_path, monkeypatch)
    for name in ("TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    source = Path(stand_in.__file__)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(package.__file__).parents[1]), str(source.parent)])
    )
    arguments = [str(source), "a fox", "--model", "mini", "--seed", "7", "--preview", "--size", "64x64"]
    said = OnTerminal(arguments, b"\x1b[?62;22c").result().decode()
    screen = Screen()
    screen.feed(said.replace("\r\n", "\n"))
    shown = [line for line in screen.text() if line]
    assert "▀" in said and "\x1b[38;2;" in said
    assert shown[0] == "outputs/0001-a-fox-7.png" and shown[1].startswith("1 image drawn, in ")
    assert len(shown) == 2

"""Files that a user names are opened at once, or refused with a sentence."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sdgen.errors import CheckpointError, InputError
from sdgen.files.user_files import open_regular, read_regular, require_regular
from sdgen.text.printable import printable


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"), [(_pipe, "a named pipe"), (Path.mkdir, "a folder"), (_socket, "a socket")]
)
@pytest.mark.usefixtures("bounded")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, make, kind):
    monkeypatch.chdir(tmp_path)  # Names of sockets are short.
    path = Path("it")
    make(path)
    for opened in (open_regular, require_regular):
        with pytest.raises(CheckpointError, match=f"it is {kind}, where a file is needed"):
            opened(path, error=CheckpointError)


@pytest.mark.usefixtures("bounded")
def test_a_device_is_refused():
    with pytest.raises(InputError, match="/dev/zero is a device"):
        read_regular(Path("/dev/zero"), 10)


def test_a_file_is_read_through_a_link_and_within_its_bound(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 5) == b"12345"
    with pytest.raises(InputError, match="has 5 bytes; the most that is read is 4"):
        read_regular(tmp_path / "link", 4)


def test_files_that_hide_their_size_are_bounded_too():
    with pytest.raises(InputError, match="more than 4 bytes"):
        read_regular(Path("/proc/self/status"), 4)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


@pytest.mark.parametrize("char", ["\x1b", "\x07", "\x9b", "\x7f", "\u202e", "\u2028", "\ud800", "\n"])
def test_what_a_terminal_obeys_is_escaped(char):
    shown = printable(f"a{char}b")
    assert shown.isascii() and shown.isprintable()


def test_what_people_write_is_shown_as_it_is():
    assert printable("un zorro 狐狸 🦊\n", kept="\n") == "un zorro 狐狸 🦊\n"

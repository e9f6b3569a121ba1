"""The worker's half of the meeting: where it listens, what it announces, whom it welcomes."""

import json
import os
import socket
from pathlib import Path

import pytest

from codex_control_plane_mcp import __version__, rendezvous
from codex_control_plane_mcp.rendezvous import Unwelcome


def test_the_socket_lies_beside_the_database_and_a_dead_one_is_removed(tmp_path: Path) -> None:
    state_db = str(tmp_path / "db")
    for _ in range(2):
        descriptor = rendezvous.choose_address(state_db)
        assert descriptor.path == state_db + ".worker.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(descriptor.path)


@pytest.mark.parametrize("beside", [True, False])
def test_elsewhere_the_socket_has_a_private_folder_which_goes_with_it(
    beside: bool, tmp_path: Path
) -> None:
    state_db = str(tmp_path / ("long" * 40 if beside else "db"))
    descriptor = rendezvous.choose_address(state_db, beside=beside)
    folder = Path(descriptor.path).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(os.fsencode(descriptor.path)) < rendezvous.MAX_SOCKET_PATH_BYTES
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(descriptor.path)
    rendezvous.write_descriptor(state_db, descriptor)
    rendezvous.withdraw(state_db, descriptor)
    assert not folder.exists()
    assert rendezvous.read_descriptor(state_db) is None


def test_the_descriptor_is_private_and_says_where_and_who(tmp_path: Path) -> None:
    state_db = str(tmp_path / "db")
    descriptor = rendezvous.choose_address(state_db)
    descriptor.pid, descriptor.started_at = 7, "boot:x:1"
    rendezvous.write_descriptor(state_db, descriptor)
    file = Path(rendezvous.descriptor_path(state_db))
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == {
        "format": 1,
        "kind": "unix",
        "path": state_db + ".worker.sock",
        "pid": 7,
        "startedAt": "boot:x:1",
        "version": __version__,
    }
    assert os.listdir(tmp_path) == ["db.worker.json"]  # noqa: PTH208


def test_a_tcp_descriptor_is_read_back_as_written(tmp_path: Path) -> None:
    state_db = str(tmp_path / "db")
    written = rendezvous.Descriptor(kind="tcp", host="127.0.0.1", port=9, token="t", pid=7)
    rendezvous.write_descriptor(state_db, written)
    read = rendezvous.read_descriptor(state_db)
    assert read is not None
    assert (read.kind, read.host, read.port, read.token) == ("tcp", "127.0.0.1", 9, "t")
    rendezvous.withdraw(state_db, written)
    rendezvous.withdraw(state_db, written)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format":1,"kind":"tcp","host":"h","port":"x","pid":1,"startedAt":"","version":""}',
        '{"format":1,"kind":"smoke","pid":1,"startedAt":"","version":""}',
    ],
)
def test_an_unusable_descriptor_means_that_nobody_answers(text: str, tmp_path: Path) -> None:
    state_db = str(tmp_path / "db")
    Path(rendezvous.descriptor_path(state_db)).write_text(text)
    assert rendezvous.connect(state_db) is None


def test_a_pipe_with_the_right_token_is_welcome() -> None:
    greeting = rendezvous.read_pipe_greeting(rendezvous.pipe_greeting("secret"), "secret")
    assert (greeting.version, greeting.pid) == (__version__, os.getpid())
    rendezvous.read_pipe_greeting(rendezvous.pipe_greeting("whatever"), None)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        pytest.param(rendezvous.pipe_greeting(None), "token", id="no token"),
        pytest.param(rendezvous.pipe_greeting("guess"), "token", id="another token"),
        (b'{"pipe":1,"token":"\\ud800","version":"1","pid":1}', "token"),
        (b"GET / HTTP/1.1\r", "not a JSON object"),
        (b'{"pipe":2,"token":"secret","version":"9","pid":1}', "greeting 1"),
        (b'{"pipe":1,"token":"secret","version":"9"}', "lacks"),
    ],
)
def test_an_unwelcome_caller_is_told_why(line: bytes, why: str) -> None:
    with pytest.raises(Unwelcome, match=why) as caught:
        rendezvous.read_pipe_greeting(line, "secret")
    assert json.loads(caught.value.answer) == {"error": str(caught.value)}

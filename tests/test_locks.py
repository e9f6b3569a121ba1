"""Only one holder at a time, also between processes, and none after a death."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from codex_control_plane_mcp.locks import FileLock, is_held

PATIENCE = 10

HOLDER = """
import sys
from codex_control_plane_mcp.locks import FileLock
FileLock(sys.argv[1]).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_holder_is_turned_away_at_once(tmp_path: Path) -> None:
    with FileLock(str(tmp_path / "lock")) as first:
        assert first.held
        second = FileLock(str(tmp_path / "lock"))
        assert second.acquire(blocking=False) is False
        assert not second.held
    assert second.acquire(blocking=False) is True
    second.release()


def test_a_waiting_holder_gets_the_lock_when_it_is_released(tmp_path: Path) -> None:
    first, second = FileLock(str(tmp_path / "lock")), FileLock(str(tmp_path / "lock"))
    first.acquire()
    waiter = threading.Thread(target=second.acquire)
    waiter.start()
    first.release()
    waiter.join(PATIENCE)
    assert second.held
    second.release()


def test_the_death_of_the_holder_releases_the_lock_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_held(str(path))
        holder.kill()
        holder.wait(PATIENCE)
    assert not is_held(str(path))
    assert path.exists()


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGSTOP")
def test_a_holder_that_is_stopped_keeps_the_lock_until_it_dies(tmp_path: Path) -> None:
    """F11: it may wake at any time, so nobody may take its place."""
    lock = FileLock(str(tmp_path / "lock"))
    command = [sys.executable, "-c", HOLDER, lock.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        assert lock.acquire(blocking=False) is False
        holder.kill()
        holder.wait(PATIENCE)
    assert lock.acquire(blocking=False) is True
    lock.release()


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = FileLock(str(tmp_path / "lock"))
    lock.acquire()
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, close_fds=False):
        lock.release()
        assert not is_held(lock.path)


def test_a_lock_in_a_folder_that_does_not_exist_is_held_by_nobody(tmp_path: Path) -> None:
    assert not is_held(str(tmp_path / "nowhere" / "lock"))


def test_taking_a_lock_twice_is_a_mistake_and_releasing_it_twice_is_not(tmp_path: Path) -> None:
    lock = FileLock(str(tmp_path / "lock"))
    lock.acquire()
    with pytest.raises(RuntimeError):
        lock.acquire()
    lock.release()
    lock.release()


def test_the_lock_file_is_closed_to_others(tmp_path: Path) -> None:
    with FileLock(str(tmp_path / "lock")):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600

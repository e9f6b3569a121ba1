"""A process is ours only if its start matches too; a stranger on its pid is left alone (F19)."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from codex_control_plane_mcp.processes import (
    Identity,
    identity_of,
    is_alive,
    started_when,
    terminate,
)

PATIENCE = 10


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_running_process_is_alive_and_its_identity_is_stable(
    child: subprocess.Popen[bytes],
) -> None:
    identity = identify(child)
    assert identity.pid == child.pid
    assert identity_of(child.pid) == identity
    assert is_alive(identity)


def test_a_process_says_when_it_started_for_as_long_as_it_runs(
    child: subprocess.Popen[bytes],
) -> None:
    identity = identify(child)
    started = started_when(identity)
    assert started is not None
    assert abs(started - time.time()) < 3600
    child.kill()
    child.wait(PATIENCE)
    assert started_when(identity) is None


def test_two_processes_differ(child: subprocess.Popen[bytes]) -> None:
    own = identity_of(os.getpid())
    assert own is not None
    assert own.started_at != identify(child).started_at


def test_a_process_that_ended_is_not_alive_even_before_it_is_reaped(
    child: subprocess.Popen[bytes],
) -> None:
    identity = identify(child)
    child.kill()
    # Waits for the death without collecting it: what is left is a zombie.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(identity)
    assert identity_of(child.pid) is None
    child.wait(PATIENCE)
    assert not is_alive(identity)
    assert not terminate(identity)


def test_a_stranger_on_our_pid_is_neither_ours_nor_touched(child: subprocess.Popen[bytes]) -> None:
    recorded = replace(identify(child), started_at="boot:another:1")
    assert not is_alive(recorded)
    assert terminate(recorded) is False
    assert psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE
    assert child.poll() is None


def test_our_own_process_is_ended(child: subprocess.Popen[bytes]) -> None:
    assert terminate(identify(child)) is True
    assert child.wait(PATIENCE) != 0


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, 2**40])
def test_a_pid_that_nobody_can_have_has_no_identity(pid: int) -> None:
    assert identity_of(pid) is None


def identify(process: subprocess.Popen[bytes]) -> Identity:
    identity = identity_of(process.pid)
    assert identity is not None
    return identity

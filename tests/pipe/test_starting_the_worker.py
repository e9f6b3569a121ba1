"""Nobody answers yet: one worker is started, or every request is told why there is none."""

import os
import signal
import sys
from contextlib import ExitStack

import psutil
import pytest

from codex_control_plane_mcp import rendezvous
from tests.pipe.actors import (
    INITIALIZE,
    Client,
    FakeWorker,
    StandIns,
    answer,
    call,
    pipe_client,
    request,
)


def test_the_first_client_starts_the_worker_and_it_outlives_the_pipe(
    state_db: str, stand_ins: StandIns
) -> None:
    with pipe_client(state_db, stand_ins.command) as client:
        client.send(INITIALIZE)
        pid = client.receive()["result"]["pid"]
        client.process.send_signal(signal.SIGKILL)
    assert stand_ins.started == [pid]
    assert os.getsid(pid) == pid
    with pipe_client(state_db) as client:  # which could not start one
        client.send(INITIALIZE)
        assert client.receive() == answer(0, pid=pid)


def test_four_clients_at_once_start_one_worker(state_db: str, stand_ins: StandIns) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(pipe_client(state_db, stand_ins.command)) for _ in range(4)]
        for client in clients:
            client.send(INITIALIZE)
        answers = [client.receive()["result"]["pid"] for client in clients]
    assert answers == stand_ins.started * 4


def test_a_killed_worker_is_replaced_and_leaves_no_zombie(
    state_db: str, stand_ins: StandIns
) -> None:
    with pipe_client(state_db, stand_ins.command) as client:
        client.send(INITIALIZE)
        first = client.receive()["result"]["pid"]
        client.send(call(1, "die"))
        assert client.receive()["result"]["isError"] is True
        client.send(call(2, "read"))
        second = client.receive()["result"]["pid"]
        children = psutil.Process(client.process.pid).children()
        assert [child.pid for child in children] == [second]
    assert stand_ins.started == [first, second]


def test_a_client_that_hangs_up_before_the_worker_is_there_loses_no_request(
    state_db: str, stand_ins: StandIns
) -> None:
    with pipe_client(state_db, stand_ins.command) as client:
        client.send(INITIALIZE, call(1, "submit"))
        client.close_stdin()
        assert [client.receive()["id"], client.receive()["id"]] == [0, 1]
        assert client.exit_code() == 0


def test_a_worker_that_says_why_it_cannot_start_is_quoted_to_every_request(state_db: str) -> None:
    with pipe_client(state_db) as client:
        client.send(INITIALIZE, call(1, "codex_submit_task"), request(2, "tools/list"))
        first, second, third = (client.receive() for _ in range(3))
    assert (first["id"], first["error"]["code"]) == (0, -32603)
    assert "there is none in this test" in first["error"]["message"]
    error = second["result"]["structuredContent"]["error"]
    assert second["result"]["isError"] is True
    assert (error["code"], error["retryable"]) == ("CODEX_STATE_BUSY", True)
    assert "there is none in this test" in error["message"]
    assert (third["id"], third["error"]["code"]) == (2, -32603)


def test_after_a_failed_start_the_next_request_tries_again(state_db: str) -> None:
    with pipe_client(state_db) as client:
        client.send(INITIALIZE)
        assert client.receive()["error"]["code"] == -32603
        with FakeWorker(state_db) as worker:
            client.shake_hands(worker)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("print('hello')", "ended before it was ready"),
        ("print('ready')", "does not answer"),
    ],
)
def test_a_worker_that_fails_without_a_word_is_described(
    script: str, told: str, state_db: str
) -> None:
    with pipe_client(state_db, [sys.executable, "-c", script]) as client:
        client.send(INITIALIZE)
        assert told in client.receive()["error"]["message"]


def test_a_command_that_does_not_exist_is_described(state_db: str) -> None:
    with pipe_client(state_db, ["/does/not/exist"]) as client:
        client.send(INITIALIZE)
        assert "/does/not/exist" in client.receive()["error"]["message"]


def test_a_folder_that_cannot_be_made_is_described() -> None:
    with pipe_client("/dev/null/state.sqlite3") as client:
        client.send(INITIALIZE)
        assert "cannot start the worker" in client.receive()["error"]["message"]


def test_a_worker_that_refuses_the_pipe_is_quoted(client: Client, worker: FakeWorker) -> None:
    client.send(INITIALIZE)
    connection = worker.accept_silently()
    connection.receive()
    connection.send({"error": "I am being replaced"})
    assert "I am being replaced" in client.receive()["error"]["message"]


def test_a_worker_that_hangs_up_on_the_greeting_counts_as_gone(
    client: Client, worker: FakeWorker
) -> None:
    client.send(INITIALIZE)
    # Once before the start lock, once under it, once after the failed start.
    for _ in range(3):
        worker.accept_silently().close()
    assert "there is none in this test" in client.receive()["error"]["message"]


def test_a_worker_is_reached_over_tcp_with_its_token(state_db: str) -> None:
    with FakeWorker(state_db, tcp=True) as worker, pipe_client(state_db) as client:
        client.shake_hands(worker)


def test_a_stranger_on_the_address_of_a_dead_worker_is_passed_over(
    state_db: str, stand_ins: StandIns
) -> None:
    with (
        FakeWorker(state_db, tcp=True) as stranger,
        pipe_client(state_db, stand_ins.command) as client,
    ):
        client.send(INITIALIZE)
        for _ in range(2):
            stranger.accept_silently().send_raw(b"220 mail.example.org ESMTP\n")
        assert client.receive()["result"]["pid"] == stand_ins.started[0]


def test_a_descriptor_from_another_age_is_passed_over(state_db: str, stand_ins: StandIns) -> None:
    with open(rendezvous.descriptor_path(state_db), "w") as file:  # noqa: PTH123
        file.write('{"format": 2, "kind": "carrier pigeon"}')
    with pipe_client(state_db, stand_ins.command) as client:
        client.send(INITIALIZE)
        assert client.receive()["result"]["pid"] == stand_ins.started[0]

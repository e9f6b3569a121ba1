"""With a worker that stays: lines pass unchanged, faults are answered, and leaving is orderly."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from codex_control_plane_mcp import framing
from tests.pipe.actors import (
    INITIALIZE,
    INITIALIZED,
    PATIENCE,
    Client,
    FakeWorker,
    Message,
    answer,
    call,
    pipe_client,
    request,
)


def test_lines_pass_unchanged_in_both_directions(client: Client, worker: FakeWorker) -> None:
    connection = client.shake_hands(worker)
    asked = b'{ "jsonrpc":"2.0",  "id":"\\u00e9", "method":"tools/list" , "odd":1e2 }'
    answered = '{"result": {"text":"ü\\ud800"},  "id":"é","jsonrpc":"2.0"}'.encode()
    client.send_raw(asked + b"\r\n")
    assert connection.receive_raw() == asked
    connection.send_raw(answered + b"\n")
    assert client.receive_raw() == answered


def test_answers_may_come_in_any_order_and_notifications_in_between(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
    client.send(call(1, "codex_wait"), call(2, "codex_wait"))
    assert [connection.receive()["id"], connection.receive()["id"]] == [1, 2]
    connection.send(answer(2), progress, answer(1))
    assert [client.receive() for _ in range(3)] == [answer(2), progress, answer(1)]


def test_a_client_of_2026_needs_no_handshake(client: Client, worker: FakeWorker) -> None:
    client.send(request(1, "server/discover"))
    connection = worker.accept()
    assert connection.receive() == request(1, "server/discover")
    connection.send(answer(1, capabilities={}))
    assert client.receive() == answer(1, capabilities={})


def test_a_client_may_send_everything_before_the_first_answer(
    client: Client, worker: FakeWorker
) -> None:
    client.send(INITIALIZE, INITIALIZED, request(1, "tools/list"))
    connection = worker.accept()
    assert connection.receive() == INITIALIZE
    connection.send(answer(0))
    assert connection.receive() == INITIALIZED
    assert connection.receive() == request(1, "tools/list")
    connection.send(answer(1))
    assert [client.receive(), client.receive()] == [answer(0), answer(1)]


def test_a_large_line_passes_in_both_directions(client: Client, worker: FakeWorker) -> None:
    connection = client.shake_hands(worker)
    text = "x" * (framing.MAX_LINE_BYTES - 1000)
    with_text = call(1, "codex_submit_task", message=text)
    with in_thread(client.send, with_text):
        assert connection.receive() == with_text
    with in_thread(connection.send, answer(1, text=text)):
        assert client.receive() == answer(1, text=text)


def test_requests_are_accepted_and_answers_passed_on_while_both_ways_are_full(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    text = "x" * 2_000_000
    client.send(call(1, "codex_wait"))
    assert connection.receive()["id"] == 1
    # The worker reads nothing before its answer is taken, the client takes nothing before its
    # request is: only the pipe can keep them apart.
    with in_thread(client.send, call(2, "codex_submit_task", message=text)):
        connection.send(answer(1, text="small"))
        assert client.receive() == answer(1, text="small")
        assert connection.receive()["id"] == 2


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"garbage", -32700),
        (b'{"half":', -32700),
        (b"\xff\xfe{}", -32700),
        (b'{"deep":' + b"[" * 10_000 + b"]" * 10_000 + b"}", -32700),
        (b"42", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b"x" * 10_000_000, -32600),
    ],
    ids=["garbage", "half", "not utf-8", "deep", "number", "batch", "10 MB"],
)
def test_a_line_that_is_no_message_is_answered_and_the_server_goes_on(
    line: bytes, code: int, client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    client.send_raw(line + b"\n")
    refused = client.receive()
    assert (refused["id"], refused["error"]["code"]) == (None, code)
    client.send(request(1, "ping"))
    assert connection.receive() == request(1, "ping")
    connection.send(answer(1))
    assert client.receive() == answer(1)


def test_a_faulty_line_is_answered_before_any_worker_is(state_db: str) -> None:
    with pipe_client(state_db) as client:
        client.send_raw(b"7\n")
        assert client.receive()["error"]["code"] == -32600


def test_what_the_worker_says_beyond_protocol_never_reaches_stdout(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    connection.send_raw(b"Traceback (most recent call last):\n7\n\n")
    client.send(request(1, "ping"))
    connection.receive()
    connection.send(answer(1))
    assert client.receive() == answer(1)


def test_a_request_before_hanging_up_is_handed_over_and_its_answer_passed_on(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    client.send(call(1, "codex_submit_task"))
    client.close_stdin()
    assert connection.receive() == call(1, "codex_submit_task")
    assert connection.receive_raw() is None  # no more will come, and the worker knows it
    connection.send(answer(1))
    assert client.receive() == answer(1)
    assert client.receive_raw() is None
    assert client.exit_code() == 0


def test_a_last_line_without_its_end_is_handed_over(client: Client, worker: FakeWorker) -> None:
    connection = client.shake_hands(worker)
    client.send_raw(json.dumps(request(1, "ping")).encode())
    client.close_stdin()
    assert connection.receive() == request(1, "ping")
    connection.send(answer(1))
    assert client.receive() == answer(1)
    assert client.exit_code() == 0


def test_a_client_that_hangs_up_with_nothing_owed_is_left_at_once(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    client.close_stdin()
    assert client.exit_code() == 0
    assert connection.receive_raw() is None


def test_a_client_that_hung_up_is_not_waited_for_when_the_worker_closes(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    client.send(call(1, "codex_get_operation_status"))
    client.close_stdin()
    connection.receive()
    assert connection.receive_raw() is None
    connection.close()
    assert client.exit_code() == 0
    assert not worker.is_called()  # what was handed over is not sent again for nobody


def test_a_client_that_hung_up_is_waited_for_only_for_a_while(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    client.send(call(1, "codex_wait"))
    assert connection.receive()["id"] == 1
    client.close_stdin()
    assert client.exit_code() == 0


def test_the_pipe_leaves_when_nobody_reads_its_answers(client: Client, worker: FakeWorker) -> None:
    connection = client.shake_hands(worker)
    client.send(request(1, "ping"))
    connection.receive()
    client.close_stdout()
    connection.send(answer(1))
    assert client.exit_code() == 0


@contextmanager
def in_thread(send: Callable[[Message], None], message: Message) -> Iterator[None]:
    sender = threading.Thread(target=send, args=(message,))
    sender.start()
    yield
    sender.join(PATIENCE)
    assert not sender.is_alive()

"""When the worker goes away: what is safe is sent again, the rest is answered, nothing hangs."""

import pytest

from codex_control_plane_mcp import framing
from codex_control_plane_mcp.pipe import MAX_LOSSES
from tests.pipe.actors import (
    INITIALIZE,
    INITIALIZED,
    Client,
    Connection,
    FakeWorker,
    Message,
    answer,
    call,
    request,
)


def repeat_handshake(connection: Connection) -> None:
    assert connection.receive() == INITIALIZE
    connection.send(answer(0, serverInfo="second"))
    assert connection.receive() == INITIALIZED


@pytest.mark.parametrize(
    "unanswered",
    [
        request(1, "tools/list"),
        request(1, "ping"),
        call(1, "codex_get_operation_status", operation_id="x"),
        call(1, "codex_submit_task", client_request_id="mine"),
    ],
    ids=["list", "ping", "a read", "a write with a key"],
)
def test_a_safe_request_is_sent_again_behind_a_repeated_handshake(
    unanswered: Message, client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    client.send(unanswered)
    assert connection.receive() == unanswered
    connection.close()
    connection = worker.accept()
    repeat_handshake(connection)
    assert connection.receive() == unanswered
    connection.send(answer(1, from_="the second"))
    # The repeated handshake's answer is not for the client, which had one.
    assert client.receive() == answer(1, from_="the second")


@pytest.mark.parametrize(
    "unanswered",
    [
        call(1, "codex_submit_task", message="no key"),
        call(1, "codex_submit_task", client_request_id=""),
        call(1, "codex_interrupt_turn", client_request_id="not for this tool"),
        request(1, "tools/call"),
        request(1, "tools/call", name="codex_submit_task", arguments=[1]),
    ],
    ids=["no key", "empty key", "not keyed", "no name", "no arguments"],
)
def test_an_unsafe_call_is_not_sent_again_but_answered_with_what_to_do(
    unanswered: Message, client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    client.send(unanswered)
    assert connection.receive() == unanswered
    connection.close()
    result = client.receive()["result"]
    assert result["isError"] is True
    error = result["structuredContent"]["error"]
    assert (error["code"], error["retryable"], error["details"]) == ("CODEX_STATE_BUSY", True, {})
    assert "may or may not have been stored" in error["message"]
    assert framing.compact(result["structuredContent"]).decode() == result["content"][0]["text"]
    client.send(request(2, "ping"))
    connection = worker.accept()
    repeat_handshake(connection)
    assert connection.receive() == request(2, "ping")


def test_what_was_answered_or_cancelled_is_not_sent_again(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
    client.send(request(1, "ping"), request(2, "ping"), request(3, "ping"), cancel)
    for _ in range(4):
        connection.receive()
    connection.send(answer(1))
    assert client.receive() == answer(1)
    connection.close()
    connection = worker.accept()
    repeat_handshake(connection)
    assert connection.receive() == request(3, "ping")


def test_an_answer_cut_in_half_is_no_answer(client: Client, worker: FakeWorker) -> None:
    connection = client.shake_hands(worker)
    client.send(request(1, "ping"))
    connection.receive()
    connection.send_raw(b'{"jsonrpc":"2.0","id":1,"resu')
    connection.close()
    connection = worker.accept()
    repeat_handshake(connection)
    assert connection.receive() == request(1, "ping")
    connection.send(answer(1))
    assert client.receive() == answer(1)


def test_a_worker_lost_during_the_first_handshake_is_replaced_unnoticed(
    client: Client, worker: FakeWorker
) -> None:
    client.send(INITIALIZE)
    connection = worker.accept()
    connection.receive()
    connection.close()
    connection = worker.accept()
    assert connection.receive() == INITIALIZE
    connection.send(answer(0))
    assert client.receive() == answer(0)


def test_a_worker_that_leaves_idle_is_not_called_back_before_it_is_needed(
    client: Client, worker: FakeWorker
) -> None:
    client.shake_hands(worker).close()
    client.send_raw(b"7\n")  # answered by the pipe itself
    client.receive()
    assert not worker.is_called()
    client.send(request(1, "ping"))
    repeat_handshake(worker.accept())


def test_a_client_of_2026_has_no_handshake_to_repeat(client: Client, worker: FakeWorker) -> None:
    client.send(request(1, "server/discover"))
    connection = worker.accept()
    connection.receive()
    connection.close()
    assert worker.accept().receive() == request(1, "server/discover")


def test_what_an_older_client_subscribed_to_is_known_to_the_next_worker(
    client: Client, worker: FakeWorker
) -> None:
    kept, given_up = (
        request(id_, "resources/subscribe", uri=f"codex://operation/{id_}") for id_ in (1, 2)
    )
    end = request(3, "resources/unsubscribe", uri="codex://operation/2")
    connection = client.shake_hands(worker)
    for asked in (kept, given_up, end):
        client.send(asked)
        assert connection.receive() == asked
        connection.send(answer(asked["id"]))
        client.receive()
    connection.close()
    client.send(request(4, "ping"))
    connection = worker.accept()
    repeat_handshake(connection)
    assert connection.receive() == kept
    assert connection.receive() == request(4, "ping")
    connection.send(answer(1))  # not for the client, which had one
    connection.send(answer(4))
    updated = client.receive()
    assert (updated["method"], updated["params"]) == (
        "notifications/resources/updated",
        {"uri": "codex://operation/1"},
    )
    assert client.receive() == answer(4)


def test_a_worker_of_another_release_may_have_other_tools(
    client: Client, worker: FakeWorker
) -> None:
    client.shake_hands(worker).close()
    client.send(request(1, "ping"))
    worker.tools = "of another release"
    connection = worker.accept()
    repeat_handshake(connection)
    assert connection.receive() == request(1, "ping")
    assert client.receive()["method"] == "notifications/tools/list_changed"


def test_a_handshake_that_the_worker_refused_is_not_repeated(
    client: Client, worker: FakeWorker
) -> None:
    client.send(INITIALIZE)
    connection = worker.accept()
    connection.receive()
    refusal = {"jsonrpc": "2.0", "id": 0, "error": {"code": -32602, "message": "no"}}
    connection.send(refusal)
    assert client.receive() == refusal
    connection.close()
    client.send(request(1, "ping"))
    assert worker.accept().receive() == request(1, "ping")


def test_a_request_that_every_worker_dies_of_is_given_up(
    client: Client, worker: FakeWorker
) -> None:
    client.send(call(1, "codex_get_operation_status"), request(2, "ping"))
    for _ in range(MAX_LOSSES):
        connection = worker.accept()
        connection.receive()
        connection.close()
    error = client.receive()["result"]["structuredContent"]["error"]
    assert "may be the cause" in error["message"]
    assert client.receive()["error"]["code"] == -32603
    client.send(request(3, "ping"))
    assert worker.accept().receive() == request(3, "ping")


def test_questions_of_a_lost_worker_are_withdrawn_and_late_answers_kept_from_the_next(
    client: Client, worker: FakeWorker
) -> None:
    connection = client.shake_hands(worker)
    connection.send(request(7, "elicitation/create"))
    assert client.receive() == request(7, "elicitation/create")
    connection.close()
    withdrawn = client.receive()
    assert withdrawn["method"] == "notifications/cancelled"
    assert withdrawn["params"]["requestId"] == 7
    client.send(request(1, "ping"))
    connection = worker.accept()
    repeat_handshake(connection)
    assert connection.receive() == request(1, "ping")
    connection.send(request(7, "elicitation/create"), request(8, "elicitation/create"))
    assert [client.receive()["id"], client.receive()["id"]] == [7, 8]
    # Which of the two questions under the id 7 these answer, nobody can tell.
    client.send(answer(7, action="accept"), answer(7, action="accept"), answer(8, action="decline"))
    assert connection.receive() == answer(8, action="decline")


def test_a_worker_beyond_belief_is_dropped(client: Client, worker: FakeWorker) -> None:
    connection = client.shake_hands(worker)
    client.send(request(1, "ping"))
    connection.receive()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.send_raw(b"x" * 100 * 1024 * 1024)
    connection = worker.accept()
    repeat_handshake(connection)
    assert connection.receive() == request(1, "ping")

"""What a client is told before there is a worker, and that it is what the worker would say."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codex_control_plane_mcp import surface
from scripts import make_surface
from scripts.make_surface import LISTS, STATEFUL, STATELESS, handshake, statelessly
from tests.pipe.actors import INITIALIZED, FakeWorker, Message, answer, pipe_client, request

DISCOVER = "server/discover"
VERSION = STATEFUL[-1]


@pytest.fixture(autouse=True)
def usual_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if "_MCP_" in name]:
        monkeypatch.delenv(name)


@pytest.fixture
def known() -> surface.Surface:
    found = surface.load({})
    assert found is not None
    return found


def hello(version: str = VERSION, **more: object) -> Message:
    return request(0, "initialize", **{**handshake(version), **more})


def test_a_client_is_connected_and_has_its_lists_before_there_is_a_worker(
    state_db: str, known: surface.Surface
) -> None:
    with pipe_client(state_db) as client:
        client.send(hello(), INITIALIZED)
        greeted = known.answer("initialize", handshake(VERSION), None)
        assert client.receive()["result"] == greeted
        for method in LISTS:
            client.send({"jsonrpc": "2.0", "id": method, "method": method})
            assert client.receive()["result"] == known.answer(method, {}, handshake(VERSION))
        client.send(request(1, DISCOVER, **statelessly(STATELESS[-1])))
        assert client.receive()["result"]["supportedVersions"] == list(STATELESS)


def test_the_worker_hears_of_the_handshake_and_its_answer_is_not_told_twice(
    state_db: str,
) -> None:
    with pipe_client(state_db) as client:
        client.send(hello(), INITIALIZED)
        assert client.receive()["id"] == 0
        with FakeWorker(state_db) as worker:
            client.send(request(1, "ping"))
            connection = worker.accept()
            assert connection.receive() == hello()
            connection.send(answer(0, serverInfo="another"))
            assert connection.receive() == INITIALIZED
            assert connection.receive() == request(1, "ping")
            connection.send(answer(1))
            assert client.receive() == {
                "jsonrpc": "2.0",
                "method": "notifications/tools/list_changed",
                "params": {},
            }, "the tools of this worker are others"
            assert client.receive() == answer(1)


def test_a_worker_with_the_same_tools_is_no_news(state_db: str, known: surface.Surface) -> None:
    with pipe_client(state_db) as client:
        client.send(hello(), INITIALIZED)
        assert client.receive()["id"] == 0
        with FakeWorker(state_db) as worker:
            worker.tools = known.tools
            client.send(request(1, "ping"))
            connection = worker.accept()
            connection.receive()
            connection.send(answer(0))
            assert [connection.receive(), connection.receive()] == [INITIALIZED, request(1, "ping")]
            connection.send(answer(1))
            assert client.receive() == answer(1)


@pytest.mark.parametrize(
    "unusual",
    [
        hello("2099-01-01"),
        hello(clientInfo=None),
        hello(capabilities=[]),
        request(0, "tools/list"),
        request(0, "tools/list", cursor="x"),
        request(0, DISCOVER),
        request(0, DISCOVER, **statelessly("2099-01-01")),
        request(0, DISCOVER, **statelessly(STATELESS[-1]), more=1),
        request(0, "ping"),
    ],
    ids=str,
)
def test_what_is_out_of_the_ordinary_waits_for_the_worker(
    unusual: Message, state_db: str, worker: FakeWorker
) -> None:
    with pipe_client(state_db) as client:
        client.send(unusual)
        connection = worker.accept()
        assert connection.receive() == unusual
        connection.send(answer(0, said="by the worker"))
        assert client.receive() == answer(0, said="by the worker")


def test_settings_that_name_other_tools_leave_it_to_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert surface.load({"CODEX_MCP_TOOLSETS": "core"}) is None
    assert surface.load({"CODEX_MCP_TOOLSETS": " "}) is not None
    config = tmp_path / "config.json"
    named = {"CODEX_CONTROL_PLANE_MCP_CONFIG": str(config)}
    assert surface.load(named) is None, "a file that is not there names who knows what"
    config.write_text(json.dumps({"toolsets": ["core"]}), encoding="utf-8")
    assert surface.load(named) is None
    config.write_text(json.dumps({"max_active_turns_global": 2}), encoding="utf-8")
    assert surface.load(named) is not None
    monkeypatch.setattr(surface, "__version__", "99.0.0")
    assert surface.load({}) is None, "installed since we started"


# --- The worker's own word -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_worker() -> Iterator[str]:
    with make_surface.worker() as state_db:
        yield state_db


def test_the_file_is_what_the_worker_says(real_worker: str) -> None:
    stored = json.loads(Path(surface.FILE).read_text(encoding="utf-8"))
    made: dict[str, Any] = json.loads(json.dumps(make_surface.surface(real_worker)))
    assert stored == made, "run `make docs`"


@pytest.mark.parametrize("version", STATEFUL)
def test_each_version_is_answered_as_the_worker_does(
    version: str, real_worker: str, known: surface.Surface
) -> None:
    with make_surface.session(real_worker) as session:
        assert known.answer("initialize", handshake(version), None) == session.initialize(version)
        for method in LISTS:
            assert known.answer(method, None, handshake(version)) == session.ask(method, {})


@pytest.mark.parametrize("method", [DISCOVER, *LISTS])
@pytest.mark.parametrize("version", STATELESS)
def test_a_request_that_says_who_asks_is_answered_as_the_worker_does(
    version: str, method: str, real_worker: str, known: surface.Surface
) -> None:
    said = statelessly(version)
    with make_surface.session(real_worker) as session:
        assert known.answer(method, said, None) == session.ask(method, said)

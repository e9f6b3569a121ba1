"""A session over a memory wire, with an app-server that misbehaves as told; on virtual time."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from trio.testing import MockClock

from codex_control_plane_mcp.codex import errors
from codex_control_plane_mcp.codex.session import CodexSession, Whereabouts, open_session
from codex_control_plane_mcp.codex.words import verbs
from codex_control_plane_mcp.codex.words.answers import decide
from codex_control_plane_mcp.codex.words.events import (
    ConnectionLost,
    Event,
    GoalCleared,
    ThreadStarted,
    TurnStarted,
    WarningRaised,
)
from codex_control_plane_mcp.codex.words.questions import CommandApproval, ServerRequest
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.processes import Identity
from codex_control_plane_mcp.rpc.beside import beside
from codex_control_plane_mcp.rpc.values import Json, JsonObject
from codex_control_plane_mcp.rpc.wire import MemoryWire, WireClosed, memory_wire_pair

TH, TU = ThreadId("th"), TurnId("tu")
ASK = verbs.StartTurn(TH, (verbs.Text("hello"),), client_user_message_id="mine")
TURN: JsonObject = {"id": "tu", "status": "inProgress", "items": []}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


Reply = Callable[["AppServer", JsonObject], Awaitable[None]]


@dataclass
class AppServer:
    """The far end: answers by method, as the test says."""

    wire: MemoryWire
    replies: dict[str, Reply] = field(default_factory=dict)
    heard: list[JsonObject] = field(default_factory=list)
    responses: dict[Json, JsonObject] = field(default_factory=dict)
    answered: anyio.Event = field(default_factory=anyio.Event)

    async def serve(self) -> None:
        try:
            while True:
                await self._take(json.loads(await self.wire.receive()))
        except WireClosed:
            return

    async def _take(self, message: JsonObject) -> None:
        method = message.get("method")
        if not isinstance(method, str):
            self.responses[message["id"]] = message
            self.answered.set()
            return
        self.heard.append(message)
        if "id" in message:
            await self.replies[method](self, message)

    async def say(self, **message: Json) -> None:
        await self.wire.send(json.dumps(message))


def result(value: Json) -> Reply:
    async def reply(server: AppServer, asked: JsonObject) -> None:
        await server.say(id=asked["id"], result=value)

    return reply


def error(code: int, message: str, data: Json = None) -> Reply:
    async def reply(server: AppServer, asked: JsonObject) -> None:
        body: JsonObject = {"code": code, "message": message, "data": data}
        await server.say(id=asked["id"], error=body)

    return reply


async def silence(server: AppServer, asked: JsonObject) -> None:
    """No answer."""


async def hang_up(server: AppServer, asked: JsonObject) -> None:
    await server.wire.aclose()


HELLO: JsonObject = {"userAgent": "us/0.170.1 (Linux)", "codexHome": "/h", "platformOs": "linux"}


@asynccontextmanager
async def talking(
    unclaimed: list[Event | ServerRequest] | None = None, **replies: Reply
) -> AsyncIterator[tuple[CodexSession, AppServer]]:
    ours, theirs = memory_wire_pair()
    server = AppServer(theirs, {"initialize": result(HELLO)})
    server.replies |= {name.replace("_", "/"): reply for name, reply in replies.items()}
    here = Whereabouts("memory", None, owned=True, process=Identity(1, "then"))
    kept = [] if unclaimed is None else unclaimed
    with anyio.fail_after(10_000):
        async with (
            aclosing(theirs),
            beside(server.serve),
            open_session(ours, here, kept.append) as session,
        ):
            yield session, server


async def test_the_handshake_says_who_we_are_and_learns_the_version() -> None:
    async with talking() as (session, server):
        await anyio.wait_all_tasks_blocked()
        hello, initialized = server.heard
        params = hello["params"]

        assert isinstance(params, dict)
        assert isinstance(params["clientInfo"], dict)
        assert params["clientInfo"]["name"] == "codex-control-plane-mcp"
        assert isinstance(params["capabilities"], dict)
        assert params["capabilities"]["experimentalApi"] is True
        assert initialized == {"method": "initialized"}
        assert session.app_server.version == "0.170.1"
        assert session.app_server.id == "1@then"


async def test_an_approval_in_the_same_read_as_the_answer_is_not_lost() -> None:
    """F2, and events that come before the answer."""

    async def all_at_once(server: AppServer, asked: JsonObject) -> None:
        await server.say(method="turn/started", params={"threadId": "th", "turn": TURN})
        await server.say(id=asked["id"], result={"turn": TURN})
        approval: JsonObject = {"threadId": "th", "turnId": "tu", "itemId": "i", "command": "ls"}
        method = "item/commandExecution/requestApproval"
        await server.say(id=0, method=method, params=approval)

    async with talking(turn_start=all_at_once) as (session, server):
        turn = await session.start_turn(ASK)
        await anyio.wait_all_tasks_blocked()
        with session.inbox(TH) as inbox:
            started, asked = await inbox.receive_many()
            assert isinstance(started, TurnStarted)
            assert isinstance(asked, CommandApproval)
            assert (turn.id, started.turn_id) == ("tu", "tu")
            await session.answer(asked.request_id, decide(asked, "accept"))
            await server.answered.wait()

    assert server.responses[0] == {"id": 0, "result": {"decision": "accept"}}


async def test_what_is_not_ours_is_refused_with_an_error() -> None:
    async with talking() as (_, server):
        await server.say(id="x", method="attestation/generate", params={})
        await server.answered.wait()

    refusal = server.responses["x"]["error"]
    assert isinstance(refusal, dict)
    assert refusal["code"] == -32601
    assert "result" not in server.responses["x"]


async def test_no_answer_in_time_is_told_apart_from_a_refusal() -> None:
    async with talking(turn_start=silence) as (session, _):
        with pytest.raises(errors.CallTimedOut) as caught:
            await session.start_turn(ASK, timeout_seconds=7)

    assert (caught.value.method, caught.value.seconds) == ("turn/start", 7)


async def test_a_line_that_drops_during_a_call_leaves_it_in_doubt() -> None:
    async with talking(turn_start=hang_up) as (session, _):
        with session.inbox(TH) as inbox:
            with pytest.raises(errors.AppServerGone) as caught:
                await session.start_turn(ASK)
            assert caught.value.maybe_sent
            assert session.lost.is_set()
            (lost,) = await inbox.receive_many()
            assert isinstance(lost, ConnectionLost)
        with pytest.raises(errors.AppServerGone) as caught:
            await session.start_turn(ASK)
        assert not caught.value.maybe_sent


async def test_a_line_that_drops_in_the_handshake_is_an_error_of_ours() -> None:
    with pytest.raises(errors.AppServerGone):
        async with talking(initialize=hang_up):
            pass


async def test_an_answer_that_cannot_be_read_says_that_codex_took_the_call() -> None:
    async with talking(turn_start=result({"turn": 7})) as (session, _):
        with pytest.raises(errors.OddAnswer, match="turn/start"):
            await session.start_turn(ASK)


async def test_overload_that_lasts_is_a_refusal() -> None:
    """F6"""
    async with talking(turn_start=error(-32001, "overloaded")) as (session, server):
        with pytest.raises(errors.Overloaded):
            await session.start_turn(ASK, timeout_seconds=5)

    assert len(server.heard) > 3


async def test_overload_that_passes_is_not_noticed() -> None:
    calls: list[JsonObject] = []

    async def busy_twice(server: AppServer, asked: JsonObject) -> None:
        calls.append(asked)
        reply = error(-32001, "busy") if len(calls) < 3 else result({"turn": TURN})
        await reply(server, asked)

    async with talking(turn_start=busy_twice) as (session, _):
        assert (await session.start_turn(ASK)).id == "tu"
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("code", "message", "data", "kind"),
    [
        (-32600, "no rollout found for thread id x", None, errors.ThreadNotFound),
        (-32600, "thread not loaded: x", None, errors.ThreadNotFound),
        (-32603, "failed to read thread x: rollout at y is empty", None, errors.ThreadUnreadable),
        (-32600, "no active turn to steer", None, errors.NoActiveTurn),
        (-32600, "expected active turn id `x` but found `y`", None, errors.WrongActiveTurn),
        (-32600, "expected active turn id x but found y", None, errors.WrongActiveTurn),
        (-32600, "draining", {"reason": "serverShuttingDown"}, errors.ShuttingDown),
        (-32601, "list_turns is not supported yet", None, errors.HistoryNotReady),
        (-32601, "method not found", None, errors.NotSupported),
        (-32600, "Invalid request: unknown variant `x`", None, errors.NotSupported),
        (-32603, "whatever", None, errors.Refused),
    ],
)
async def test_refusals_become_our_errors(
    code: int, message: str, data: Json, kind: type[errors.Refused]
) -> None:
    async with talking(turn_steer=error(code, message, data)) as (session, _):
        with pytest.raises(errors.Refused) as caught:
            await session.steer_turn(verbs.SteerTurn(TH, TU, (verbs.Text("x"),)))

    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.reason) == (code, message)
    if isinstance(caught.value, errors.WrongActiveTurn):
        assert caught.value.found == "y"


async def test_what_belongs_to_no_thread_is_unclaimed() -> None:
    unclaimed: list[Event | ServerRequest] = []
    async with talking(unclaimed) as (_, server):
        await server.say(method="warning", params={"message": "careful"})
        await anyio.wait_all_tasks_blocked()

    assert unclaimed == [WarningRaised(None, "careful")]


async def test_a_sub_agents_birth_is_told_to_its_parent() -> None:
    child: JsonObject = {"id": "child", "cwd": "/", "parentThreadId": "th", "status": {}}
    async with talking() as (session, server):
        with session.inbox(TH) as inbox:
            await server.say(method="thread/started", params={"thread": child})
            await server.say(method="thread/goal/cleared", params={"threadId": "th"})
            born, *rest = await inbox.receive_many()

    assert isinstance(born, ThreadStarted)
    assert born.thread_id == "child"
    assert rest in ([], [GoalCleared(TH)])


async def test_garbage_on_the_line_does_not_end_the_session() -> None:
    """F7"""
    async with talking(turn_start=result({"turn": TURN})) as (session, server):
        for junk in ("", "17", "[1]", "{", '{"method": 1}', '{"id": 99, "result": 1}', "\x00"):
            await server.wire.send(junk)
        await server.say(method="turn/started", params=[1, 2])
        await server.say(id=3.5, method="x")
        assert (await session.start_turn(ASK)).id == "tu"


async def test_an_error_of_the_body_comes_out_as_it_is() -> None:
    with pytest.raises(errors.ThreadNotFound):
        async with talking(turn_start=error(-32600, "no rollout found")) as (session, _):
            await session.start_turn(ASK)

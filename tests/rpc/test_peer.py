"""The telephone over a memory wire, on virtual time: waiting costs nothing, and nothing sleeps."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from trio.testing import MockClock

from codex_control_plane_mcp.rpc.errors import MaybeSent, NotSent, RemoteError, TimedOut
from codex_control_plane_mcp.rpc.peer import OVERLOADED, Peer
from codex_control_plane_mcp.rpc.values import Json
from codex_control_plane_mcp.rpc.wire import MemoryWire, WireClosed, memory_wire_pair

BUSY: dict[str, Json] = {"error": {"code": OVERLOADED, "message": "busy"}}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Listener:
    """Writes down what the peer hears, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Json]] = []
        self.asked: list[tuple[int | str, str, Json]] = []
        self.closed: list[str] = []

    def on_notification(self, method: str, params: Json) -> None:
        self.heard.append((method, params))

    def on_request(self, request_id: int | str, method: str, params: Json) -> None:
        self.asked.append((request_id, method, params))


class OtherSide:
    """The far end of the wire, which may misbehave."""

    def __init__(self, wire: MemoryWire) -> None:
        self.wire = wire

    async def take(self) -> dict[str, Json]:
        with anyio.fail_after(1000):
            message = json.loads(await self.wire.receive())
        assert isinstance(message, dict)
        return message

    async def say(self, message: object) -> None:
        await self.wire.send(message if isinstance(message, str) else json.dumps(message))


@asynccontextmanager
async def conversation() -> AsyncIterator[tuple[Peer, OtherSide, Listener]]:
    ours, theirs = memory_wire_pair()
    listener = Listener()
    peer = Peer(ours, chance=lambda: 0.5)
    callbacks = (listener.on_notification, listener.on_request, listener.closed.append)
    with anyio.fail_after(1000):
        async with aclosing(theirs), peer.running(*callbacks):
            yield peer, OtherSide(theirs), listener


async def test_an_answer_finds_its_asker_even_out_of_order() -> None:
    results: dict[str, Json] = {}
    async with conversation() as (peer, other, _), anyio.create_task_group() as tasks:

        async def ask(method: str) -> None:
            results[method] = await peer.request(method, {"x": 1}, timeout_seconds=5)

        tasks.start_soon(ask, "one")
        first = await other.take()
        tasks.start_soon(ask, "two")
        second = await other.take()
        await other.say({"id": second["id"], "result": second["method"]})
        await other.say({"jsonrpc": "2.0", "id": first["id"], "result": first["method"]})

    assert results == {"one": "one", "two": "two"}
    assert first == {"id": 1, "method": "one", "params": {"x": 1}}


async def test_a_call_without_params_is_sent_without_the_field() -> None:
    async with conversation() as (peer, other, _), anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: peer.request("bare", timeout_seconds=5))
        asked = await other.take()
        await other.say({"id": asked["id"], "result": None})

    assert "params" not in asked


async def test_an_error_answer_is_raised_with_its_code_and_data() -> None:
    async with conversation() as (peer, other, _), anyio.create_task_group() as tasks:

        async def refuse() -> None:
            asked = await other.take()
            error = {"code": -32600, "message": "no", "data": {"reason": "because"}}
            await other.say({"id": asked["id"], "error": error})

        tasks.start_soon(refuse)
        with pytest.raises(RemoteError) as caught:
            await peer.request("x", timeout_seconds=5)

    assert (caught.value.code, caught.value.message) == (-32600, "no")
    assert caught.value.data == {"reason": "because"}


async def test_notifications_and_requests_are_heard_in_wire_order() -> None:
    async with conversation() as (peer, other, listener), anyio.create_task_group() as tasks:

        async def talk() -> None:
            asked = await other.take()
            await other.say({"method": "before", "params": {"n": 1}})
            await other.say({"method": "may I?", "id": 0, "params": {}})
            await other.say({"id": asked["id"], "result": {}})

        tasks.start_soon(talk)
        await peer.request("x", timeout_seconds=5)
        # The answer came behind them, so they have been heard by now.
        assert listener.heard == [("before", {"n": 1})]
        assert listener.asked == [(0, "may I?", {})]
        await peer.respond(0, {"decision": "accept"})
        await peer.respond_error("a", -32601, "not ours")

        assert await other.take() == {"id": 0, "result": {"decision": "accept"}}
        assert (await other.take())["error"] == {"code": -32601, "message": "not ours"}


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "{",
        "17",
        "[]",
        '["method"]',
        "null",
        '"text"',
        "{}",
        '{"id": 99, "result": {}}',
        '{"id": "never asked", "error": {"code": 1, "message": "x"}}',
        '{"id": null, "result": {}}',
        '{"id": {"a": 1}, "method": 7}',
        '{"id": 1.5, "result": 1}',
        '{"method": ["x"]}',
        '{"id": 1, "error": "no object"}',
        "[" * 100_000,
        "\ud800",
    ],
    ids=lambda text: text[:24] or "empty",
)
async def test_garbage_is_counted_and_passed_over(garbage: str) -> None:
    async with conversation() as (peer, other, _), anyio.create_task_group() as tasks:

        async def talk() -> None:
            asked = await other.take()
            await other.say(garbage)
            await other.say({"id": asked["id"], "result": "still here"})

        tasks.start_soon(talk)
        assert await peer.request("x", timeout_seconds=5) == "still here"

    assert sum(peer.oddities.values()) == 1


async def test_a_message_of_ten_megabytes_arrives_whole() -> None:
    big = "x" * 10_000_000
    async with conversation() as (peer, other, listener), anyio.create_task_group() as tasks:

        async def talk() -> None:
            asked = await other.take()
            await other.say({"method": "big", "params": asked["params"]})
            await other.say({"id": asked["id"], "result": big})

        tasks.start_soon(talk)
        assert await peer.request("x", big, timeout_seconds=5) == big

    assert listener.heard == [("big", big)]


async def test_silence_ends_in_a_time_out_and_the_late_answer_is_dropped() -> None:
    async with conversation() as (peer, other, _), anyio.create_task_group() as tasks:
        with pytest.raises(TimedOut):
            await peer.request("slow", timeout_seconds=30)
        late = await other.take()
        await other.say({"id": late["id"], "result": "too late"})

        async def talk() -> None:
            asked = await other.take()
            await other.say({"id": asked["id"], "result": "in time"})

        tasks.start_soon(talk)
        assert await peer.request("quick", timeout_seconds=30) == "in time"

    assert peer.oddities["answer that nobody waits for"] == 1


async def test_a_listener_that_fails_does_not_deafen_the_others() -> None:
    ours, theirs = memory_wire_pair()
    other = OtherSide(theirs)

    def fail(method: str, params: Json) -> None:
        raise ValueError(method)

    with anyio.fail_after(10):
        async with (
            aclosing(theirs),
            Peer(ours).running(fail) as peer,
            anyio.create_task_group() as tasks,
        ):

            async def talk() -> None:
                asked = await other.take()
                await other.say({"method": "boom"})
                await other.say({"id": asked["id"], "result": 1})

            tasks.start_soon(talk)
            assert await peer.request("x", timeout_seconds=5) == 1

    assert peer.oddities["listener failed"] == 1


async def test_when_the_wire_drops_every_waiter_learns_that_its_call_may_have_arrived() -> None:
    caught: list[Exception] = []
    async with conversation() as (peer, other, listener), anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(MaybeSent) as error:
                await peer.request("x", timeout_seconds=5)
            caught.append(error.value)

        tasks.start_soon(ask)
        tasks.start_soon(ask)
        await other.take()
        await other.take()
        await other.wire.aclose()

    assert len(caught) == 2
    assert listener.closed == ["the other end hung up"]


async def test_a_call_after_the_drop_was_certainly_not_sent() -> None:
    async with conversation() as (peer, other, listener):
        await other.wire.aclose()
        await anyio.sleep(1)
        with pytest.raises(NotSent):
            await peer.request("x", timeout_seconds=5)
        with pytest.raises(NotSent):
            await peer.notify("x")

    assert listener.closed == ["the other end hung up"]


class BreaksWhileSending:
    """A wire that fails when some of the text is already out."""

    async def send(self, text: str) -> None:
        raise WireClosed("cut")

    async def receive(self) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        pass


async def test_a_wire_that_breaks_while_sending_may_have_carried_the_call() -> None:
    async with Peer(BreaksWhileSending()).running() as peer:
        with pytest.raises(MaybeSent):
            await peer.request("x", timeout_seconds=5)


async def test_leaving_wakes_those_who_still_wait() -> None:
    ours, theirs = memory_wire_pair()
    caught: list[Exception] = []
    async with (
        anyio.create_task_group() as tasks,
        aclosing(theirs),
        Peer(ours).running() as peer,
    ):

        async def ask() -> None:
            with pytest.raises(MaybeSent) as error:
                await peer.request("x", timeout_seconds=1000)
            caught.append(error.value)

        tasks.start_soon(ask)
        await OtherSide(theirs).take()

    assert len(caught) == 1


async def test_an_error_of_the_body_leaves_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with conversation():
            raise KeyError("mine")


async def test_overload_is_asked_again_after_longer_and_longer_pauses() -> None:
    asked_at: list[float] = []
    async with conversation() as (peer, other, _), anyio.create_task_group() as tasks:

        async def serve() -> None:
            for attempt in range(4):
                asked = await other.take()
                asked_at.append(anyio.current_time())
                answer = {"result": "at last"} if attempt == 3 else BUSY
                await other.say({"id": asked["id"], **answer})

        tasks.start_soon(serve)
        result = await peer.request_when_ready("x", timeout_seconds=60)

    assert result == "at last"
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked_at)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2])


async def test_overload_is_reported_when_the_time_is_up() -> None:
    async with conversation() as (peer, other, _), anyio.create_task_group() as tasks:

        async def serve() -> None:
            while True:
                asked = await other.take()
                await other.say({"id": asked["id"], **BUSY})

        tasks.start_soon(serve)
        started_at = anyio.current_time()
        with pytest.raises(RemoteError):
            await peer.request_when_ready("x", timeout_seconds=10)
        tasks.cancel_scope.cancel()

    assert anyio.current_time() - started_at <= 10


async def test_other_errors_are_not_asked_again() -> None:
    async with conversation() as (peer, other, _), anyio.create_task_group() as tasks:

        async def serve() -> None:
            asked = await other.take()
            error: Json = {"code": -32600, "message": "no"}
            await other.say({"id": asked["id"], "error": error})

        tasks.start_soon(serve)
        with pytest.raises(RemoteError):
            await peer.request_when_ready("x", timeout_seconds=10)

        assert peer.oddities.total() == 0

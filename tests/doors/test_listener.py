"""Sessions over a real socket: greeted, served line by line, and counted."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from codex_control_plane_mcp.doors.mcp.listener import Listener
from codex_control_plane_mcp.doors.mcp.tools import offered
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.framing import MAX_LINE_BYTES
from codex_control_plane_mcp.rendezvous import PAGE, Descriptor, pipe_greeting
from tests.desk.reception import Reception, reception

KINDS = ["tcp"] if sys.platform == "win32" else ["unix", "tcp"]
TOKEN = "a-token-of-the-worker"


@pytest.fixture
def anyio_backend() -> str:
    """Real sockets take real time."""
    return "asyncio"


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path, threads=True) as opened:
        yield opened


def address(kind: str, folder: Path) -> Descriptor:
    if kind == "unix":
        return Descriptor(kind="unix", path=str(folder / "w.sock"))
    return Descriptor(kind="tcp", host="127.0.0.1", token=TOKEN)


@asynccontextmanager
async def listening(
    at: Reception, kind: str, folder: Path, counts: list[int] | None = None
) -> AsyncIterator[Listener]:
    heard = counts.append if counts is not None else None
    listener = Listener(at.desk, address(kind, folder), heard)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            await group.start(listener.serve)
            yield listener
            group.cancel_scope.cancel()


class Line:
    """A client that writes what it likes and reads line by line."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._received = BufferedByteReceiveStream(stream)

    async def say(self, *messages: object) -> None:
        for message in messages:
            raw = message if isinstance(message, bytes) else json.dumps(message).encode()
            await self.stream.send(raw + b"\n")

    async def hear(self) -> dict[str, Any]:
        heard = json.loads(await self._received.receive_until(b"\n", 1 << 24))
        assert isinstance(heard, dict)
        return heard

    async def ask(self, message: object) -> dict[str, Any]:
        await self.say(message)
        return await self.hear()

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        params = {"name": tool, "arguments": arguments}
        request = {"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": params}
        answer = await self.ask(request)
        assert answer["id"] == "c"
        content = answer["result"]["structuredContent"]
        assert isinstance(content, dict)
        return content


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@asynccontextmanager
async def dialled(where: Descriptor) -> AsyncIterator[Line]:
    stream: ByteStream
    if where.kind == "unix":
        stream = await anyio.connect_unix(where.path)
    else:
        stream = await anyio.connect_tcp(where.host, where.port)
    async with stream:
        yield Line(stream)


@asynccontextmanager
async def session(where: Descriptor) -> AsyncIterator[Line]:
    async with dialled(where) as line:
        await line.stream.send(pipe_greeting(where.token))
        assert (await line.hear())["worker"] == 1
        assert (await line.ask(INITIALIZE))["result"]["serverInfo"]["name"]
        await line.say(INITIALIZED)
        yield line


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_is_greeted_and_told_what_may_be_sent_again(
    at: Reception, tmp_path: Path, kind: str
) -> None:
    async with listening(at, kind, tmp_path) as listener, dialled(listener.descriptor) as line:
        # Everything in one write: what follows the greeting is not lost.
        greeting = pipe_greeting(listener.descriptor.token)
        await line.stream.send(greeting + json.dumps(INITIALIZE).encode() + b"\n")
        greeted = await line.hear()
        offer = offered(at.settings.toolsets)
        assert greeted["repeatable"] == sorted(offer.repeatable)
        assert greeted["keyed"] == sorted(offer.keyed)
        assert (await line.hear())["result"]["protocolVersion"] == "2025-06-18"


async def test_who_wants_the_page_is_given_a_link_or_a_reason_and_no_session(
    at: Reception, tmp_path: Path
) -> None:
    async def refused() -> str:
        raise InvalidArgument("the page is switched off")

    async def given() -> str:
        return "http://127.0.0.1:1/place/enter?key=k"

    answers = []
    for on_page in (given, refused, None):
        listener = Listener(at.desk, address("tcp", tmp_path), on_page=on_page)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                await group.start(listener.serve)
                async with dialled(listener.descriptor) as line:
                    await line.stream.send(pipe_greeting(TOKEN, PAGE))
                    assert (await line.hear())["worker"] == 1
                    answers.append(await line.hear())
                    with pytest.raises(anyio.EndOfStream):
                        await line.stream.receive()
                group.cancel_scope.cancel()
    assert answers == [
        {"page": await given()},
        {"error": "the page is switched off"},
        {"error": "this worker has no page"},
    ]


@pytest.mark.parametrize(
    "greeting",
    [b"{}\n", b"nonsense\n", pipe_greeting("wrong")],
    ids=["empty", "nonsense", "wrong token"],
)
async def test_a_stranger_is_refused_with_a_word(
    at: Reception, tmp_path: Path, greeting: bytes
) -> None:
    counts: list[int] = []
    async with (
        listening(at, "tcp", tmp_path, counts) as listener,
        dialled(listener.descriptor) as line,
    ):
        await line.stream.send(greeting)
        assert "error" in await line.hear()
        with pytest.raises(anyio.EndOfStream):
            await line.stream.receive()
        assert counts == []


@pytest.mark.parametrize("kind", KINDS)
async def test_connections_are_counted(at: Reception, tmp_path: Path, kind: str) -> None:
    counts: list[int] = []
    async with listening(at, kind, tmp_path, counts) as listener:
        async with session(listener.descriptor), session(listener.descriptor):
            assert listener.connections == 2
        while listener.connections:
            await anyio.lowlevel.checkpoint()
    assert counts == [1, 2, 1, 0]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":' + b'{"a":' * 10_000, -32700),
        (b"NaN", -32700),
        (b"[1,2]", -32600),
        (b"5", -32600),
        (b'"text"', -32600),
        (b"x" * (MAX_LINE_BYTES + 2), -32600),
    ],
)
async def test_a_line_that_is_no_message_is_answered_and_the_session_goes_on(
    at: Reception, tmp_path: Path, line: bytes, code: int
) -> None:
    async with listening(at, "tcp", tmp_path) as listener, session(listener.descriptor) as client:
        answer = await client.ask(line)
        assert (answer["id"], answer["error"]["code"]) == (None, code)
        assert (await client.call("codex_health_summary"))["ok"] is True


@pytest.mark.parametrize(
    ("message", "id_", "code"),
    [
        ({"id": 7, "method": "ping"}, 7, -32600),
        ({"jsonrpc": "2.0", "id": "x", "method": 5}, "x", -32600),
        ({"jsonrpc": "2.0", "id": 8, "method": "no/such"}, 8, -32601),
        ({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {}}, 9, -32602),
    ],
)
async def test_a_message_that_is_wrong_is_answered_by_its_id(
    at: Reception, tmp_path: Path, message: object, id_: object, code: int
) -> None:
    async with listening(at, "tcp", tmp_path) as listener, session(listener.descriptor) as client:
        answer = await client.ask(message)
        assert (answer["id"], answer["error"]["code"]) == (id_, code)
        assert (await client.call("codex_health_summary"))["ok"] is True


async def test_text_that_is_no_unicode_reaches_the_tool_and_is_refused_by_name(
    at: Reception, tmp_path: Path
) -> None:
    async with listening(at, "tcp", tmp_path) as listener, session(listener.descriptor) as client:
        refused = await client.call(
            "codex_submit_task",
            operation_type="start_chat",
            message="half a smile: \ud83d",
            cwd=str(at.project),
        )
        assert refused["error"]["code"] == "INVALID_ARGUMENT"
        assert "message" in refused["error"]["message"]


async def test_deep_json_that_can_be_read_is_refused_by_the_tool(
    at: Reception, tmp_path: Path
) -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    async with listening(at, "tcp", tmp_path) as listener, session(listener.descriptor) as client:
        refused = await client.call("codex_wait", operation_ids=deep)
        assert refused["error"]["code"] == "INVALID_ARGUMENT"


async def test_any_protocol_version_is_answered_with_one_that_is_spoken(
    at: Reception, tmp_path: Path
) -> None:
    async with listening(at, "tcp", tmp_path) as listener:
        for version in ("2024-11-05", "2025-11-25", "1999-01-01", "nonsense"):
            async with dialled(listener.descriptor) as line:
                await line.stream.send(pipe_greeting(TOKEN))
                await line.hear()
                params = {**INITIALIZE["params"], "protocolVersion": version}  # type: ignore[dict-item]
                answer = await line.ask({**INITIALIZE, "params": params})
                assert answer["result"]["protocolVersion"].startswith("202")


async def test_a_client_without_a_handshake_is_served_by_the_newer_protocol(
    at: Reception, tmp_path: Path
) -> None:
    async with listening(at, "tcp", tmp_path) as listener, dialled(listener.descriptor) as line:
        await line.stream.send(pipe_greeting(TOKEN))
        await line.hear()
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        answer = await line.ask(
            {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}}
        )
        assert "2026-07-28" in answer["result"]["supportedVersions"]


async def test_two_clients_see_one_book(at: Reception, tmp_path: Path) -> None:
    async with (
        listening(at, "tcp", tmp_path) as listener,
        session(listener.descriptor) as one,
        session(listener.descriptor) as two,
    ):
        receipt = await one.call(
            "codex_submit_task",
            operation_type="start_chat",
            message="mend the till",
            cwd=str(at.project),
        )
        seen = await two.call("codex_get_operation_status", operation_id=receipt["operationId"])
        assert seen["status"] == "queued"


async def test_a_client_that_hangs_up_in_mid_call_disturbs_nobody(
    at: Reception, tmp_path: Path
) -> None:
    async with listening(at, "tcp", tmp_path) as listener, session(listener.descriptor) as stays:
        receipt = await stays.call(
            "codex_submit_task",
            operation_type="start_chat",
            message="mend the till",
            cwd=str(at.project),
        )
        params = {
            "name": "codex_get_operation_status",
            "arguments": {"operation_id": receipt["operationId"], "wait_seconds": 45},
        }
        async with session(listener.descriptor) as leaves:
            request = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
            await leaves.say(request)
        while listener.connections > 1:
            await anyio.lowlevel.checkpoint()
        assert (await stays.call("codex_health_summary"))["ok"] is True


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_that_leaves_ends_its_sessions(
    at: Reception, tmp_path: Path, kind: str
) -> None:
    async with listening(at, kind, tmp_path) as listener:
        where = listener.descriptor
        stack = AsyncExitStack()
        client = await stack.enter_async_context(session(where))
    async with stack:
        # The handshake's last line may still have been on its way to it.
        with pytest.raises((anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError)):
            await client.hear()
    assert listener.connections == 0


EMBEDDED = """
import anyio, pathlib, sys
from codex_control_plane_mcp.doors.mcp.listener import serve_stdio
from tests.desk.reception import reception

async def main(at):
    async def health(scope):
        print("printed by mistake")
        return await type(at.desk).health(at.desk, scope)
    at.desk.health = health
    await serve_stdio(at.desk)

with reception(pathlib.Path(sys.argv[1]), threads=True) as at:
    anyio.run(main, at)
"""


async def test_over_standard_input_and_output_only_messages_are_written(tmp_path: Path) -> None:
    health = {"name": "codex_health_summary", "arguments": {}}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": health}
    root = Path(__file__).parents[2]
    with anyio.fail_after(60):
        async with await anyio.open_process(
            [sys.executable, "-c", EMBEDDED, str(tmp_path)], cwd=root
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            out = BufferedByteReceiveStream(process.stdout)
            heard = []
            for said in (INITIALIZE, INITIALIZED, b"[1,2]", call):
                raw = said if isinstance(said, bytes) else json.dumps(said).encode()
                await process.stdin.send(raw + b"\n")
                if said is not INITIALIZED:
                    heard.append(json.loads(await out.receive_until(b"\n", 1 << 20)))
            await process.stdin.aclose()
            assert await process.wait() == 0
            errors = b"".join([chunk async for chunk in process.stderr])

    assert [(one["id"], "error" in one) for one in heard] == [(1, False), (None, True), (2, False)]
    assert heard[2]["result"]["structuredContent"]["overallStatus"] == "healthy"
    assert b"printed by mistake" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets")
async def test_the_socket_is_for_its_owner_only(at: Reception, tmp_path: Path) -> None:
    async with listening(at, "unix", tmp_path) as listener:
        mode = Path(listener.descriptor.path).stat().st_mode
        assert mode & 0o077 == 0

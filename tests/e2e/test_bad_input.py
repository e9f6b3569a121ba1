"""What a client may send by mistake: a clear error each time, nothing stored, and the server goes
on. Raw lines on the pipe's standard input, as no SDK would send them."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.e2e.stage import SOON_SECONDS, Client, Stage, ToolError, stage_of

pytestmark = pytest.mark.anyio

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
}


class RawClient:
    """Writes bytes, reads lines."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)

    async def send(self, raw: bytes) -> None:
        await self._stdin.send(raw)

    async def receive(self) -> Any:
        with anyio.fail_after(SOON_SECONDS):
            return json.loads(await self._stdout.receive_until(b"\n", 64_000_000))

    async def exchange(self, raw: bytes) -> Any:
        await self.send(raw + b"\n")
        return await self.receive()

    async def call(self, tool: str, arguments: object) -> Any:
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }
        return await self.exchange(json.dumps(request).encode())

    async def still_answers(self) -> None:
        """The server goes on."""
        answer = await self.exchange(b'{"jsonrpc":"2.0","id":99,"method":"ping"}')
        assert answer == {"jsonrpc": "2.0", "id": 99, "result": {}}


@pytest.fixture
async def raw(stage: Stage) -> AsyncIterator[RawClient]:
    async with await anyio.open_process(
        [sys.executable, "-m", "codex_control_plane_mcp.server"],
        env=stage.environ,
        cwd=stage.root,
        stderr=None,
    ) as process:
        client = RawClient(process)
        hello = await client.exchange(json.dumps(INITIALIZE).encode())
        assert hello["result"]["serverInfo"]["name"] == "codex-control-plane-mcp"
        await client.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        yield client
        assert process.stdin is not None
        await process.stdin.aclose()
        with anyio.fail_after(SOON_SECONDS):
            assert await process.wait() == 0


async def test_lines_that_are_no_request_each_get_an_error_and_the_server_goes_on(
    raw: RawClient,
) -> None:
    for line, code in [
        (b"[1,2]", -32600),
        (b"5", -32600),
        (b'"text"', -32600),
        (b"{not json", -32700),
        (b"\xff\xfe", -32700),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"' + b"x" * 10_000_000, -32600),
    ]:
        answer = await raw.exchange(line)
        assert answer["error"]["code"] == code, line[:40]
        assert answer["id"] is None
        assert answer["error"]["message"]
        await raw.still_answers()


async def test_a_line_in_two_halves_is_one_line(raw: RawClient) -> None:
    await raw.send(b'{"jsonrpc":"2.0","id":7,')
    await raw.send(b'"method":"ping"}\r\n')
    assert await raw.receive() == {"jsonrpc": "2.0", "id": 7, "result": {}}


async def test_an_unknown_method_is_a_protocol_error(raw: RawClient) -> None:
    answer = await raw.exchange(b'{"jsonrpc":"2.0","id":1,"method":"no/such"}')
    assert answer["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("codex_no_such_tool", {}, "codex_no_such_tool"),
        ("codex_submit_task", {}, "operation_type"),
        ("codex_submit_task", {"operation_type": "start_chat", "mesage": "typo"}, "mesage"),
        ("codex_submit_task", {"operation_type": "dance", "message": "x"}, "operation_type"),
        ("codex_submit_task", {"operation_type": "start_chat", "message": 5}, "message"),
        ("codex_submit_task", {"operation_type": "start_chat", "message": ""}, "message"),
        ("codex_submit_task", {"operation_type": "start_chat", "message": "x" * 200_001}, "200"),
        ("codex_submit_task", {"operation_type": "start_chat", "message": "a\0b"}, "message"),
        ("codex_submit_task", {"operation_type": "start_chat", "message": "\ud800"}, "message"),
        (
            "codex_submit_task",
            {"operation_type": "start_chat", "message": "x", "client_request_id": "k" * 201},
            "client_request_id",
        ),
        ("codex_get_operation_status", {"operation_id": "op_x", "wait_seconds": 46}, "wait"),
        ("codex_get_operation_status", {"operation_id": "op_x", "wait_seconds": "1"}, "wait"),
        ("codex_wait", {"operation_ids": "op_x"}, "operation_ids"),
    ],
)
async def test_wrong_arguments_are_named(
    raw: RawClient, tool: str, arguments: dict[str, object], named: str
) -> None:
    answer = await raw.call(tool, arguments)
    result = answer["result"]
    assert result["isError"] is True
    error = result["structuredContent"]["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["retryable"] is False
    assert named in error["message"] or named in json.dumps(error["details"])
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    await raw.still_answers()


async def test_unknown_ids_have_codes_of_their_own(client: Client) -> None:
    cases: list[tuple[str, dict[str, object], str]] = [
        ("codex_get_operation_status", {"operation_id": "op_none"}, "CODEX_OPERATION_NOT_FOUND"),
        ("codex_wait", {"operation_ids": ["op_none"]}, "CODEX_OPERATION_NOT_FOUND"),
        ("codex_interrupt_turn", {"operation_id": "op_none"}, "CODEX_OPERATION_NOT_FOUND"),
        (
            "codex_interrupt_turn",
            {"thread_id": "none", "turn_id": "none"},
            "CODEX_TURN_NOT_FOUND",
        ),
        (
            "codex_answer_pending_interaction",
            {"interaction_id": "ia_none", "decision": "accept"},
            "CODEX_PENDING_INTERACTION_NOT_FOUND",
        ),
        (
            "codex_submit_task",
            {"operation_type": "start_chat", "message": "x", "project_id": "none"},
            "CODEX_PROJECT_NOT_FOUND",
        ),
    ]
    for tool, arguments, code in cases:
        with pytest.raises(ToolError) as error:
            await client.call(tool, **arguments)
        assert error.value.code == code


async def test_a_folder_outside_the_allowed_roots_is_refused_however_it_is_spelled(
    stage: Stage, client: Client
) -> None:
    outside = stage.root / "elsewhere"
    outside.mkdir()
    link = stage.project / "link"
    link.symlink_to(outside)
    for cwd in (outside, stage.project / ".." / ".." / "elsewhere", link, Path("/"), Path("shop")):
        with pytest.raises(ToolError) as refused:
            await client.submit("say no", cwd=str(cwd))
        assert refused.value.code == "INVALID_ARGUMENT", cwd
    health = await client.call("codex_health_summary")
    assert health["activeWork"] == {
        "activeTurnCount": 0,
        "pendingInteractionCount": 0,
        "pendingRequests": 0,
    }


async def test_without_any_root_every_folder_is_refused_with_the_setting_to_make() -> None:
    async with stage_of(CODEX_PROJECTS_ROOT="") as stage, stage.client() as client:
        with pytest.raises(ToolError) as refused:
            await client.submit("say no", cwd=str(stage.project))
    assert "CODEX_ALLOWED_ROOTS" in refused.value.message

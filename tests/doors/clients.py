"""A client of the official SDK, which checks every result against its schema, and looks closer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import anyio
import jsonschema
from mcp.client.session import ClientSession
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import CallToolResult, TextContent

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.fit import MAX_RESULT_CHARS
from codex_control_plane_mcp.doors.mcp.server import make_server
from codex_control_plane_mcp.doors.mcp.tools import offered
from codex_control_plane_mcp.settings import ToolSet
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import Reception

EVERYTHING = offered(get_args(ToolSet))
SCHEMAS = {one["name"]: one["outputSchema"] for one in EVERYTHING.definitions}
#: What a result may lack though its schema tells of it.
SOMETIMES = {
    *("idempotent", "progressEvents", "nextAfterSeq", "operation", "readFullVia"),
    *("messages", "markdown"),
}


@asynccontextmanager
async def client_of(desk: Desk) -> AsyncIterator[ClientSession]:
    server = make_server(desk)
    async with (
        create_client_server_memory_streams() as (ours, theirs),
        anyio.create_task_group() as group,
    ):
        group.start_soon(server.run, *theirs, server.create_initialization_options())
        async with ClientSession(*ours) as session:
            await session.initialize()
            yield session
        group.cancel_scope.cancel()


class Caller:
    """Calls tools, and looks at what every result must be."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def ok(self, tool: str, **arguments: Any) -> dict[str, Any]:
        found, result = await self.call(tool, arguments)
        assert found["ok"] is True, found
        assert not result.is_error
        return found

    async def refused(self, tool: str, **arguments: Any) -> dict[str, Any]:
        found, result = await self.call(tool, arguments)
        assert found["ok"] is False, found
        assert result.is_error
        error = found["error"]
        assert isinstance(error, dict)
        assert set(error) == {*("code", "message", "details", "retryable", "nextRecommendedAction")}
        return error

    async def call(
        self, tool: str, arguments: dict[str, Any]
    ) -> tuple[dict[str, Any], CallToolResult]:
        result = await self.session.call_tool(tool, arguments)
        assert isinstance(result, CallToolResult)
        (content,) = result.content
        assert isinstance(content, TextContent)
        found = result.structured_content
        assert isinstance(found, dict)
        compact = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        assert content.text == compact
        assert len(content.text) <= MAX_RESULT_CHARS
        if tool in SCHEMAS:
            jsonschema.validate(found, SCHEMAS[tool])
            missing = set(SCHEMAS[tool]["properties"]) - set(found)
            assert missing <= SOMETIMES or not found["ok"], missing
        return found, result


@asynccontextmanager
async def calling(at: Reception, desk: Desk | None = None) -> AsyncIterator[Caller]:
    async with client_of(desk or at.desk) as session:
        yield Caller(session)


async def begun(at: Reception) -> str:
    """The operation that a call makes, as soon as it is there."""
    with at.book.bell.listening() as listener:
        while not (found := await at.book.read(lookup.unfinished)):
            await listener.wait()
    return found[0].id


def task(at: Reception, **more: Any) -> dict[str, Any]:
    return {
        "operation_type": "start_chat",
        "message": "mend the till",
        "cwd": str(at.project),
        **more,
    }

"""Clients of both protocol eras, as the official SDK's high-level client is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import CallToolResult, ElicitRequestFormParams, ElicitRequestParams, ElicitResult

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.server import make_server

LEGACY, MODERN = "legacy", "2026-07-28"
both_eras = pytest.mark.parametrize("era", [LEGACY, MODERN])


def client_in(era: str, desk: Desk, **more: Any) -> AbstractAsyncContextManager[Client]:
    """A client that is connected to a server over `desk` by what looks like a wire."""
    return Client(_wire_to(desk), mode=era, **more)


@asynccontextmanager
async def _wire_to(desk: Desk) -> AsyncIterator[Any]:
    server = make_server(desk)
    async with (
        create_client_server_memory_streams() as (ours, theirs),
        anyio.create_task_group() as group,
    ):
        group.start_soon(server.run, *theirs, server.create_initialization_options())
        yield ours
        group.cancel_scope.cancel()


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    return content_of(await client.call_tool(tool, arguments))


def content_of(result: CallToolResult) -> dict[str, Any]:
    found = result.structured_content
    assert isinstance(found, dict)
    return found


class Person:
    """Fills in the forms that a client shows, and remembers them."""

    def __init__(self, *replies: ElicitResult) -> None:
        self.shown: list[ElicitRequestFormParams] = []
        self._replies = list(replies)

    async def __call__(
        self, _context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        self.shown.append(params)
        fields = set(params.requested_schema["properties"])
        # A client may show several at once, in any order.
        fitting = [one for one in self._replies if set(one.content or {}) <= fields]
        reply = (fitting or self._replies)[0]
        self._replies.remove(reply)
        return reply


def says(**content: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=content)

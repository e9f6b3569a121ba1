"""Our server as the conformance suite meets it: our HTTP door and our handlers, over a real book,
with the suite's own tools, resources and prompts beside ours.

    python -m tests.conformance.server

It says its port. The suite knows no token, so it is put in for it.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    GetPromptRequestParams,
    ReadResourceRequestParams,
    SetLevelRequestParams,
    Tool,
)

from codex_control_plane_mcp.doors.mcp.http import Door, serve_http
from codex_control_plane_mcp.doors.mcp.server import make_server
from tests.conformance import fixtures
from tests.conformance.fixtures import Context
from tests.conformance.jobs import Jobs
from tests.desk.reception import reception

TOKEN = "conformance"


async def serve(folder: Path) -> None:
    with reception(folder, threads=True) as at:
        async with anyio.create_task_group() as group:
            jobs = Jobs(at, group)
            group.start_soon(jobs.deliver_wishes)
            server = make_server(at.desk)
            _add_fixtures(server, jobs)
            port = await group.start(serve_http, server, 0, _WithToken)
            print(port, flush=True)  # noqa: T201
            await anyio.sleep_forever()


def _add_fixtures(server: Server[Any], jobs: Jobs) -> None:
    calls = {**fixtures.TOOLS, **jobs.tools}
    ours = {
        method: _handler(server, method)
        for method in (
            "tools/list",
            "tools/call",
            "resources/list",
            "resources/templates/list",
            "resources/read",
            "prompts/list",
            "prompts/get",
        )
    }

    async def call(context: Context, params: CallToolRequestParams) -> Any:
        if params.name in calls:
            return await calls[params.name](context, params)
        if params.name in fixtures.CONTENT:
            return CallToolResult(content=fixtures.CONTENT[params.name])
        return await ours["tools/call"](context, params)

    async def read(context: Context, params: ReadResourceRequestParams) -> Any:
        theirs = str(params.uri).startswith("test://")
        return await (fixtures.read if theirs else ours["resources/read"])(context, params)

    async def prompt(context: Context, params: GetPromptRequestParams) -> Any:
        theirs = params.name.startswith("test_")
        return await (fixtures.prompt if theirs else ours["prompts/get"])(context, params)

    def listing(method: str, field: str, more: list[Any]) -> None:
        async def listed(context: Context, params: Any) -> Any:
            result = await ours[method](context, params)
            return result.model_copy(update={field: [*getattr(result, field), *more]})

        entry = server.get_request_handler(method)
        assert entry is not None
        server.add_request_handler(method, entry.params_type, listed)

    listing("tools/list", "tools", [_tool(name) for name in (*calls, *fixtures.CONTENT)])
    listing("resources/list", "resources", fixtures.RESOURCES)
    listing("resources/templates/list", "resource_templates", fixtures.TEMPLATES)
    listing("prompts/list", "prompts", fixtures.PROMPTS)
    server.add_request_handler("tools/call", CallToolRequestParams, call)
    server.add_request_handler("resources/read", ReadResourceRequestParams, read)
    server.add_request_handler("prompts/get", GetPromptRequestParams, prompt)
    server.add_request_handler("completion/complete", CompleteRequestParams, fixtures.complete)
    server.add_request_handler("logging/setLevel", SetLevelRequestParams, fixtures.set_level)
    state = RequestStateSecurity(keys=[b"the suite's key, thirty-two bytes or more"])
    server.middleware.append(RequestStateBoundary(state, default_audience=server.name))


def _handler(server: Server[Any], method: str) -> Callable[[Context, Any], Awaitable[Any]]:
    entry = server.get_request_handler(method)
    assert entry is not None
    return entry.handler


def _tool(name: str) -> Tool:
    schema = fixtures.SCHEMAS.get(name, {"type": "object"})
    return Tool(name=name, description=f"fixture {name}", input_schema=schema)


class _WithToken:
    """Puts the token in."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._door = Door(manager, TOKEN)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [*scope["headers"], (b"authorization", f"Bearer {TOKEN}".encode())]
        await self._door({**scope, "headers": headers}, receive, send)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        anyio.run(serve, Path(folder))

"""The MCP server: the official SDK's, with our table of tools behind it.

Every tool answers with structured content and the same as text. What goes wrong in a tool is a
result with an error code; protocol errors are the SDK's.
"""

import logging
from collections.abc import Mapping
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from mcp.types import Tool as ListedTool

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.arguments import parse
from codex_control_plane_mcp.doors.mcp.fit import Json, compact, fit
from codex_control_plane_mcp.doors.mcp.instructions import instructions
from codex_control_plane_mcp.doors.mcp.presentable import presentable
from codex_control_plane_mcp.doors.mcp.prompts import get_prompt, list_prompts
from codex_control_plane_mcp.doors.mcp.resources import Resources
from codex_control_plane_mcp.doors.mcp.shape import as_json
from codex_control_plane_mcp.doors.mcp.tool import Shown
from codex_control_plane_mcp.doors.mcp.tools import SERVER_NAME, offered
from codex_control_plane_mcp.errors import ControlPlaneError, StateBusy

logger = logging.getLogger(__name__)


def make_server(desk: Desk) -> Server[Any]:
    """One server for any number of connections: it keeps nothing of them."""
    toolsets = desk.settings.toolsets
    definitions = offered(toolsets).definitions

    async def list_tools(
        _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[ListedTool.model_validate(one) for one in definitions])

    async def call_tool(
        context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        result = await call(desk, params.name, params.arguments or {}, _caller(context))
        return CallToolResult(
            content=[TextContent(text=compact(result))],
            structured_content=result,
            is_error=not result["ok"],
        )

    resources = Resources(desk)
    server: Server[Any] = Server(
        SERVER_NAME,
        version=__version__,
        instructions=instructions(toolsets),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=resources.list,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )
    server.middleware.clear()  # tracing that nobody collects costs a span for every message
    return server


async def call(desk: Desk, name: str, arguments: Mapping[str, object], by: str) -> Json:
    """The result of a tool call, success or error: never raises but for being cancelled."""
    try:
        shown = await _call(desk, name, arguments, by)
    except ControlPlaneError as error:
        return _failed(error)
    except Exception:
        logger.exception("%s failed", name)
        return _failed(StateBusy("something went wrong here, and is in the log; try again"))
    result: Json = {"ok": True}
    for view in shown.views:
        result |= as_json(view)
    return fit(presentable(result), shown.rules)


async def _call(desk: Desk, name: str, arguments: Mapping[str, object], by: str) -> Shown:
    tool = offered(desk.settings.toolsets).find(name)
    return await tool.call(desk, parse(tool.arguments, arguments), by)


def _failed(error: ControlPlaneError) -> Json:
    said: Json = {
        "code": error.code,
        "message": error.message,
        "details": dict(error.details),
        "retryable": error.retryable,
    }
    return fit(presentable({"ok": False, "error": said}), ())


def _caller(context: ServerRequestContext[Any]) -> str:
    """Who calls, as they call themselves."""
    params = context.session.client_params
    return "mcp" if params is None else f"mcp:{params.client_info.name}"[:100]

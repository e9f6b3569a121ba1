"""The MCP server: the official SDK's, with our table of tools behind it.

Every tool answers with structured content and the same as text. What goes wrong in a tool is a
result with an error code; protocol errors are the SDK's.
"""

from collections.abc import Mapping
from typing import Any

import anyio
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    ListResourcesResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from mcp.types import Tool as ListedTool

from codex_control_plane_mcp import __version__, tracing
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.asking import Asking, Outcome, is_modern, patience
from codex_control_plane_mcp.doors.mcp.calling import as_tool_result, call, caller, failed
from codex_control_plane_mcp.doors.mcp.dropin import answered
from codex_control_plane_mcp.doors.mcp.fit import Json
from codex_control_plane_mcp.doors.mcp.instructions import instructions
from codex_control_plane_mcp.doors.mcp.notices import Notices
from codex_control_plane_mcp.doors.mcp.progress import progress
from codex_control_plane_mcp.doors.mcp.prompts import get_prompt, list_prompts
from codex_control_plane_mcp.doors.mcp.resources import Resources
from codex_control_plane_mcp.doors.mcp.task_calls import TaskCalls
from codex_control_plane_mcp.doors.mcp.tools import SERVER_NAME, offered
from codex_control_plane_mcp.errors import ControlPlaneError

#: What only another release, or other settings, change.
_FIXED = CacheHint(ttl_ms=300_000, scope="public")


def make_server(desk: Desk) -> Server[Any]:
    """One server for any number of connections: it keeps nothing of them but what they want to
    hear of."""
    toolsets = desk.settings.toolsets
    definitions = [ListedTool.model_validate(one) for one in offered(toolsets).definitions]

    async def list_tools(
        _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=definitions)

    resources, notices, task_calls = Resources(desk), Notices(desk), TaskCalls(desk)

    async def list_resources(
        context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        await notices.list_was_read(context)
        return await resources.list(context, params)

    server: Server[Any] = _Server(
        SERVER_NAME,
        version=__version__,
        instructions=instructions(toolsets),
        cache_hints={
            "server/discover": _FIXED,
            "tools/list": _FIXED,
            "prompts/list": _FIXED,
            "resources/templates/list": _FIXED,
        },
        lifespan=notices.lifespan,
        on_list_tools=list_tools,
        on_list_resources=list_resources,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read,
        on_subscribe_resource=notices.subscribe,
        on_unsubscribe_resource=notices.unsubscribe,
        on_subscriptions_listen=notices.listen,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )
    server.add_request_handler("tools/call", CallToolRequestParams, ToolCalls(desk, task_calls))
    task_calls.serve(server)
    # The SDK's tracing costs a span for every message, read by nobody: ours is in `calling`.
    server.middleware.clear()
    return server


class _Server(Server[Any]):
    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *rest: Any, **more: Any
    ) -> InitializationOptions:
        """As every door must say it to older clients: the list of resources changes while they
        look, and that of tools when a worker of another release takes over (see `pipe`)."""
        changes = notification_options or NotificationOptions(
            tools_changed=True, resources_changed=True
        )
        return super().create_initialization_options(changes, *rest, **more)


class ToolCalls:
    """Serves `tools/call`: what the tool says, and what MCP has beside it for calls that take
    long."""

    def __init__(self, desk: Desk, task_calls: TaskCalls) -> None:
        self._desk = desk
        self._task_calls = task_calls

    async def __call__(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult | InputRequiredResult | Json:
        result: Json | InputRequiredResult
        async with progress(context, self._desk):
            try:
                with tracing.continuing(context.meta):
                    result = await self._call(context, params)
            except ControlPlaneError as error:
                result = failed(error)
        if isinstance(result, InputRequiredResult):
            return result
        if (task := await self._task_calls.made(context, params.name, result)) is not None:
            return task
        return as_tool_result(result)

    async def _call(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> Json | InputRequiredResult:
        by, arguments, brought = (
            caller(context),
            params.arguments or {},
            params.input_responses or {},
        )
        asking = Asking(self._desk, context, by)
        until = anyio.current_time() + patience(params)
        await asking.take(brought)
        if asking.shows_forms and patience(params) > 0 and "wait_seconds" in arguments:
            # A question that is open already is no change: it is put before the waiting begins.
            look = {**arguments, "wait_seconds": 0}
            before = await call(self._desk, params.name, look, by)
            if is_modern(context):
                if (wanted := await asking.wanted(before, brought)) is not None:
                    return wanted
            else:
                match await asking.ask(before, until):
                    case Outcome.ANSWERED:
                        return await self._again(params.name, arguments, by, before, until)
                    case Outcome.ELSEWHERE:
                        return await call(self._desk, params.name, look, by)
                    case Outcome.UNANSWERED:
                        arguments = {**arguments, "wait_seconds": _rest(until)}
        result = await call(self._desk, params.name, arguments, by)
        if patience(params) <= 0:
            return result
        if is_modern(context):
            return await asking.wanted(result, brought) or result
        if await asking.ask(result, until) is Outcome.ANSWERED:
            return await self._again(params.name, arguments, by, result, until)
        return result

    async def _again(
        self, tool: str, arguments: Mapping[str, Any], by: str, asked: Json, until: float
    ) -> Json:
        """The same call once its question was answered, in what is left of its time."""
        if "wait_seconds" in arguments:
            return await call(self._desk, tool, {**arguments, "wait_seconds": _rest(until)}, by)
        with anyio.CancelScope(deadline=until):
            return await call(self._desk, tool, arguments, by)
        return answered(asked)


def _rest(until: float) -> float:
    return max(0.0, until - anyio.current_time())

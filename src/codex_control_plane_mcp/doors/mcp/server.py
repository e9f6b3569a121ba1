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
from codex_control_plane_mcp.doors.mcp.shape import as_json
from codex_control_plane_mcp.doors.mcp.tool import Shown
from codex_control_plane_mcp.doors.mcp.tools import BY_NAME, SERVER_NAME, definitions
from codex_control_plane_mcp.errors import ControlPlaneError, InvalidArgument, StateBusy
from codex_control_plane_mcp.redact import redact_json

logger = logging.getLogger(__name__)

INSTRUCTIONS = """\
Durable tasks for Codex, the coding agent on this machine. A task goes on when you time out, \
disconnect or are restarted; nothing is lost and nothing runs twice.

1. codex_submit_task with operation_type "start_chat", a message, and project_id or cwd \
(codex_list_projects shows where). It returns at once with operationId: keep it. Give a \
client_request_id of your own and you may send the same call again after any doubt: it never \
starts a second task.
2. codex_wait with your operation_ids and wait_seconds up to 45; again with its cursor, until the \
task needs you or is final. For one task with progress: codex_get_operation_status with \
wait_seconds, and after_seq = the last nextAfterSeq to see only what is new. Long silence is \
normal (quietForSeconds is a fact, not a failure): do not submit again.
3. nextRecommendedAction says what to do.
   answer_pending_interaction: Codex asks something. codex_list_pending_interactions shows it; put \
command, cwd, reason and riskSummary before the person who decides, then \
codex_answer_pending_interaction.
   read_final_report: finalReport.text is what Codex said at the end; while finalReport.nextOffset \
is not null, read on with report_offset.
   inspect_last_error: lastError says what went wrong.
4. To go on in the same thread: codex_submit_task with operation_type "send_message" and thread_id.
5. codex_interrupt_turn stops a task.

Final statuses: completed, failed, interrupted, cancelled, and unknown_after_app_server_exit, \
which is no success: look at the folder before you try again. Defaults are sandbox read-only and \
approval_policy on-request; ask for workspace-write where files shall change.

Errors come as {"ok": false, "error": {code, message, details, retryable}}; message says what to \
do. CODEX_DUPLICATE_PROMPT_ACTIVE: the same prompt is being worked on; follow existingOperationId. \
Retry only where retryable is true.
"""


def make_server(desk: Desk) -> Server[Any]:
    """One server for any number of connections: it keeps nothing of them."""

    async def list_tools(
        _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[ListedTool.model_validate(one) for one in definitions()])

    async def call_tool(
        context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        result = await call(desk, params.name, params.arguments or {}, _caller(context))
        return CallToolResult(
            content=[TextContent(text=compact(result))],
            structured_content=result,
            is_error=not result["ok"],
        )

    server: Server[Any] = Server(
        SERVER_NAME,
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
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
    return fit(_presentable(result), shown.rules)


async def _call(desk: Desk, name: str, arguments: Mapping[str, object], by: str) -> Shown:
    tool = BY_NAME.get(name)
    if tool is None:
        raise InvalidArgument(f"there is no tool {name!r}; there are: {', '.join(BY_NAME)}")
    return await tool.call(desk, parse(tool.arguments, arguments), by)


def _failed(error: ControlPlaneError) -> Json:
    said: Json = {
        "code": error.code,
        "message": error.message,
        "details": dict(error.details),
        "retryable": error.retryable,
    }
    return fit(_presentable({"ok": False, "error": said}), ())


def _presentable(result: Json) -> Json:
    """Without secrets, and in valid Unicode: Codex may report half a character."""
    shown = _whole_characters(redact_json(result))
    assert isinstance(shown, dict)  # noqa: S101  # an object stays an object
    return shown


def _whole_characters(value: object) -> object:
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case dict():
            return {_whole_characters(key): _whole_characters(one) for key, one in value.items()}
        case list():
            return [_whole_characters(one) for one in value]
        case _:
            return value


def _caller(context: ServerRequestContext[Any]) -> str:
    """Who calls, as they call themselves."""
    params = context.session.client_params
    return "mcp" if params is None else f"mcp:{params.client_info.name}"[:100]

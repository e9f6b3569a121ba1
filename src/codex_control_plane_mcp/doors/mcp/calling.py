"""A tool call from its arguments to its result. It never fails: what goes wrong is a result too."""

import logging
from collections.abc import Mapping
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.types import CallToolResult, TextContent

from codex_control_plane_mcp import correlation, tracing
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.arguments import parse
from codex_control_plane_mcp.doors.mcp.fit import Json, compact, fit
from codex_control_plane_mcp.doors.mcp.guidance import guide
from codex_control_plane_mcp.doors.mcp.tool import Shown
from codex_control_plane_mcp.doors.mcp.tools import is_known, is_read_only, offered
from codex_control_plane_mcp.doors.presentable import presentable, presentable_text
from codex_control_plane_mcp.doors.shape import as_json
from codex_control_plane_mcp.errors import ControlPlaneError, StateBusy

logger = logging.getLogger(__name__)


async def call(desk: Desk, name: str, arguments: Mapping[str, object], by: str) -> Json:
    """The result of a tool call, success or error: never raises but for being cancelled."""
    began = anyio.current_time()
    call_id = correlation.new_call_id()
    # What a client calls a tool that there is not may be anything.
    tool = name if is_known(name) else "unknown"
    with (
        correlation.working_for(callId=call_id),
        tracing.span(
            f"execute_tool {tool}",
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": tool,
                "codex.call.id": call_id,
            },
        ) as span,
    ):
        result = await _answered(desk, name, arguments, by)
        _log(name, by, result, anyio.current_time() - began)
        if "error" in result:
            span.fail(result["error"]["code"])
        elif operation_id := result.get("operationId"):
            span.tell("codex.operation.id", operation_id)
    return result


async def _answered(desk: Desk, name: str, arguments: Mapping[str, object], by: str) -> Json:
    try:
        shown = await _call(desk, name, arguments, by)
    except ControlPlaneError as error:
        return failed(error)
    except Exception:
        logger.exception("%s failed", name)
        return failed(StateBusy("something went wrong here, and is in the log; try again"))
    result: Json = {"ok": True}
    for view in shown.views:
        result |= as_json(view)
    guide(result)
    return fit(presentable(result), shown.rules)


async def _call(desk: Desk, name: str, arguments: Mapping[str, object], by: str) -> Shown:
    tool = offered(desk.settings.toolsets).find(name)
    return await tool.call(desk, parse(tool.arguments, arguments), by)


def failed(error: ControlPlaneError) -> Json:
    """The result of a call that could not be done."""
    said: Json = {
        "code": error.code,
        "message": error.message,
        "details": dict(error.details),
        "retryable": error.retryable,
        "nextRecommendedAction": error.next_action,
    }
    return fit(presentable({"ok": False, "error": said}), ())


def _log(name: str, by: str, result: Json, seconds: float) -> None:
    """One line for each call, but for those that only looked at something and found it."""
    error = result.get("error")
    if error is None and is_read_only(name):
        return
    name = presentable_text(name)  # it may be anything that a client says
    told = {"tool": name, "by": by, "elapsedMs": round(seconds * 1000)}
    source = result if error is None else error["details"]
    for id_ in ("operationId", "existingOperationId", "workflowId", "repairRunId", "field"):
        if source.get(id_) is not None:
            told[id_] = source[id_]
    if error is None:
        logger.info("%s answered", name, extra={"told": told})
    else:
        told["code"] = error["code"]
        logger.warning("%s: %s", name, error["message"], extra={"told": told})


def caller(context: ServerRequestContext[Any]) -> str:
    """Who calls, as they call themselves."""
    params = context.session.client_params
    return "mcp" if params is None else f"mcp:{params.client_info.name}"[:100]


def as_tool_result(result: Json) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(text=compact(result))],
        structured_content=result,
        is_error=not result["ok"],
    )

"""Calls of the older surface that start a turn: durable operations, answered once it runs."""

from typing import Any

from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.wait import ANSWER_SECONDS
from codex_control_plane_mcp.doors.mcp import arguments as args
from codex_control_plane_mcp.doors.mcp.arguments import given
from codex_control_plane_mcp.doors.mcp.tasks import STATUS_RULES
from codex_control_plane_mcp.doors.mcp.tool import Hints, Shown, Tool
from codex_control_plane_mcp.model.request import OperationType


async def _start_chat(desk: Desk, wanted: args.StartChat, _by: str) -> Shown:
    task = Task(
        operation_type=OperationType.START_CHAT,
        message=wanted.message,
        project=wanted.project_id,
        **given(wanted, *_OPTIONS, "title"),
    )
    return await _started(desk, task, wanted.timeout_seconds)


async def _send_message(desk: Desk, wanted: args.SendMessage, _by: str) -> Shown:
    task = Task(
        operation_type=OperationType.SEND_MESSAGE,
        message=wanted.message,
        thread_id=wanted.chat_id,
        project=wanted.project_id,
        **given(wanted, *_OPTIONS),
    )
    return await _started(desk, task, wanted.timeout_seconds)


_OPTIONS = (
    *("client_request_id", "cwd", "model", "sandbox", "approval_policy", "collaboration_mode"),
)


async def _started(desk: Desk, task: Task, timeout_seconds: float | None) -> Shown:
    patience = ANSWER_SECONDS if timeout_seconds is None else timeout_seconds
    return Shown((await desk.start(task, min(patience, ANSWER_SECONDS)),), STATUS_RULES)


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex_start_chat",
        "codex_submit_task start_chat, answered once the turn runs (threadId, turnId), has failed, "
        "or after 40 s; then go on with operationId.",
        args.StartChat,
        (views.Started,),
        Hints(),
        _start_chat,
        toolset="compat",
        keyed=True,
        stable=False,
    ),
    Tool(
        "codex_send_message",
        "The same for send_message, to chat_id (a thread id).",
        args.SendMessage,
        (views.Started,),
        Hints(),
        _send_message,
        toolset="compat",
        keyed=True,
        stable=False,
    ),
)

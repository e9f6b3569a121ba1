"""`codex` and `codex-reply`, as Codex's own MCP server had them, over durable operations.

Theirs answered when the turn had ended, however long that took, and knew nothing of a call whose
client had gone. These answer in time, and the same call again goes on with the same operation (see
`desk.repeats`): that is the whole of what a client must know.
"""

from dataclasses import dataclass, field
from typing import Any

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.status import STATUS_TOOL
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.texts import longest_start
from codex_control_plane_mcp.desk.views import (
    BRIEF,
    OPTIONAL,
    TACIT,
    FollowUp,
    InteractionView,
    LastError,
    OperationView,
)
from codex_control_plane_mcp.desk.wait import ANSWER_SECONDS
from codex_control_plane_mcp.doors.mcp import arguments as args
from codex_control_plane_mcp.doors.mcp.arguments import given
from codex_control_plane_mcp.doors.mcp.fit import (
    MIN_TEXT_CHARS,
    Json,
    compact,
    drop_last,
)
from codex_control_plane_mcp.doors.mcp.tool import Hints, Shown, Tool
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.model.request import OperationType


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    thread_id: str | None
    #: What Codex said, where `status` is `completed`; else what to do.
    content: str
    status: Status
    operation_id: str
    turn_id: str | None = field(metadata=TACIT)
    #: Whether it goes on with an operation that an earlier call had made.
    idempotent: bool | None = field(metadata=TACIT)
    pending_interactions: tuple[InteractionView, ...] = field(metadata=BRIEF)
    last_error: LastError | None = field(metadata=TACIT)
    next_recommended_action: str
    #: Where `content` goes on.
    read_full_via: FollowUp | None = field(default=None, metadata=OPTIONAL)


async def _codex(desk: Desk, wanted: args.Codex, _by: str) -> Shown:
    cwd = await desk.only_folder() if wanted.cwd is None else wanted.cwd
    if cwd is None:
        raise InvalidArgument(
            "cwd is needed: the folder you work in cannot be known here, and not just one folder "
            "is allowed; codex_list_projects shows those that are",
            field="cwd",
        )
    task = Task(
        operation_type=OperationType.START_CHAT,
        message=wanted.prompt,
        cwd=cwd,
        effort=wanted.config.model_reasoning_effort if wanted.config else None,
        **given(wanted, "model", "sandbox", "approval_policy"),
    )
    return await _run(desk, task)


async def _codex_reply(desk: Desk, wanted: args.CodexReply, _by: str) -> Shown:
    match wanted.thread_id, wanted.conversation_id:
        case (str(thread_id), None) | (None, str(thread_id)):
            pass
        case (str(thread_id), other) if thread_id == other:
            pass
        case _:
            raise InvalidArgument(
                "give threadId, or conversationId, which is its older name", field="threadId"
            )
    task = Task(
        operation_type=OperationType.SEND_MESSAGE, message=wanted.prompt, thread_id=thread_id
    )
    return await _run(desk, task)


async def _run(desk: Desk, task: Task) -> Shown:
    return Shown((_answer(await desk.run(task, ANSWER_SECONDS)),), _RULES)


def _answer(view: OperationView) -> Answer:
    return Answer(
        thread_id=view.thread_id,
        content=_content(view),
        status=view.status,
        operation_id=view.operation_id,
        turn_id=view.turn_id,
        idempotent=view.idempotent,
        pending_interactions=view.pending_interactions,
        last_error=view.last_error,
        next_recommended_action=view.next_recommended_action,
        read_full_via=_rest(view),
    )


def _content(view: OperationView) -> str:
    if view.final_report is not None:
        return view.final_report.text
    if view.status in FINAL:
        why = "" if view.last_error is None else f" {view.last_error.message}"
        return f"Codex did not complete this: it ended as {view.status}.{why}"
    if view.pending_interactions:
        return (
            "Codex asks something: show pendingInteractions to the person who decides, answer with "
            "codex_answer_pending_interaction, then make this same call again for the result."
        )
    return _AT_WORK


_AT_WORK = (
    "Codex is still at work on this, and goes on. Make this same call again to wait for the "
    "result: it starts nothing anew."
)


def answered(result: Json) -> Json:
    """The result of a call whose question was answered, and that has no time left to see what comes
    of it."""
    return {
        **result,
        "content": _AT_WORK,
        "status": Status.RUNNING.value,
        "pendingInteractions": [],
        "nextRecommendedAction": "wait",
    }


def _rest(view: OperationView) -> FollowUp | None:
    report = view.final_report
    return None if report is None or report.next_offset is None else report.read_full_via


def _cut_content(result: Json, excess: int) -> None:
    """Let the rest of a report be read where the cut is."""
    if result["status"] != Status.COMPLETED:
        return
    text = result["content"]
    room = len(compact(text)) - excess - 200  # for the call that shows the rest
    result["content"] = longest_start(text, max(MIN_TEXT_CHARS, room))
    result["readFullVia"] = {
        "tool": STATUS_TOOL,
        "arguments": {
            "operation_id": result["operationId"],
            "report_offset": len(result["content"]),
        },
    }


_RULES = (drop_last("pendingInteractions"), _cut_content)

TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex",
        "Run Codex on a prompt; content is its answer. After 40 s, or when Codex asks something, "
        "status is not final: make the same call again to go on waiting; nothing runs twice.",
        args.Codex,
        (Answer,),
        Hints(),
        _codex,
        toolset="dropin",
        repeatable=True,
        stable=False,
    ),
    Tool(
        "codex-reply",
        "Continue the thread of an earlier codex call, with its sandbox and model; answers alike.",
        args.CodexReply,
        (Answer,),
        Hints(),
        _codex_reply,
        toolset="dropin",
        repeatable=True,
        stable=False,
    ),
)

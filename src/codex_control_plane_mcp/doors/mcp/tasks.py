"""The tools that every orchestrator needs: submit, look, wait, answer, stop."""

from typing import Any

from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.desk import Desk, Projects
from codex_control_plane_mcp.desk.inputs import InputItem, Words
from codex_control_plane_mcp.desk.interactions import Given, Page, cursor_behind
from codex_control_plane_mcp.desk.interrupt import Target, Turn, Whole
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.wait import Until, Watched
from codex_control_plane_mcp.doors.mcp import arguments as args
from codex_control_plane_mcp.doors.mcp.arguments import given
from codex_control_plane_mcp.doors.mcp.fit import (
    Json,
    Shorten,
    cut_report,
    drop_first,
    drop_last,
)
from codex_control_plane_mcp.doors.mcp.tool import READS, Hints, Shown, Tool
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import (
    InteractionId,
    OperationId,
    ThreadId,
    TurnId,
    WorkflowId,
)
from codex_control_plane_mcp.model.request import LocalImage, OperationType, RemoteImage
from codex_control_plane_mcp.store.interactions import Search


async def _submit(desk: Desk, wanted: args.SubmitTask, _by: str) -> Shown:
    if wanted.chat_id and wanted.thread_id and wanted.chat_id != wanted.thread_id:
        raise InvalidArgument(
            "chat_id and thread_id are the same thing and differ here; give one", field="chat_id"
        )
    task = Task(
        operation_type=OperationType(wanted.operation_type),
        last_turn_id=wanted.fork_config.last_turn_id if wanted.fork_config else None,
        project=wanted.project_id,
        thread_id=wanted.thread_id or wanted.chat_id,
        resource_keys=tuple(wanted.resource_keys or ()),
        host_labels=tuple(wanted.host_labels or ()),
        **given(
            wanted,
            "message",
            "client_request_id",
            "cwd",
            "source_thread_id",
            "expected_turn_id",
            "workflow_id",
            "collaboration_mode",
            "title",
            "model",
            "sandbox",
            "approval_policy",
            "agent_id",
            "priority",
            "dedup_policy",
            "ephemeral",
            "output_schema",
            "worktree",
            "host",
        ),
        items=tuple(_item(item) for item in wanted.input_items or ()),
    )
    return Shown((await desk.submit(task),), STATUS_RULES)


def _item(item: args.TextItem | args.LocalImageItem | args.ImageItem) -> InputItem:
    match item:
        case args.TextItem(text=text):
            return Words(text)
        case args.LocalImageItem(path=path, detail=detail):
            return LocalImage(path, detail)
        case args.ImageItem(url=url, detail=detail):
            return RemoteImage(url, detail)


async def _status(desk: Desk, wanted: args.GetOperationStatus, by: str) -> Shown:
    look = Look(
        operation_id=OperationId(wanted.operation_id),
        **given(
            wanted,
            "after_seq",
            "last_messages",
            "message_max_chars",
            "progress_events",
            "progress_max_chars",
            "report_offset",
        ),
    )
    shown = await desk.status(look, wanted.wait_seconds or 0, by)
    if wanted.after_seq is None:
        return Shown((shown,), STATUS_RULES)
    # Whoever follows the events by their numbers must not lose one: the newest are for next time.
    return Shown((shown,), (drop_first("latestMessages"), _events_for_later, *STATUS_RULES[2:]))


def _point_behind_last(result: Json, left: int) -> None:
    result["nextAfterSeq"] = result["progressEvents"][left - 1]["seq"]


_events_for_later = drop_last("progressEvents", then=_point_behind_last)
STATUS_RULES: tuple[Shorten, ...] = (
    drop_first("progressEvents"),
    drop_first("latestMessages"),
    cut_report,
)


async def _wait(desk: Desk, wanted: args.Wait, _by: str) -> Shown:
    watched = Watched(
        [OperationId(id_) for id_ in dict.fromkeys(wanted.operation_ids or ())],
        [WorkflowId(id_) for id_ in dict.fromkeys(wanted.workflow_ids or ())],
    )
    if not watched.ids:
        raise InvalidArgument("give operation_ids, workflow_ids, or both", field="operation_ids")
    what = wanted.until or Until.ATTENTION
    return Shown((await desk.wait(watched, wanted.wait_seconds or 0, wanted.cursor, what),))


async def _interactions(desk: Desk, wanted: args.ListPendingInteractions, by: str) -> Shown:
    names = ("status", "operation_id", "workflow_id", "thread_id", "turn_id")
    search = Search(**given(wanted, *names))
    found = await desk.interactions(Page(search, **given(wanted, "limit", "cursor")), by)

    def go_on(result: Json, left: int) -> None:
        result["nextCursor"] = cursor_behind(found.interactions[left - 1])

    return Shown((found,), (drop_last("interactions", then=go_on),))


async def _answer(desk: Desk, wanted: args.AnswerPendingInteraction, by: str) -> Shown:
    answer = given(wanted, "answers", "action", "content", "permissions", "scope")
    if wanted.decision is not None and wanted.decision_payload is not None:
        raise InvalidArgument("give decision or decision_payload, not both", field="decision")
    if (decision := wanted.decision or wanted.decision_payload) is not None:
        # Some callers wrap it once more, as Codex's own answer does.
        match decision:
            case {"decision": inner, **others} if not others:
                answer["decision"] = inner
            case _:
                answer["decision"] = decision
    if not answer:
        raise InvalidArgument(
            "give an answer: decision, answers, action or permissions", field="decision"
        )
    receipt = await desk.answer(Given(InteractionId(wanted.interaction_id), answer, by))
    return Shown((receipt,))


async def _interrupt(desk: Desk, wanted: args.InterruptTurn, by: str) -> Shown:
    target: Target
    match wanted.operation_id, wanted.workflow_id, wanted.thread_id, wanted.turn_id:
        case str(operation_id), None, None, None:
            target = OperationId(operation_id)
        case None, str(workflow_id), None, None:
            target = Whole(WorkflowId(workflow_id))
        case None, None, str(thread_id), str(turn_id):
            target = Turn(ThreadId(thread_id), TurnId(turn_id))
        case _:
            raise InvalidArgument(
                "give operation_id, or workflow_id, or thread_id and turn_id", field="operation_id"
            )
    return Shown((await desk.interrupt(target, by),))


async def _projects(desk: Desk, wanted: args.ListProjects, _by: str) -> Shown:
    found = await desk.projects(
        Projects(
            below=tuple(wanted.roots or ()),
            with_source=wanted.include_private_details or False,
            **given(wanted, "limit"),
        )
    )
    return Shown((found,), (drop_last("projects"),))


#: Submitting only adds to a queue: what Codex may then do there is bounded by the sandbox and by
#: its questions to people. Answering one of those may let anything run, so that it is a person's.
TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex_submit_task",
        "Hand a task to Codex; returns at once with operationId. start_chat: new thread in "
        "project_id or cwd. send_message: go on in thread_id. Then codex_wait.",
        args.SubmitTask,
        (views.Receipt,),
        Hints(),
        _submit,
        toolset="core",
        keyed=True,
    ),
    Tool(
        "codex_get_operation_status",
        "How a task stands: status, progress, questions, finalReport. Final: completed, failed, "
        "interrupted, cancelled, unknown_after_app_server_exit (not a success).",
        args.GetOperationStatus,
        (views.OperationView,),
        READS,
        _status,
        toolset="core",
        depth=2,
        repeatable=True,
        reports=True,
    ),
    Tool(
        "codex_wait",
        "Wait until a task or workflow, the first of several, has ended or needs you. Call again "
        "with cursor for the next one.",
        args.Wait,
        (views.WaitView,),
        READS,
        _wait,
        toolset="core",
        repeatable=True,
    ),
    Tool(
        "codex_list_pending_interactions",
        "What Codex asks people: approvals, permissions, questions, forms.",
        args.ListPendingInteractions,
        (views.InteractionList,),
        READS,
        _interactions,
        toolset="core",
        repeatable=True,
    ),
    Tool(
        "codex_answer_pending_interaction",
        "Answer what Codex asks. An approval can let a command run: show command, cwd, reason and "
        "riskSummary to the person who decides first. The first answer counts.",
        args.AnswerPendingInteraction,
        (views.AnswerReceipt,),
        Hints(destructive=True, idempotent=True),
        _answer,
        toolset="core",
    ),
    Tool(
        "codex_interrupt_turn",
        "Stop a task, by operation_id, workflow_id, or thread_id and turn_id. What was done stays.",
        args.InterruptTurn,
        (views.InterruptReceipt,),
        Hints(idempotent=True),
        _interrupt,
        toolset="core",
        repeatable=True,
    ),
    Tool(
        "codex_list_projects",
        "Folders that tasks can be sent to.",
        args.ListProjects,
        (views.ProjectList,),
        READS,
        _projects,
        toolset="read",
        repeatable=True,
        stable=False,
    ),
)

"""The extension `io.modelcontextprotocol/tasks`: calls that hand in work, as tasks of MCP.

A client of 2026-07-28 that declares it gets a task in place of our receipt. The task is the
operation, or the workflow, under its own id: nothing is kept beside the book, so it outlives
client, pipe and worker. What Codex asks is the task's input; whether a plan is carried out is too.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ElicitRequest,
    ElicitResult,
    RequestParams,
)

from codex_control_plane_mcp import tracing
from codex_control_plane_mcp.clock import Moment, isoformat
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.interactions import Given
from codex_control_plane_mcp.desk.interrupt import Whole
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.views import InteractionView, OperationView
from codex_control_plane_mcp.desk.workflows.deciding import Approve
from codex_control_plane_mcp.desk.workflows.status import Look as LookAtWorkflow
from codex_control_plane_mcp.desk.workflows.views import WorkflowView
from codex_control_plane_mcp.doors.mcp.asking import is_modern
from codex_control_plane_mcp.doors.mcp.calling import as_tool_result, call, caller
from codex_control_plane_mcp.doors.mcp.fit import Json
from codex_control_plane_mcp.doors.mcp.forms import (
    MAX_MESSAGE_CHARS,
    answer,
    as_request,
    choice,
    form,
    takes_forms,
)
from codex_control_plane_mcp.doors.presentable import presentable_text
from codex_control_plane_mcp.errors import (
    ControlPlaneError,
    InteractionUnavailable,
    InvalidArgument,
    NotFound,
)
from codex_control_plane_mcp.model.ids import InteractionId, OperationId, WorkflowId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.workflow import UNDECIDED, Phase

TASKS = "io.modelcontextprotocol/tasks"
#: A look costs a few milliseconds.
POLL_MS = 2_000

#: The tools whose calls are tasks, and which of their fields is the task's id.
_MAKES = {
    "codex_submit_task": "operationId",
    "codex_start_plan_workflow": "workflowId",
    "codex_start_review_workflow": "workflowId",
}

Context = ServerRequestContext[Any]
P = TypeVar("P", bound=RequestParams)


class TaskParams(RequestParams):
    task_id: str


class UpdateParams(TaskParams):
    #: Of forms alone: nothing else is asked.
    input_responses: dict[str, ElicitResult | Any]


class TaskCalls:
    """Serves tasks over one desk, for any number of connections."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def serve(self, server: Server[Any]) -> None:
        """Have `server` offer the extension."""
        server.extensions[TASKS] = {}
        server.add_request_handler("tasks/get", TaskParams, _continued(self.get))
        server.add_request_handler("tasks/update", UpdateParams, _continued(self.update))
        server.add_request_handler("tasks/cancel", TaskParams, _continued(self.cancel))

    async def made(self, context: Context, tool: str, result: Json) -> Json | None:
        """The task that a tool's call has made, for a client that takes tasks."""
        field = _MAKES.get(tool)
        if field is None or not result["ok"] or not (is_modern(context) and _declared(context)):
            return None
        task = await self._task(result[field])
        return {"resultType": "task", **_handle(context, task)}

    async def get(self, context: Context, params: TaskParams) -> Json:
        task = await self._asked_for(context, params)
        detailed = _handle(context, task)
        match detailed["status"]:
            case "completed":
                tool, name = task.shown_by
                arguments = {name: task.id}
                result = as_tool_result(await call(self._desk, tool, arguments, caller(context)))
                result.is_error = task.is_error
                detailed["result"] = result.model_dump(
                    by_alias=True, mode="json", exclude_none=True
                )
            case "failed":
                detailed["error"] = {"code": INTERNAL_ERROR, "message": task.message}
            case "input_required":
                detailed["inputRequests"] = {
                    key: request.model_dump(by_alias=True, mode="json", exclude_none=True)
                    for key, request in task.inputs.items()
                }
            case _:
                pass
        return detailed

    async def update(self, context: Context, params: UpdateParams) -> Json:
        task = await self._asked_for(context, params)
        by = f"{caller(context)} (form)"[:100]
        for key, reply in params.input_responses.items():
            if key in task.inputs and isinstance(reply, ElicitResult):
                await self._take(task, key, reply, by)
        return {}

    async def cancel(self, context: Context, params: TaskParams) -> Json:
        """End what runs. A plan that waits for a decision goes on waiting: nothing runs there."""
        task = await self._asked_for(context, params)
        await self._desk.interrupt(task.target, caller(context))
        return {}

    async def _asked_for(self, context: Context, params: TaskParams) -> "_Task":
        """Raises MCPError for a client that may not ask, and for a task that there is not."""
        if not is_modern(context):
            raise MCPError(METHOD_NOT_FOUND, "Method not found", context.method)
        expect_declared(context)
        named = None if context.request is None else context.request.headers.get("mcp-name")
        if named not in (None, params.task_id):
            raise MCPError(HEADER_MISMATCH, "Mcp-Name is not params.taskId")
        try:
            return await self._task(params.task_id)
        except ControlPlaneError as error:
            _refuse(error)

    async def _task(self, task_id: str) -> "_Task":
        if task_id.startswith("wf_"):
            looked_for = LookAtWorkflow(workflow_id=WorkflowId(task_id))
            return _of_workflow(await self._desk.workflows.status(looked_for))
        return _of_operation(await self._desk.status(Look(operation_id=OperationId(task_id))))

    async def _take(self, task: "_Task", key: str, reply: ElicitResult, by: str) -> None:
        try:
            if (asked := task.questions.get(key)) is not None:
                if (given := answer(asked, reply)) is not None:
                    await self._desk.answer(Given(InteractionId(key), given, by))
            elif reply.action == "accept":
                await self._decide(task, reply.content or {}, by)
        except InteractionUnavailable:
            pass  # somebody was faster: the task says how it goes on
        except ControlPlaneError as error:
            _refuse(error)

    async def _decide(self, task: "_Task", decided: Mapping[str, Any], by: str) -> None:
        """What somebody decided on a workflow whose planning has ended."""
        if decided.get("decision") not in task.choices:
            raise MCPError(INVALID_PARAMS, f"decision must be one of: {', '.join(task.choices)}")
        match decided["decision"]:
            case "approve":
                wanted = Approve(workflow_id=WorkflowId(task.id), by=by, plan_hash=task.plan_hash)
                await self._desk.workflows.approve(wanted)
            case _:
                say = Task(
                    operation_type=OperationType.SEND_MESSAGE,
                    message=str(decided.get("message") or ""),
                    workflow_id=task.id,
                )
                await self._desk.submit(say)


# --- Operations and workflows as tasks -----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """An operation or a workflow, in the extension's words."""

    id: str
    status: str
    message: str
    is_error: bool = False
    created_at: Moment
    updated_at: Moment
    target: OperationId | Whole
    #: The tool that shows it, and by which argument.
    shown_by: tuple[str, str]
    questions: Mapping[str, InteractionView]
    inputs: Mapping[str, ElicitRequest]
    #: What can be decided on a workflow now.
    choices: Sequence[str] = ()
    plan_hash: str | None = None


def _handle(context: Context, task: _Task) -> Json:
    """What every answer about it says. A client that shows no forms has nothing to be asked; the
    inbox has."""
    asks = task.status == "input_required"
    shows = takes_forms(context.session.client_capabilities)
    return {
        "taskId": task.id,
        "status": "working" if asks and not shows else task.status,
        "statusMessage": task.message,
        "createdAt": isoformat(task.created_at),
        "lastUpdatedAt": isoformat(task.updated_at),
        "ttlMs": None,
        "pollIntervalMs": POLL_MS,
    }


def _of_operation(view: OperationView) -> _Task:
    questions, inputs = _asked(view.pending_interactions)
    trouble = None if view.last_error is None else view.last_error.message
    return _Task(
        id=view.operation_id,
        status=_STATUS.get(view.status) or ("input_required" if inputs else "working"),
        message=presentable_text(trouble or view.status.value),
        is_error=view.status is Status.FAILED,
        created_at=view.created_at,
        updated_at=view.updated_at,
        target=OperationId(view.operation_id),
        shown_by=("codex_get_operation_status", "operation_id"),
        questions=questions,
        inputs=inputs,
    )


def _of_workflow(view: WorkflowView) -> _Task:
    questions, inputs = _asked(view.pending_interactions)
    plan_hash = None if view.latest_plan is None else view.latest_plan.plan_hash
    choices = _choices(view) if view.phase in UNDECIDED else ()
    if choices:
        inputs = {f"{view.phase}.{plan_hash or view.updated_at}": _decision(view, choices)}
    return _Task(
        id=view.workflow_id,
        status=_PHASE.get(view.phase) or ("input_required" if inputs else "working"),
        message=view.phase.value,
        is_error=view.phase is Phase.FAILED,
        created_at=view.created_at,
        updated_at=view.updated_at,
        target=Whole(WorkflowId(view.workflow_id)),
        shown_by=("codex_get_workflow_status", "workflow_id"),
        questions=questions,
        inputs=inputs,
        choices=choices,
        plan_hash=plan_hash,
    )


#: A turn that Codex reports as failed is a result all the same; one whose end nobody knows is not.
_STATUS = {
    Status.COMPLETED: "completed",
    Status.FAILED: "completed",
    Status.INTERRUPTED: "cancelled",
    Status.CANCELLED: "cancelled",
    Status.UNKNOWN: "failed",
}
_PHASE = {
    Phase.COMPLETED: "completed",
    Phase.FAILED: "completed",
    Phase.INTERRUPTED: "cancelled",
    Phase.ORPHANED: "failed",
}


def _asked(
    questions: Sequence[InteractionView],
) -> tuple[dict[str, InteractionView], dict[str, ElicitRequest]]:
    """By id: what Codex asks, and that of it which a form can ask."""
    forms = {one.interaction_id: form(one) for one in questions}
    return (
        {one.interaction_id: one for one in questions},
        {id_: request for id_, request in forms.items() if request is not None},
    )


def _choices(view: WorkflowView) -> Sequence[str]:
    """A plan that is too long to be shown as a whole is not approved here."""
    plan = view.latest_plan
    whole = plan is not None and plan.next_offset is None and len(_said(view)) <= MAX_MESSAGE_CHARS
    approvable = view.phase is Phase.PLAN_READY and whole
    return ("approve", "revise") if approvable else ("revise",)


def _decision(view: WorkflowView, choices: Sequence[str]) -> ElicitRequest:
    schema = choice(list(choices))
    schema["properties"]["message"] = {"type": "string", "description": "To revise: what to change"}
    return as_request(_said(view)[:MAX_MESSAGE_CHARS], schema)


def _said(view: WorkflowView) -> str:
    plan = view.latest_plan
    if plan is None:
        return _NO_PLAN
    return presentable_text(f"Codex proposes this plan:\n\n{plan.markdown}")


_NO_PLAN = "Codex ended its planning without a plan. Answer it: revise."


# --- Particulars ---------------------------------------------------------------------------------


def _continued(
    answer: Callable[[Context, P], Awaitable[Json]],
) -> Callable[[Context, P], Awaitable[Json]]:
    """`answer`, as a part of what the client does (see `tracing`)."""

    async def answered(context: Context, params: P) -> Json:
        with tracing.continuing(context.meta):
            return await answer(context, params)

    return answered


def expect_declared(context: Context) -> None:
    """Raises MCPError for a client that does not declare the extension with its request."""
    if not _declared(context):
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "Missing required client capability",
            {"requiredCapabilities": {"extensions": {TASKS: {}}}},
        )


def _declared(context: Context) -> bool:
    capabilities = context.session.client_capabilities
    return capabilities is not None and TASKS in (capabilities.extensions or {})


def _refuse(error: ControlPlaneError) -> NoReturn:
    is_theirs = isinstance(error, InvalidArgument | NotFound)
    code = INVALID_PARAMS if is_theirs else INTERNAL_ERROR
    raise MCPError(code, presentable_text(error.message)) from error

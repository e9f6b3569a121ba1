"""More words to a workflow: its plan is made anew, or the turn that runs is told."""

from dataclasses import replace

from codex_control_plane_mcp.desk.submit import Accepted, Task, enter
from codex_control_plane_mcp.desk.texts import plain
from codex_control_plane_mcp.desk.workflows.standing import found, present
from codex_control_plane_mcp.desk.workflows.starting import while_planning
from codex_control_plane_mcp.errors import IdempotencyMismatch, InvalidArgument
from codex_control_plane_mcp.model.ids import WorkflowId
from codex_control_plane_mcp.model.operation import WITH_TURN, Operation
from codex_control_plane_mcp.model.request import (
    MAX_MESSAGE_CHARS,
    OperationType,
    SendMessage,
    SteerTurn,
    Submission,
    payload_hash,
)
from codex_control_plane_mcp.model.workflow import Stand, Step, Workflow
from codex_control_plane_mcp.store import lookup, workflows
from codex_control_plane_mcp.store.book import Reading, Writing


def check_more(task: Task) -> None:
    """Raises InvalidArgument for words to a workflow that cannot be meant."""
    if task.operation_type not in (OperationType.SEND_MESSAGE, OperationType.STEER_TURN):
        raise InvalidArgument(
            "workflow_id goes with send_message (plan again) or steer_turn (tell the running "
            "turn); a plan is carried out by codex_approve_plan",
            field="operation_type",
        )
    plain("message", task.message, MAX_MESSAGE_CHARS)
    said = replace(task, thread_id=None, expected_turn_id=None, workflow_id=None)
    if said != replace(_NOTHING, **{name: getattr(task, name) for name in _TAKEN}):
        raise InvalidArgument(
            "a workflow knows where and how it works: beside workflow_id give the message only",
            field="workflow_id",
        )


_NOTHING = Task(operation_type=OperationType.SEND_MESSAGE, message="")
_TAKEN = (
    "operation_type",
    "message",
    "client_request_id",
    "agent_id",
    "priority",
    "dedup_policy",
)


def say_more(writing: Writing, task: Task, workflow_id: WorkflowId) -> Accepted:
    """Have the plan made anew, or tell the turn that runs.

    Raises InvalidArgument where it is too late for that.
    """
    workflow = found(writing.connection, workflow_id)
    if (earlier := _said_before(writing.connection, workflow, task)) is not None:
        return Accepted(earlier, idempotent=True)
    now = present(writing.connection, workflow)
    if now.thread_id is None:
        raise InvalidArgument(
            "Codex has no thread for this workflow yet; wait with codex_get_workflow_status",
            field="workflow_id",
        )
    steers = task.operation_type is OperationType.STEER_TURN
    request = _steering(task, workflow, now) if steers else _revision(task, workflow, now)
    for name, given, ours in (
        ("thread_id", task.thread_id, now.thread_id),
        ("expected_turn_id", task.expected_turn_id, getattr(request, "expected_turn_id", None)),
    ):
        if given not in (None, ours):
            raise InvalidArgument(
                f"{name} is not that of the workflow, {ours}: leave it out", field=name
            )
    accepted = enter(writing, _more(workflow, request, task))
    if not steers and not accepted.idempotent:
        workflows.add_operation(writing, workflow, accepted.operation.id)
    return accepted


def _said_before(reading: Reading, workflow: Workflow, task: Task) -> Operation | None:
    """The operation that the same call made. Since then the turn that ran may be another one."""
    if task.client_request_id is None:
        return None
    known = lookup.by_client_request(reading, task.client_request_id)
    if known is None:
        return None
    operation, hashed = known
    request = operation.request
    if (
        isinstance(request, SendMessage | SteerTurn)
        and request.type is task.operation_type
        and payload_hash(_more(workflow, replace(request, message=task.message), task)) == hashed
    ):
        return operation
    raise IdempotencyMismatch(
        "this client_request_id was used for another task; use a new one for a new task",
        existingOperationId=operation.id,
        clientRequestId=task.client_request_id,
    )


def _more(workflow: Workflow, request: SendMessage | SteerTurn, task: Task) -> Submission:
    return Submission(
        request,
        client_request_id=task.client_request_id,
        agent_id=task.agent_id,
        priority=task.priority,
        dedup_policy=task.dedup_policy,
        workflow_id=workflow.id,
    )


def _revision(task: Task, workflow: Workflow, now: Stand) -> SendMessage:
    if now.step is not Step.PLAN or now.thread_id is None:
        raise InvalidArgument(
            "only a plan that is not approved yet can be made anew; to say more in this thread use "
            "send_message with thread_id",
            field="workflow_id",
            phase=now.phase,
            threadId=now.thread_id,
        )
    return SendMessage(
        message=task.message,
        thread_id=now.thread_id,
        cwd=workflow.cwd,
        project_id=workflow.project_id,
        options=while_planning(workflow.terms.options),
    )


def _steering(task: Task, workflow: Workflow, now: Stand) -> SteerTurn:
    operation = now.operation
    if operation.status not in WITH_TURN or operation.turn_id is None or now.thread_id is None:
        raise InvalidArgument(
            "no turn of this workflow runs now; before the approval send_message has the plan made "
            "anew",
            field="workflow_id",
            phase=now.phase,
        )
    return SteerTurn(
        message=task.message,
        thread_id=now.thread_id,
        expected_turn_id=operation.turn_id,
        cwd=workflow.cwd,
        project_id=workflow.project_id,
    )

"""All tasks at once: who wants somebody, what runs, what waits and why, what ended last.

Functions of the book, the limits and the time. Nothing is asked of Codex, nothing is written.
"""

from codex_control_plane_mcp.clock import Moment, seconds_between
from codex_control_plane_mcp.desk import status
from codex_control_plane_mcp.desk.fleet import front, host_lines
from codex_control_plane_mcp.desk.recent import title_of
from codex_control_plane_mcp.desk.views import QueueState
from codex_control_plane_mcp.desk.views_roll import Roll, RollLine, UndecidedLine, Wanted
from codex_control_plane_mcp.desk.workflows.standing import found, undecided
from codex_control_plane_mcp.desk.workflows.status import next_action
from codex_control_plane_mcp.model.ids import OperationId, WorkflowId
from codex_control_plane_mcp.model.operation import WITH_TURN, Operation
from codex_control_plane_mcp.model.request import options_of
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.model.workflow import Stand, Workflow
from codex_control_plane_mcp.store import lookup, queue
from codex_control_plane_mcp.store.book import Reading


def roll(reading: Reading, limits: Limits, now: Moment, *, shown: int, ended: int) -> Roll:
    """At most `shown` that run and `shown` that wait, and those `ended` last."""
    at_work = [job.id for job in queue.active_jobs(reading)]
    active = lookup.many(reading, at_work[:shown])
    asked = status.open_questions(reading, [one.id for one in active])
    last = lookup.ended_last(reading, ended)
    return Roll(
        undecided=tuple(_undecided_line(*one) for one in undecided(reading)),
        active=tuple(
            _line(one, QueueState("active"), now, len(asked[one.id]))
            # Who wants somebody comes first.
            for one in sorted(active, key=lambda one: not asked[one.id])
        ),
        queued=tuple(
            _line(one, QueueState("queued", reason, place), now)
            for place, (one, reason) in enumerate(front(reading, limits, now, shown), 1)
        ),
        ended=tuple(_line(one, QueueState("done"), now) for one in last),
        active_count=len(at_work),
        queued_count=queue.queued_count(reading),
        hosts=host_lines(reading) or None,
    )


def wanted_of(reading: Reading, operation_id: OperationId) -> Wanted:
    """Raises OperationNotFound."""
    operation = status.found(reading, operation_id)
    request = operation.request
    message = str(getattr(request, "message", "") or "")
    # Codex's word, once there is one.
    how: tuple[str | None, str | None, str | None] = (None, None, None)
    if (policy := operation.policy) is not None:
        how = (policy.sandbox, policy.approval_policy, policy.model)
    elif (options := options_of(request)) is not None:
        how = (options.sandbox, options.approval_policy, options.model)
    return Wanted(title_of(request), message, *how)


def terms_of(reading: Reading, workflow_id: WorkflowId) -> Wanted:
    """What a workflow was started with: its plan is carried out, or its review made, with that.

    Raises WorkflowNotFound.
    """
    workflow = found(reading, workflow_id)
    first = wanted_of(reading, workflow.operation_ids[0])
    options = workflow.terms.options
    return Wanted(
        title=workflow.title or first.title,
        message=first.message,
        sandbox=options.sandbox.value,
        approval_policy=options.approval_policy.value,
        model=options.model,
    )


def _line(operation: Operation, state: QueueState, now: Moment, asked: int = 0) -> RollLine:
    heard = operation.heard_at if operation.status in WITH_TURN else None
    return RollLine(
        operation_id=operation.id,
        workflow_id=operation.workflow_id,
        title=title_of(operation.request),
        operation_type=operation.request.type,
        status=operation.status,
        cwd=operation.cwd,
        agent_id=operation.agent_id,
        thread_id=operation.thread_id,
        created_at=operation.created_at,
        started_at=operation.started_at,
        completed_at=operation.completed_at,
        queue_state=state,
        quiet_for_seconds=None if heard is None else seconds_between(heard, now),
        pending_interaction_count=asked,
        latest_seq=operation.last_seq,
        last_error=status.last_error(operation),
        host=operation.host or None,
    )


def _undecided_line(workflow: Workflow, now: Stand) -> UndecidedLine:
    return UndecidedLine(
        workflow_id=workflow.id,
        title=workflow.title or title_of(now.newest.request),
        phase=now.phase,
        cwd=workflow.cwd,
        plan_hash=now.proposal.hash if now.proposal and now.is_valid else None,
        updated_at=max(workflow.updated_at, now.newest.updated_at),
        next_recommended_action=next_action(now, is_asked=False),
    )

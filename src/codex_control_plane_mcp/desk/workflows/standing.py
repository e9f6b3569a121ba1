"""Where workflows stand, for those who are about to do something with one."""

from collections.abc import Sequence
from typing import Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import InvalidArgument, WorkflowNotFound
from codex_control_plane_mcp.model.ids import WorkflowId
from codex_control_plane_mcp.model.workflow import (
    UNDECIDED,
    Phase,
    Sighting,
    Stand,
    Step,
    Workflow,
    newest_candidate,
    stand,
)
from codex_control_plane_mcp.store import workflows
from codex_control_plane_mcp.store.book import Reading

#: Plans that nobody decided on are looked for among so many of the newest without approval.
UNDECIDED_SOUGHT: Final = 100


def found(reading: Reading, workflow_id: WorkflowId) -> Workflow:
    workflow = workflows.get(reading, workflow_id)
    if workflow is None:
        raise WorkflowNotFound(
            f"there is no workflow {workflow_id}; use the workflowId that "
            "codex_start_plan_workflow or codex_start_review_workflow returned",
            workflowId=workflow_id,
        )
    return workflow


def present(reading: Reading, workflow: Workflow, elsewhere: Sequence[Sighting] = ()) -> Stand:
    """Where a workflow stands now. `elsewhere` are plans of its thread as Codex itself tells them:
    somebody may have planned there in Codex."""
    ours = workflows.operations_of(reading, workflow)
    now = stand(workflow, ours)
    if now.step is not Step.PLAN or not now.operation.is_final or now.thread_id is None:
        return now
    seen = [*workflows.plans_of(reading, now.thread_id), *elsewhere]
    return stand(workflow, ours, newest_candidate(workflow, ours, seen))


def undecided(reading: Reading, since: Moment | None = None) -> list[tuple[Workflow, Stand]]:
    """Those that wait for somebody's decision, oldest first; `since`: that moved after it."""
    recent = [
        one
        for one in reversed(workflows.not_approved(reading, UNDECIDED_SOUGHT))
        if since is None or one.updated_at > since
    ]
    standing = [(one, present(reading, one)) for one in recent]
    return [(one, now) for one, now in standing if now.phase in UNDECIDED]


def refusal(now: Stand, what: str) -> InvalidArgument:
    """Why nothing can be `what` now, and what to do instead."""
    return InvalidArgument(
        f"there is nothing that can be {what} now: {_BECAUSE[now.phase]}",
        field="workflow_id",
        phase=now.phase,
    )


_BECAUSE: Final = {
    Phase.PLANNING: "Codex is planning; wait with codex_get_workflow_status",
    Phase.PLAN_READY: "the plan under review is approved with codex_approve_plan",
    Phase.PLAN_NEEDS_REVIEW: (
        "Codex ended the planning turn without a plan; read finalReport, then answer it with "
        "codex_submit_task (send_message, workflow_id)"
    ),
    Phase.PLAN_CANDIDATE_FOUND: (
        "the thread has a newer plan; read candidatePlan and take it with "
        "codex_adopt_workflow_plan, or have the plan made anew with codex_submit_task "
        "(send_message, workflow_id)"
    ),
    Phase.EXECUTING: "the plan is being carried out; wait with codex_get_workflow_status",
    Phase.REVIEWING: "a code review has no plan; wait with codex_get_workflow_status",
    Phase.WAITING_FOR_APPROVAL: ("Codex waits for an answer; see codex_list_pending_interactions"),
    Phase.WAITING_FOR_USER_INPUT: (
        "Codex waits for an answer; see codex_list_pending_interactions"
    ),
    Phase.COMPLETED: "the workflow has ended; read its finalReport",
    Phase.FAILED: "it failed without a plan; see lastError, and start another workflow",
    Phase.INTERRUPTED: "it was interrupted without a plan; start another workflow",
    Phase.ORPHANED: ("nobody knows how it ended; look at the thread, then start another workflow"),
}

"""A workflow: operations that belong together, and the decision between them.

`plan_then_execute`: Codex plans, somebody approves the plan, Codex carries it out. `code_review`:
one review. Where a workflow stands is a pure function of its row and its operations and is never
stored, so the two cannot disagree.

Rule 1: only a plan that Codex marks as one, by an item of its own, is a plan.
Rule 2: only the newest plan can be approved, and only while nothing else is going on.
Rule 3: it is approved once.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
    WorkflowId,
)
from codex_control_plane_mcp.model.operation import Operation, Plan, Status
from codex_control_plane_mcp.model.request import Goal, TurnOptions


class WorkflowKind(StrEnum):
    PLAN_THEN_EXECUTE = "plan_then_execute"
    CODE_REVIEW = "code_review"


class Phase(StrEnum):
    """Where a workflow stands, by its public name."""

    PLANNING = "planning"
    #: There is a plan, and somebody has to decide.
    PLAN_READY = "plan_ready"
    #: Planning ended without a plan: with a question, a refusal, or prose.
    PLAN_NEEDS_REVIEW = "plan_needs_review"
    #: A newer plan is in the thread that did not come of this workflow.
    PLAN_CANDIDATE_FOUND = "plan_candidate_found"
    EXECUTING = "executing"
    REVIEWING = "reviewing"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    WAITING_FOR_USER_INPUT = "waiting_for_user_input"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    #: Nobody is left who knows how it ended. Never a success.
    ORPHANED = "orphaned_after_app_server_exit"


class Step(StrEnum):
    """What the operation that matters now is for."""

    PLAN = "plan"
    EXECUTION = "execution"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed on at the start, for the execution or the review."""

    options: TurnOptions
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan, and the turn that proposed it."""

    turn_id: TurnId
    plan: Plan

    @property
    def hash(self) -> str:
        """Names the plan to the letter."""
        return hashlib.sha256(self.plan.markdown.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Sighting:
    """A plan seen in a thread, whoever had it made."""

    proposal: Proposal
    at: Moment


@dataclass(frozen=True, slots=True)
class Adoption:
    """Somebody took a plan of the thread as this workflow's."""

    proposal: Proposal
    by: str
    at: Moment
    #: After so many operations of planning: a later one may replace the plan again.
    after: int
    note: str | None = None
    client_request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody let a plan be carried out."""

    plan_hash: str
    operation_id: OperationId
    by: str
    at: Moment
    #: Of what it came with: tells a repeated call from another one.
    payload_hash: str


@dataclass(frozen=True, slots=True)
class Workflow:
    """The row. Its operations know of it, and it names them in the order in which they came, for
    the wall clock may step back."""

    id: WorkflowId
    kind: WorkflowKind
    client_request_id: str | None
    project_id: ProjectId
    cwd: str
    title: str | None
    terms: Terms
    created_at: Moment
    updated_at: Moment
    operation_ids: tuple[OperationId, ...]
    adoption: Adoption | None = None
    approval: Approval | None = None

    @property
    def planned(self) -> int:
        """How many of its operations plan: all before those that carry the plan out, of which there
        is more than one only where it was tried again."""
        if self.approval is None:
            return len(self.operation_ids)
        return self.operation_ids.index(self.approval.operation_id)


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a workflow stands."""

    phase: Phase
    step: Step
    #: The operation that the phase speaks of.
    operation: Operation
    #: The newest one.
    newest: Operation
    #: The newest one that plans.
    planning: Operation | None = None
    #: The newest plan.
    proposal: Proposal | None = None
    #: Whether that plan is the one to decide on, or the one that was approved.
    is_valid: bool = False
    #: A newer plan in the thread, from elsewhere.
    candidate: Proposal | None = None

    @property
    def thread_id(self) -> ThreadId | None:
        return self.operation.thread_id


#: Codex does nothing, and planning may go on.
UNDECIDED: Final = frozenset(
    {Phase.PLAN_READY, Phase.PLAN_NEEDS_REVIEW, Phase.PLAN_CANDIDATE_FOUND}
)
#: Nothing more will come of it by itself or by this workflow's tools.
ENDED: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.INTERRUPTED, Phase.ORPHANED})
#: Somebody has to say something before it goes on.
WANTS_SOMEBODY: Final = UNDECIDED | {Phase.WAITING_FOR_APPROVAL, Phase.WAITING_FOR_USER_INPUT}

_AT_WORK: Final = {
    Step.PLAN: Phase.PLANNING,
    Step.EXECUTION: Phase.EXECUTING,
    Step.REVIEW: Phase.REVIEWING,
}
_WAITING: Final = {
    Status.WAITING_FOR_APPROVAL: Phase.WAITING_FOR_APPROVAL,
    Status.WAITING_FOR_USER_INPUT: Phase.WAITING_FOR_USER_INPUT,
}
_ENDS: Final = {
    Status.COMPLETED: Phase.COMPLETED,
    Status.FAILED: Phase.FAILED,
    Status.INTERRUPTED: Phase.INTERRUPTED,
    Status.CANCELLED: Phase.INTERRUPTED,
    Status.UNKNOWN: Phase.ORPHANED,
}


def stand(
    workflow: Workflow, operations: Sequence[Operation], candidate: Proposal | None = None
) -> Stand:
    """Where `workflow` stands with its `operations`, in the order in which it names them, and a
    `candidate` (see `newest_candidate`)."""
    newest = operations[-1]
    if workflow.kind is WorkflowKind.CODE_REVIEW:
        return Stand(_phase(newest, Step.REVIEW), Step.REVIEW, newest, newest)
    planning = operations[: workflow.planned]
    view = _planned(workflow, planning)
    if workflow.approval is not None:
        return replace(
            view,
            phase=_phase(newest, Step.EXECUTION),
            step=Step.EXECUTION,
            operation=newest,
            newest=newest,
            is_valid=True,
        )
    if candidate is None or not view.operation.is_final:
        return view
    return replace(view, phase=Phase.PLAN_CANDIDATE_FOUND, is_valid=False, candidate=candidate)


def newest_candidate(
    workflow: Workflow, planning: Sequence[Operation], sightings: Sequence[Sighting]
) -> Proposal | None:
    """The newest plan of the thread that is not the workflow's, and came after all that it knows
    of plans: after its last planning, and after somebody last chose one."""
    known = {operation.turn_id for operation in planning}
    since = max(operation.completed_at or operation.updated_at for operation in planning)
    if workflow.adoption is not None:
        known.add(workflow.adoption.proposal.turn_id)
        since = max(since, workflow.adoption.at)
    newer = [one for one in sightings if one.at > since and one.proposal.turn_id not in known]
    return max(newer, key=lambda one: one.at).proposal if newer else None


def _planned(workflow: Workflow, planning: Sequence[Operation]) -> Stand:
    """How far planning has come: what each operation in turn made of the plan, or will."""
    newest = planning[-1]
    present = Stand(_phase(newest, Step.PLAN), Step.PLAN, newest, newest, newest)
    for number, operation in enumerate(planning, start=1):
        present = _after(present, operation)
        if not operation.is_final:
            break  # Of several in one thread the first is at work, and the others wait for it.
        if workflow.adoption is not None and workflow.adoption.after == number:
            chosen = workflow.adoption.proposal
            present = replace(
                present, phase=Phase.PLAN_READY, operation=operation, proposal=chosen, is_valid=True
            )
    return present


def _after(before: Stand, operation: Operation) -> Stand:
    """`before`, once more was planned."""
    match operation.status:
        case Status.COMPLETED if (proposal := proposal_of(operation)) is not None:
            return replace(
                before,
                phase=Phase.PLAN_READY,
                operation=operation,
                proposal=proposal,
                is_valid=True,
            )
        case Status.COMPLETED:
            # What was asked of Codex after an earlier plan is not in that.
            phase = Phase.PLAN_NEEDS_REVIEW
        case status if status in _ENDS and before.phase in UNDECIDED:
            return before  # It changed nothing.
        case _:
            phase = _phase(operation, Step.PLAN)
    return replace(before, phase=phase, operation=operation, is_valid=False)


def proposal_of(operation: Operation) -> Proposal | None:
    """The plan that an operation ended with."""
    report = operation.report
    if report is None or report.plan is None or report.turn_id is None:
        return None
    return Proposal(report.turn_id, report.plan)


def _phase(operation: Operation, step: Step) -> Phase:
    status = operation.status
    return _ENDS.get(status) or _WAITING.get(status) or _AT_WORK[step]

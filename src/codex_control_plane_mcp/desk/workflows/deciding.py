"""What people decide on plans: which one counts, and that it is carried out, once.

Each decision is one transaction, and the same call again has the same answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codex_control_plane_mcp.desk.output_schema import strict
from codex_control_plane_mcp.desk.policy import options_for
from codex_control_plane_mcp.desk.submit import enter
from codex_control_plane_mcp.desk.texts import plain
from codex_control_plane_mcp.desk.workflows.standing import found, present, refusal
from codex_control_plane_mcp.desk.workflows.starting import check_names
from codex_control_plane_mcp.errors import IdempotencyMismatch, InvalidArgument, TurnNotFound
from codex_control_plane_mcp.model.ids import TurnId, WorkflowId
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    MAX_MESSAGE_CHARS,
    DedupPolicy,
    ExecutePlan,
    Submission,
    digest,
)
from codex_control_plane_mcp.model.workflow import (
    Adoption,
    Approval,
    Phase,
    Proposal,
    Sighting,
    Step,
    Workflow,
)
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import workflows
from codex_control_plane_mcp.store.book import Writing

MAX_NOTE_CHARS = 2_000
#: What Codex is told where nobody wants to say more.
CARRY_OUT = "Carry out the approved plan."


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """Let the plan be carried out."""

    workflow_id: WorkflowId
    by: str
    plan_hash: str | None = None
    client_request_id: str | None = None
    message: str | None = None
    output_schema: Mapping[str, object] | None = None
    sandbox: Sandbox | None = None
    approval_policy: ApprovalPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Take a plan of the thread as the workflow's own."""

    workflow_id: WorkflowId
    by: str
    turn_id: TurnId
    plan_hash: str
    client_request_id: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Approved:
    workflow: Workflow
    approval: Approval
    #: An earlier call had approved it.
    idempotent: bool


def check(wanted: Approve) -> None:
    """Raises InvalidArgument for what cannot be meant, whatever the state of things. May take a
    while: a schema can be large."""
    check_names(wanted)
    if wanted.message is not None:
        plain("message", wanted.message, MAX_MESSAGE_CHARS)
    if wanted.output_schema is not None:
        strict(wanted.output_schema)


def approve(
    writing: Writing, wanted: Approve, settings: Settings, elsewhere: Sequence[Sighting] = ()
) -> Approved:
    """Have the plan carried out, once. `elsewhere`: see `present`.

    Raises InvalidArgument where there is no plan to approve, or another than the caller means.
    """
    workflow = found(writing.connection, wanted.workflow_id)
    if workflow.approval is not None:
        return _approved_before(workflow, workflow.approval, wanted)
    now = present(writing.connection, workflow, elsewhere)
    if now.phase is not Phase.PLAN_READY or now.proposal is None or now.thread_id is None:
        raise refusal(now, "approved")
    proposal = now.proposal
    if wanted.plan_hash not in (None, proposal.hash):
        raise InvalidArgument(
            f"this plan_hash names another plan than the one under review, {proposal.hash}: read "
            "latestPlan again, and approve that one by its planHash",
            field="plan_hash",
            planHash=proposal.hash,
        )
    agreed = workflow.terms.options
    request = ExecutePlan(
        message=_order(wanted.message, proposal),
        thread_id=now.thread_id,
        cwd=workflow.cwd,
        project_id=workflow.project_id,
        options=options_for(
            settings,
            sandbox=wanted.sandbox or agreed.sandbox,
            approval_policy=wanted.approval_policy or agreed.approval_policy,
            model=agreed.model,
            effort=agreed.effort,
            output_schema=wanted.output_schema,
        ),
        plan_hash=proposal.hash,
        goal=workflow.terms.goal,
    )
    # The workflow itself sees to it that it is carried out once.
    submission = Submission(
        request,
        client_request_id=wanted.client_request_id,
        dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY,
        workflow_id=workflow.id,
    )
    execution = enter(writing, submission).operation
    approval = Approval(
        proposal.hash, execution.id, wanted.by, writing.now, _approval_payload(wanted)
    )
    return Approved(workflows.approve(writing, workflow, approval), approval, idempotent=False)


def _approved_before(workflow: Workflow, approval: Approval, wanted: Approve) -> Approved:
    same_plan = wanted.plan_hash in (None, approval.plan_hash)
    if same_plan and _approval_payload(wanted) == approval.payload_hash:
        return Approved(workflow, approval, idempotent=True)
    raise IdempotencyMismatch(
        f"a plan of this workflow was approved already by {approval.by}, and is approved once; "
        f"follow {approval.operation_id}, or start another workflow",
        workflowId=workflow.id,
        executionOperationId=approval.operation_id,
        planHash=approval.plan_hash,
    )


def _approval_payload(wanted: Approve) -> str:
    return digest([wanted.message, wanted.output_schema, wanted.sandbox, wanted.approval_policy])


def _order(message: str | None, proposal: Proposal) -> str:
    """What Codex is told: the plan to the letter, for that is what was approved, whatever else was
    said in the thread."""
    words = CARRY_OUT if message is None else message
    return plain(
        "message", f"{words}\n\nThe approved plan:\n\n{proposal.plan.markdown}", MAX_MESSAGE_CHARS
    )


@dataclass(frozen=True, slots=True)
class Adopted:
    workflow: Workflow
    adoption: Adoption
    idempotent: bool


def adopt(writing: Writing, wanted: Adopt, elsewhere: Sequence[Sighting] = ()) -> Adopted:
    """Make a plan of the workflow's thread the one under review. `elsewhere`: see `present`.

    Raises InvalidArgument or TurnNotFound.
    """
    check_names(wanted)
    if wanted.note is not None:
        plain("adoption_note", wanted.note, MAX_NOTE_CHARS)
    workflow = found(writing.connection, wanted.workflow_id)
    if (before := _adopted_before(workflow, wanted)) is not None:
        return Adopted(workflow, before, idempotent=True)
    now = present(writing.connection, workflow, elsewhere)
    if now.step is not Step.PLAN or not now.operation.is_final or now.thread_id is None:
        raise refusal(now, "adopted")
    known = [*workflows.plans_of(writing.connection, now.thread_id), *elsewhere]
    turn_id = wanted.turn_id
    proposal = next((one.proposal for one in known if one.proposal.turn_id == turn_id), None)
    if proposal is None:
        raise TurnNotFound(
            f"no plan is known of turn {wanted.turn_id} in thread {now.thread_id}; "
            "codex_get_workflow_status shows candidatePlan if there is one",
            threadId=now.thread_id,
            turnId=wanted.turn_id,
        )
    if proposal.hash != wanted.plan_hash:
        raise InvalidArgument(
            f"candidate_plan_hash is not that of the plan of this turn, {proposal.hash}: read it "
            "again before you take it",
            field="candidate_plan_hash",
            planHash=proposal.hash,
        )
    adoption = Adoption(
        proposal, wanted.by, writing.now, workflow.planned, wanted.note, wanted.client_request_id
    )
    return Adopted(workflows.adopt(writing, workflow, adoption), adoption, idempotent=False)


def _adopted_before(workflow: Workflow, wanted: Adopt) -> Adoption | None:
    """The adoption that the same call made; without a `client_request_id` one that still counts."""
    before = workflow.adoption
    if before is None:
        return None
    same_plan = (before.proposal.turn_id, before.proposal.hash) == (
        wanted.turn_id,
        wanted.plan_hash,
    )
    same_id = wanted.client_request_id is not None and (
        wanted.client_request_id == before.client_request_id
    )
    if same_id and not same_plan:
        raise IdempotencyMismatch(
            "this client_request_id was used to adopt another plan; use a new one",
            clientRequestId=wanted.client_request_id,
        )
    return before if same_plan and (same_id or before.after == workflow.planned) else None

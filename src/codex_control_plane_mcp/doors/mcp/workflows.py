"""The tools for workflows: a plan, the decision on it, its execution; and code reviews."""

from dataclasses import replace
from typing import Any, assert_never

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.views import Started
from codex_control_plane_mcp.desk.wait import ANSWER_SECONDS
from codex_control_plane_mcp.desk.workflows import views
from codex_control_plane_mcp.desk.workflows.deciding import Adopt, Approve
from codex_control_plane_mcp.desk.workflows.starting import StartPlan, StartReview
from codex_control_plane_mcp.desk.workflows.status import Look
from codex_control_plane_mcp.doors.mcp import workflow_arguments as args
from codex_control_plane_mcp.doors.mcp.arguments import given
from codex_control_plane_mcp.doors.mcp.fit import Shorten, cut_page, cut_report, drop_first
from codex_control_plane_mcp.doors.mcp.tasks import STATUS_RULES
from codex_control_plane_mcp.doors.mcp.tool import READS, Hints, Shown, Tool
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId, TurnId, WorkflowId
from codex_control_plane_mcp.model.request import (
    BaseBranch,
    Commit,
    CustomTarget,
    OperationType,
    ReviewTarget,
    UncommittedChanges,
)

#: What somebody has to judge is cut last, and has a cursor.
_RULES: tuple[Shorten, ...] = (
    drop_first("progressEvents"),
    drop_first("latestMessages"),
    cut_page("latestPlan", "markdown", "plan_offset"),
    cut_report,
    cut_page("candidatePlan", "markdown", "plan_offset"),
)


async def _start_plan(desk: Desk, wanted: args.StartPlanWorkflow, _by: str) -> Shown:
    plan = StartPlan(
        message=wanted.message,
        project=wanted.project_id,
        host_labels=tuple(wanted.host_labels or ()),
        **given(
            wanted,
            "cwd",
            "client_request_id",
            "title",
            "model",
            "sandbox",
            "approval_policy",
            "goal",
            "goal_token_budget",
            "goal_completion_action",
            "goal_completion_objective",
            "host",
        ),
    )
    return Shown((await desk.workflows.start_plan(plan),), _RULES)


async def _start_review(desk: Desk, wanted: args.StartReviewWorkflow, _by: str) -> Shown:
    review = StartReview(
        target=_target(wanted),
        project=wanted.project_id,
        host_labels=tuple(wanted.host_labels or ()),
        detached=wanted.delivery == "detached",
        **given(
            wanted,
            "cwd",
            "thread_id",
            "client_request_id",
            "model",
            "sandbox",
            "approval_policy",
            "host",
        ),
    )
    return Shown((await desk.workflows.start_review(review),), _RULES)


def _target(wanted: args.StartReviewWorkflow) -> ReviewTarget:
    """The target, with what it needs and nothing else."""
    match wanted.target_type:
        case "uncommitted_changes":
            _only(wanted)
            return UncommittedChanges()
        case "base_branch":
            _only(wanted, "base_branch")
            return BaseBranch(_needed(wanted, "base_branch"))
        case "commit":
            _only(wanted, "commit_sha", "commit_title")
            return Commit(_needed(wanted, "commit_sha"), wanted.commit_title)
        case "custom":
            _only(wanted, "instructions")
            return CustomTarget(_needed(wanted, "instructions"))
        case other:
            assert_never(other)


def _only(wanted: args.StartReviewWorkflow, *names: str) -> None:
    for name in ("base_branch", "commit_sha", "commit_title", "instructions"):
        if name not in names and getattr(wanted, name) is not None:
            raise InvalidArgument(
                f"{name} does not go with target_type {wanted.target_type}: leave it out",
                field=name,
            )


def _needed(wanted: args.StartReviewWorkflow, name: str) -> str:
    value: str | None = getattr(wanted, name)
    if value is None:
        raise InvalidArgument(f"target_type {wanted.target_type} needs {name}", field=name)
    return value


async def _status(desk: Desk, wanted: args.GetWorkflowStatus, by: str) -> Shown:
    look = Look(
        workflow_id=WorkflowId(wanted.workflow_id),
        **given(
            wanted,
            "last_messages",
            "message_max_chars",
            "include_events",
            "plan_offset",
            "report_offset",
            "refresh_live_goal",
        ),
    )
    return Shown((await desk.workflows.status(look, wanted.wait_seconds or 0, by),), _RULES)


async def _approve(desk: Desk, wanted: args.ApprovePlan, by: str) -> Shown:
    approve = Approve(
        workflow_id=WorkflowId(wanted.workflow_id),
        by=by,
        **given(
            wanted,
            "plan_hash",
            "client_request_id",
            "message",
            "output_schema",
            "sandbox",
            "approval_policy",
        ),
    )
    return Shown((await desk.workflows.approve(approve),))


async def _adopt(desk: Desk, wanted: args.AdoptWorkflowPlan, by: str) -> Shown:
    adopt = Adopt(
        workflow_id=WorkflowId(wanted.workflow_id),
        by=by,
        turn_id=TurnId(wanted.candidate_turn_id),
        plan_hash=wanted.candidate_plan_hash,
        note=wanted.adoption_note,
        **given(wanted, "client_request_id"),
    )
    return Shown((await desk.workflows.adopt(adopt),))


async def _execute(desk: Desk, wanted: args.ExecutePlan, by: str) -> Shown:
    """A workflow's plan is approved; a chat's plan is carried out in its thread."""
    names = ("message", "client_request_id", "sandbox", "approval_policy")
    idempotent: bool | None
    match wanted.workflow_id, wanted.chat_id:
        case str(workflow_id), None:
            if wanted.model is not None:
                raise InvalidArgument("a workflow has its model: leave it out", field="model")
            approve = Approve(
                workflow_id=WorkflowId(workflow_id), by=by, **given(wanted, "plan_hash", *names)
            )
            approved = await desk.workflows.approve(approve)
            id_, idempotent = approved.execution_operation_id, approved.idempotent
        case None, str(chat_id):
            if wanted.plan_hash is not None:
                raise InvalidArgument("plan_hash goes with workflow_id", field="plan_hash")
            task = Task(
                operation_type=OperationType.EXECUTE_PLAN,
                thread_id=chat_id,
                **given(wanted, "model", *names),
            )
            receipt = await desk.submit(task)
            id_, idempotent = receipt.operation_id, receipt.idempotent
        case _:
            raise InvalidArgument("give workflow_id or chat_id", field="workflow_id")
    patience = ANSWER_SECONDS if wanted.timeout_seconds is None else wanted.timeout_seconds
    shown = await desk.started(OperationId(id_), min(patience, ANSWER_SECONDS))
    return Shown((replace(shown, idempotent=idempotent),), STATUS_RULES)


#: An approval lets Codex change files within the sandbox that was agreed on: it is a person's, as
#: an answer to Codex is.
TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex_start_plan_workflow",
        "Have Codex plan in project_id or cwd, and change nothing before the plan is approved. "
        "Then codex_get_workflow_status.",
        args.StartPlanWorkflow,
        (views.WorkflowReceipt,),
        Hints(),
        _start_plan,
        toolset="core",
        keyed=True,
    ),
    Tool(
        "codex_start_review_workflow",
        "Have Codex review code: in thread_id, or in a new thread in project_id or cwd. Then "
        "codex_get_workflow_status.",
        args.StartReviewWorkflow,
        (views.WorkflowReceipt,),
        Hints(),
        _start_review,
        toolset="core",
        keyed=True,
    ),
    Tool(
        "codex_get_workflow_status",
        "How a workflow stands: phase, latestPlan, questions, finalReport. plan_ready: show the "
        "whole plan to whoever decides, then codex_approve_plan with its planHash.",
        args.GetWorkflowStatus,
        (views.WorkflowState,),
        READS,
        _status,
        toolset="core",
        depth=2,
        repeatable=True,
        reports=True,
    ),
    Tool(
        "codex_approve_plan",
        "Have the plan carried out, once, on a person's word: returns executionOperationId. "
        "plan_hash makes sure it is the plan that was read.",
        args.ApprovePlan,
        (views.ApprovalReceipt,),
        Hints(destructive=True, idempotent=True),
        _approve,
        toolset="core",
        repeatable=True,
        keyed=True,
    ),
    Tool(
        "codex_adopt_workflow_plan",
        "Take a plan that appeared in the thread otherwise (candidatePlan) as the one to decide "
        "on.",
        args.AdoptWorkflowPlan,
        (views.AdoptionReceipt,),
        Hints(idempotent=True),
        _adopt,
        toolset="lifecycle",
        repeatable=True,
        keyed=True,
    ),
    Tool(
        "codex_execute_plan",
        "Have a workflow's plan (that approves it) or a chat's plan carried out; answers once the "
        "turn runs.",
        args.ExecutePlan,
        (Started,),
        Hints(destructive=True),
        _execute,
        toolset="compat",
        keyed=True,
        stable=False,
    ),
)

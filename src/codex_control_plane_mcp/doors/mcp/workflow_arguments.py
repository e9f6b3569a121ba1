"""The arguments of the tools for workflows."""

from typing import Annotated, Any, Literal

from pydantic import Field

from codex_control_plane_mcp.desk.wait import MAX_WAIT_SECONDS
from codex_control_plane_mcp.doors.mcp.arguments import UNLISTED, Arguments
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import GoalCompletion

_Sandbox = Annotated[Sandbox, Field(strict=False)]
_Approval = Annotated[ApprovalPolicy, Field(strict=False)]
_AtTheEnd = Annotated[GoalCompletion, Field(strict=False)]
_Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS)]


class StartPlanWorkflow(Arguments):
    message: str
    project_id: str | None = None
    cwd: str | None = None
    client_request_id: str | None = None
    title: str | None = None
    model: str | None = None
    sandbox: _Sandbox | None = Field(None, description="Of the execution")
    approval_policy: _Approval | None = None
    goal: str | None = Field(None, description="Needs goal_token_budget")
    goal_token_budget: Annotated[int, Field(ge=1)] | None = None
    goal_completion_action: _AtTheEnd | None = None
    goal_completion_objective: str | None = Field(None, json_schema_extra=UNLISTED)
    host: str | None = None
    host_labels: list[str] | None = None
    timeout_seconds: Annotated[float, Field(ge=0)] | None = Field(None, json_schema_extra=UNLISTED)


class StartReviewWorkflow(Arguments):
    target_type: Literal["uncommitted_changes", "base_branch", "commit", "custom"]
    base_branch: str | None = None
    commit_sha: str | None = None
    commit_title: str | None = Field(None, json_schema_extra=UNLISTED)
    instructions: str | None = None
    thread_id: str | None = None
    project_id: str | None = None
    cwd: str | None = None
    delivery: Literal["inline", "detached"] | None = Field(
        None, description="detached: in a fork of thread_id"
    )
    client_request_id: str | None = None
    model: str | None = None
    sandbox: _Sandbox | None = None
    approval_policy: _Approval | None = None
    host: str | None = None
    host_labels: list[str] | None = None


class GetWorkflowStatus(Arguments):
    workflow_id: str
    wait_seconds: _Wait | None = None
    last_messages: Annotated[int, Field(ge=0, le=20)] | None = None
    message_max_chars: Annotated[int, Field(ge=1, le=6000)] | None = None
    include_events: bool | None = None
    plan_offset: Annotated[int, Field(ge=0)] | None = Field(
        None, description="latestPlan.nextOffset"
    )
    report_offset: Annotated[int, Field(ge=0)] | None = None
    refresh_live_goal: bool | None = None


class ApprovePlan(Arguments):
    workflow_id: str
    plan_hash: str | None = Field(None, description="Of the plan that was read")
    client_request_id: str | None = None
    message: str | None = None
    output_schema: dict[str, Any] | None = None
    sandbox: _Sandbox | None = None
    approval_policy: _Approval | None = None


class AdoptWorkflowPlan(Arguments):
    workflow_id: str
    candidate_turn_id: str
    candidate_plan_hash: str
    client_request_id: str | None = None
    adoption_note: str | None = None


class ExecutePlan(Arguments):
    workflow_id: str | None = None
    chat_id: str | None = None
    plan_hash: str | None = None
    message: str | None = None
    client_request_id: str | None = None
    model: str | None = Field(None, json_schema_extra=UNLISTED)
    sandbox: _Sandbox | None = Field(None, json_schema_extra=UNLISTED)
    approval_policy: _Approval | None = Field(None, json_schema_extra=UNLISTED)
    timeout_seconds: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="How long to wait for the turn to start, at most 40",
        json_schema_extra=UNLISTED,
    )

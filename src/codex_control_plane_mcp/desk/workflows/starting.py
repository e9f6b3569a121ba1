"""Takes workflows in: checked, told apart from others, stored with their first operation.

When this is through, all of it is on the disk and will be done once; when it raises, nothing is
stored. The same call again has the same answer.
"""

from dataclasses import dataclass, replace

from codex_control_plane_mcp.desk.policy import options_for
from codex_control_plane_mcp.desk.projects import Place
from codex_control_plane_mcp.desk.submit import MAX_NAME_CHARS, enter
from codex_control_plane_mcp.desk.texts import plain
from codex_control_plane_mcp.errors import IdempotencyMismatch, InvalidArgument
from codex_control_plane_mcp.model.ids import ThreadId, new_workflow_id
from codex_control_plane_mcp.model.plain import to_plain
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    ANYWHERE,
    MAX_MESSAGE_CHARS,
    BaseBranch,
    CollaborationMode,
    Commit,
    CustomTarget,
    Goal,
    GoalCompletion,
    Placement,
    Review,
    ReviewTarget,
    StartChat,
    Submission,
    TurnOptions,
    UncommittedChanges,
    digest,
)
from codex_control_plane_mcp.model.workflow import Terms, Workflow, WorkflowKind
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import workflows
from codex_control_plane_mcp.store.book import Writing

#: A goal is a sentence or two.
MAX_GOAL_CHARS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    project: str | None = None
    cwd: str | None = None
    client_request_id: str | None = None
    title: str | None = None
    model: str | None = None
    sandbox: Sandbox | None = None
    approval_policy: ApprovalPolicy | None = None
    #: The host of a fleet that shall have it, or what that must have.
    host: str | None = None
    host_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPlan(_Start):
    """Have a plan made, to be decided on."""

    message: str
    goal: str | None = None
    goal_token_budget: int | None = None
    goal_completion_action: GoalCompletion | None = None
    goal_completion_objective: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartReview(_Start):
    """Have code reviewed."""

    target: ReviewTarget
    #: The thread to review in, or to review a fork of.
    thread_id: str | None = None
    detached: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A workflow with everything decided that the caller left open."""

    kind: WorkflowKind
    request: StartChat | Review
    terms: Terms
    title: str | None
    client_request_id: str | None
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Begun:
    workflow: Workflow
    #: An earlier call with the same `client_request_id` had made it.
    idempotent: bool


def draft_plan(wanted: StartPlan, place: Place, settings: Settings) -> Draft:
    """Raises InvalidArgument for what cannot be meant."""
    check_names(wanted)
    options = _options(wanted, settings)
    request = StartChat(
        message=plain("message", wanted.message, MAX_MESSAGE_CHARS),
        cwd=place.cwd,
        project_id=place.project_id,
        options=while_planning(options),
        title=wanted.title,
    )
    return Draft(
        WorkflowKind.PLAN_THEN_EXECUTE,
        request,
        Terms(options, _goal(wanted)),
        wanted.title,
        wanted.client_request_id,
    )


def draft_review(wanted: StartReview, place: Place, settings: Settings) -> Draft:
    """Raises InvalidArgument for what cannot be meant."""
    check_names(wanted)
    thread_id = None
    if wanted.thread_id is not None:
        thread_id = ThreadId(plain("thread_id", wanted.thread_id, MAX_NAME_CHARS))
    if thread_id is not None and (wanted.host or wanted.host_labels):
        raise InvalidArgument(
            "a thread is reviewed on its host: leave host and host_labels out", field="host"
        )
    options = _options(wanted, settings)
    request = Review(
        target=_checked_target(wanted.target),
        cwd=place.cwd,
        project_id=place.project_id,
        options=options,
        thread_id=None if wanted.detached else thread_id,
        source_thread_id=thread_id if wanted.detached else None,
    )
    terms = Terms(options)
    return Draft(WorkflowKind.CODE_REVIEW, request, terms, wanted.title, wanted.client_request_id)


def begin(writing: Writing, draft: Draft) -> Begun:
    """Store a workflow with its first operation, unless it is there already.

    Raises IdempotencyMismatch or DuplicatePromptActive.
    """
    hashed = digest(
        [
            draft.kind,
            *(to_plain(part) for part in (draft.request, draft.terms, draft.placement)),
        ]
    )
    if draft.client_request_id is not None:
        known = workflows.by_client_request(writing.connection, draft.client_request_id)
        if known is not None:
            earlier, its_hash = known
            if its_hash == hashed:
                return Begun(earlier, idempotent=True)
            raise IdempotencyMismatch(
                "this client_request_id was used for another workflow; use a new one for a new "
                "workflow",
                existingWorkflowId=earlier.id,
                clientRequestId=draft.client_request_id,
            )
    id_ = new_workflow_id(writing.now)
    first = enter(
        writing,
        Submission(
            draft.request,
            client_request_id=draft.client_request_id,
            workflow_id=id_,
            placement=draft.placement,
        ),
    )
    workflow = Workflow(
        id=id_,
        kind=draft.kind,
        client_request_id=draft.client_request_id,
        project_id=draft.request.project_id,
        cwd=draft.request.cwd,
        title=draft.title,
        terms=draft.terms,
        created_at=writing.now,
        updated_at=writing.now,
        operation_ids=(first.operation.id,),
    )
    return Begun(workflows.insert_workflow(writing, workflow, hashed), idempotent=False)


def _options(wanted: _Start, settings: Settings) -> TurnOptions:
    return options_for(
        settings,
        sandbox=wanted.sandbox,
        approval_policy=wanted.approval_policy,
        model=wanted.model,
    )


def while_planning(agreed: TurnOptions) -> TurnOptions:
    """Planning changes nothing: Codex promises it, and the sandbox sees to it. Only where somebody
    wants no sandbox at all there is none."""
    free = agreed.sandbox is Sandbox.DANGER_FULL_ACCESS
    return replace(
        agreed,
        sandbox=agreed.sandbox if free else Sandbox.READ_ONLY,
        collaboration_mode=CollaborationMode.PLAN,
    )


def _goal(wanted: StartPlan) -> Goal | None:
    """Raises InvalidArgument for a goal without an end."""
    if wanted.goal is None:
        beside = (
            wanted.goal_token_budget,
            wanted.goal_completion_action,
            wanted.goal_completion_objective,
        )
        if any(one is not None for one in beside):
            raise InvalidArgument(
                "goal_token_budget, goal_completion_action and goal_completion_objective go with "
                "goal: give it, or leave them out",
                field="goal",
            )
        return None
    if wanted.goal_token_budget is None:
        raise InvalidArgument(
            "Codex goes on by itself, and spends tokens, until the goal is met: say with "
            "goal_token_budget how many it may use",
            field="goal_token_budget",
        )
    if wanted.goal_completion_objective is not None:
        plain("goal_completion_objective", wanted.goal_completion_objective, MAX_GOAL_CHARS)
        if wanted.goal_completion_action is not GoalCompletion.SET_COMPLETE:
            raise InvalidArgument(
                "goal_completion_objective goes with goal_completion_action set_complete",
                field="goal_completion_objective",
            )
    return Goal(
        plain("goal", wanted.goal, MAX_GOAL_CHARS).strip(),
        wanted.goal_token_budget,
        wanted.goal_completion_action or GoalCompletion.CLEAR,
        wanted.goal_completion_objective,
    )


def _checked_target(target: ReviewTarget) -> ReviewTarget:
    match target:
        case UncommittedChanges():
            pass
        case BaseBranch(branch=branch):
            _git_name("base_branch", branch)
        case Commit(sha=sha, title=title):
            _git_name("commit_sha", sha)
            if title is not None:
                plain("commit_title", title, MAX_NAME_CHARS)
        case CustomTarget(instructions=instructions):
            plain("instructions", instructions, MAX_MESSAGE_CHARS)
    return target


def _git_name(name: str, text: str) -> None:
    plain(name, text, MAX_NAME_CHARS)
    if text.startswith("-") or any(character.isspace() for character in text):
        raise InvalidArgument(f"{name} is no name of git's: {text!r}", field=name)


def check_names(wanted: object) -> None:
    for name in ("client_request_id", "title", "model", "plan_hash"):
        if (text := getattr(wanted, name, None)) is not None:
            plain(name, text, MAX_NAME_CHARS)

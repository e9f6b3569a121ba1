"""Brings the history of version 0.2.1 into the book: tasks with their reports and journals,
workflows, and what hooks told.

All that comes is past. A task that had not ended there is left out, or, where its person says that
nothing of 0.2.1 runs any more, ended here as one of which nobody knows. What is in the book
already is left alone, so it may be done again.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.projects import project_id
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, TurnId, WorkflowId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Intent,
    Operation,
    Plan,
    Report,
    Status,
    Trouble,
)
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    BaseBranch,
    CollaborationMode,
    Commit,
    CustomTarget,
    DedupPolicy,
    ExecutePlan,
    ForkThread,
    Priority,
    Review,
    ReviewTarget,
    SendMessage,
    StartChat,
    SteerTurn,
    Submission,
    TaskRequest,
    TurnOptions,
    UncommittedChanges,
    options_of,
)
from codex_control_plane_mcp.model.workflow import Approval, Terms, Workflow, WorkflowKind
from codex_control_plane_mcp.store import hook_history, lookup, operations, workflows
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.store.former import (
    FormerOperation,
    FormerState,
    FormerWorkflow,
    Json,
    Line,
)
from codex_control_plane_mcp.store.hook_history import HookEvent, HookKind

BY: Final = "codex-control-plane-mcp 0.2.1"

_ENDS: Final = {
    "completed": Status.COMPLETED,
    "failed": Status.FAILED,
    "aborted": Status.INTERRUPTED,
    "interrupted": Status.INTERRUPTED,
    "cancelled": Status.CANCELLED,
    "canceled": Status.CANCELLED,
    "unknown_after_app_server_exit": Status.UNKNOWN,
}
_CATEGORIES: Final = {
    "assistant": Category.ASSISTANT,
    "plan": Category.PLAN,
    "interaction": Category.INTERACTION,
    "notice": Category.NOTICE,
}


@dataclass(slots=True)
class Brought:
    """What came of it."""

    operations: int = 0
    workflows: int = 0
    sayings: int = 0
    #: Was in the book already.
    present: int = 0
    #: Had not ended there.
    unfinished: list[str] = field(default_factory=list)
    #: What cannot be told here, and why.
    left_out: list[str] = field(default_factory=list)


class _Untellable(Exception):
    """The book has no form for it; the message says why."""


def bring(
    book: Book, former: FormerState, *, max_text_chars: int, with_unfinished: bool
) -> Brought:
    """Bring it over, all or nothing."""

    def all_of_it(writing: Writing) -> Brought:
        done = Brought()
        targets = {one.review_operation_id: one.review_target for one in former.workflows()}
        for one in former.operations():
            if one.status not in _ENDS:
                done.unfinished.append(one.id)
                if not with_unfinished:
                    continue
            try:
                _bring_operation(writing, former, one, targets.get(one.id, {}), done)
            except _Untellable as why:
                done.left_out.append(f"task {one.id}: {why}")
        for workflow in former.workflows():
            _bring_workflow(writing, workflow, done)
        _bring_sayings(writing, former, max_text_chars, done)
        return done

    done, _ = book.write_now(all_of_it)
    return done


# --- Tasks ---------------------------------------------------------------------------------------


def _bring_operation(
    writing: Writing, former: FormerState, one: FormerOperation, target: Json, done: Brought
) -> None:
    if lookup.get(writing.connection, OperationId(one.id)) is not None:
        done.present += 1
        return
    taken = one.client_request_id and lookup.by_client_request(
        writing.connection, one.client_request_id
    )
    submission = Submission(
        request=_request(one, target),
        client_request_id=None if taken else one.client_request_id,
        agent_id=one.agent_id,
        priority=Priority(one.priority) if one.priority in list(Priority) else Priority.NORMAL,
        dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY,
        workflow_id=WorkflowId(one.workflow_id) if one.workflow_id else None,
    )
    past, lines = _past(former, one, submission)
    operations.insert_past(writing, past, submission, lines)
    done.operations += 1


def _past(
    former: FormerState, one: FormerOperation, submission: Submission
) -> tuple[Operation, list[tuple[Moment, Entry]]]:
    """The task as it ended, and its journal."""
    turn = TurnId(one.turn_id) if one.turn_id else None
    told = former.lines(one.turn_id) if one.turn_id else []
    status, trouble = _end(one)
    ended_at = max(one.completed_at or one.updated_at, one.created_at)
    lines = [
        (one.created_at, Entry(Category.STATE, "Queued.")),
        *((line.at, _entry(line)) for line in told),
        (ended_at, Entry(Category.STATE, f"{status.value}, by the word of {BY}.")),
    ]
    past = Operation(
        id=OperationId(one.id),
        request=submission.request,
        client_request_id=submission.client_request_id,
        agent_id=submission.agent_id,
        priority=submission.priority.value,
        created_at=one.created_at,
        updated_at=ended_at,
        workflow_id=submission.workflow_id,
        status=status,
        started_at=one.started_at,
        completed_at=ended_at,
        thread_id=ThreadId(one.thread_id) if one.thread_id else None,
        turn_id=turn,
        # It had no message id of ours: this one matches nothing in Codex.
        intent=Intent(1, f"{one.id}.0.2.1", None) if turn else None,
        report=_report(former, one) if status is Status.COMPLETED else None,
        trouble=trouble,
        last_seq=len(lines),
        status_seq=len(lines),
    )
    return past, lines


def _end(one: FormerOperation) -> tuple[Status, Trouble | None]:
    """How it ended. What cannot have been so is not known."""
    stated = _ENDS.get(one.status)
    error = one.last_error
    if stated is None and one.turn_id is None:
        return Status.CANCELLED, Trouble("CODEX_STATE_BUSY", f"never begun by {BY}")
    if stated is Status.COMPLETED and (one.turn_id or one.type == "fork_thread"):
        return stated, None
    if stated in (Status.FAILED, Status.CANCELLED):
        return stated, Trouble("CODEX_SEND_FAILED", error or f"{stated.value} in {BY}")
    if stated is Status.INTERRUPTED and one.turn_id:
        return stated, Trouble("CODEX_SEND_FAILED", error) if error else None
    said = error or f"{BY} had it as {one.status}, and nobody knows how it ended"
    return Status.UNKNOWN, Trouble("CODEX_APP_SERVER_UNAVAILABLE", said)


def _report(former: FormerState, one: FormerOperation) -> Report:
    plan = former.plan(one.turn_id) if one.turn_id else None
    said = one.report.get("text") or (former.last_words(one.turn_id) if one.turn_id else None)
    return Report(
        text=str(said) if said else plan.markdown if plan else "",
        turn_id=TurnId(one.turn_id) if one.turn_id else None,
        plan=Plan(plan.item_id, plan.markdown) if plan else None,
    )


def _entry(line: Line) -> Entry:
    return Entry(_CATEGORIES[line.kind], line.text, line.item_id)


def _request(one: FormerOperation, target: Json) -> TaskRequest:
    """What was asked for, as it would be asked for today."""
    if not one.cwd:
        raise _Untellable("it is not known where it worked")
    asked, place = one.request, (one.cwd, project_id(Path(one.cwd)))
    message, options = str(asked.get("message") or ""), _options(asked)
    match one.type:
        case "start_chat":
            return StartChat(message, *place, options, title=one.title)
        case "send_message":
            return SendMessage(message, _thread(one.thread_id), *place, options)
        case "execute_plan":
            return ExecutePlan(message, _thread(one.thread_id), *place, options)
        case "steer_turn":
            turn = asked.get("expected_turn_id") or one.turn_id
            if not turn:
                raise _Untellable("it is not known which turn was steered")
            return SteerTurn(message, _thread(one.thread_id), TurnId(str(turn)), *place)
        case "fork_thread":
            source = _text(asked, "source_thread_id")
            return ForkThread(_thread(source), *place, options, message=message, title=one.title)
        case review if "review" in review:
            return Review(_target(target), *place, options)
        case other:
            raise _Untellable(f"there is no task of type {other}")


def _options(asked: Json) -> TurnOptions:
    sandbox, policy = _text(asked, "sandbox"), _text(asked, "approval_policy")
    planning = asked.get("collaboration_mode") == CollaborationMode.PLAN
    return TurnOptions(
        sandbox=Sandbox(sandbox) if sandbox in list(Sandbox) else Sandbox.READ_ONLY,
        approval_policy=(
            ApprovalPolicy(policy) if policy in list(ApprovalPolicy) else ApprovalPolicy.ON_REQUEST
        ),
        model=_text(asked, "model"),
        effort=_text(asked, "effort"),
        collaboration_mode=CollaborationMode.PLAN if planning else CollaborationMode.DEFAULT,
    )


def _target(stored: Json) -> ReviewTarget:
    branch, sha = _text(stored, "branch"), _text(stored, "sha")
    if branch:
        return BaseBranch(branch)
    if sha:
        return Commit(sha, _text(stored, "title"))
    if instructions := _text(stored, "instructions"):
        return CustomTarget(instructions)
    return UncommittedChanges()


def _text(stored: Json, key: str) -> str | None:
    value = stored.get(key)
    return value if isinstance(value, str) and value else None


def _thread(named: str | None) -> ThreadId:
    if not named:
        raise _Untellable("its thread is not known")
    return ThreadId(named)


# --- Workflows -----------------------------------------------------------------------------------


def _bring_workflow(writing: Writing, one: FormerWorkflow, done: Brought) -> None:
    if workflows.get(writing.connection, WorkflowId(one.id)) is not None:
        done.present += 1
        return
    review = one.kind == WorkflowKind.CODE_REVIEW
    first_id = one.review_operation_id if review else one.plan_operation_id
    first = first_id and lookup.get(writing.connection, OperationId(first_id))
    if not first:
        done.left_out.append(f"workflow {one.id}: its first task did not come over")
        return
    last_id = one.execution_operation_id
    last = last_id and lookup.get(writing.connection, OperationId(last_id))
    taken = one.client_request_id and workflows.by_client_request(
        writing.connection, one.client_request_id
    )
    options = options_of((last or first).request)
    if options is None:
        done.left_out.append(f"workflow {one.id}: its task has no turn of its own")
        return
    plan = first.report and first.report.plan
    payload = hashlib.sha256(f"{BY} {one.id}".encode()).hexdigest()
    workflows.insert_workflow(
        writing,
        Workflow(
            id=WorkflowId(one.id),
            kind=WorkflowKind.CODE_REVIEW if review else WorkflowKind.PLAN_THEN_EXECUTE,
            client_request_id=None if taken else one.client_request_id,
            project_id=first.request.project_id,
            cwd=first.request.cwd,
            title=getattr(first.request, "title", None),
            terms=Terms(options),
            created_at=one.created_at,
            updated_at=one.updated_at,
            operation_ids=(first.id, last.id) if last else (first.id,),
            approval=Approval(
                plan_hash=hashlib.sha256(plan.markdown.encode()).hexdigest() if plan else "",
                operation_id=last.id,
                by=BY,
                at=last.created_at,
                payload_hash=payload,
            )
            if last
            else None,
        ),
        payload,
    )
    done.workflows += 1


# --- What hooks told -----------------------------------------------------------------------------


def _bring_sayings(
    writing: Writing, former: FormerState, max_text_chars: int, done: Brought
) -> None:
    before = hook_history.last_seq(writing.connection)
    for one in former.sayings():
        event = HookEvent(
            event_id=f"0.2.1:{one.id}",
            kind=HookKind.PROMPT if one.role == "user" else HookKind.ANSWER,
            at=one.at,
            thread_id=ThreadId(one.thread_id),
            turn_id=TurnId(one.turn_id),
            cwd=one.cwd,
            model=one.model,
            text=one.text,
        )
        hook_history.keep(writing, event, max_text_chars)
    done.sayings = hook_history.last_seq(writing.connection) - before

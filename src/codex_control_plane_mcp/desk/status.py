"""How an operation stands: one look into the book, as a view.

A function of the book, the limits and the time. Nothing is asked of Codex, nothing is written.
"""

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp.clock import Moment, seconds_between
from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.fleet import last_obstacle
from codex_control_plane_mcp.desk.interactions import show
from codex_control_plane_mcp.desk.texts import end_of, start_of
from codex_control_plane_mcp.errors import InvalidArgument, OperationNotFound
from codex_control_plane_mcp.model.ids import HostId, OperationId
from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.journal import Category, Written
from codex_control_plane_mcp.model.operation import (
    ACTIVE,
    QUEUED,
    WITH_TURN,
    Operation,
    Report,
    Status,
    StructuredStatus,
)
from codex_control_plane_mcp.model.request import (
    ForkThread,
    LocalImage,
    StartChat,
    SteerTurn,
    TaskRequest,
    attachments_of,
    output_schema_of,
)
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import (
    hosts,
    interactions,
    journal,
    lookup,
    queue,
    wishes,
)
from codex_control_plane_mcp.store.book import Reading

STATUS_TOOL = "codex_get_operation_status"

#: Long messages come in parts; first so many of the newest are read, then more.
MESSAGE_PARTS = (24, 96, 400)
#: A report is shown in pages of this many characters.
REPORT_PAGE_CHARS = 6_000
#: Progress shown where nobody says how much; of what is completed the report tells more.
EVENTS, EVENTS_OF_COMPLETED = 10, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How much to show of an operation."""

    operation_id: OperationId
    after_seq: int | None = None
    last_messages: int = 1
    message_max_chars: int = 1_200
    #: The newest, or the first behind `after_seq`. 0 leaves the progress out altogether.
    progress_events: int | None = None
    progress_max_chars: int = 240
    report_offset: int = 0


def look(reading: Reading, wanted: Look, limits: Limits, now: Moment) -> views.OperationView:
    """Raises OperationNotFound."""
    operation = found(reading, wanted.operation_id)
    return view(reading, operation, wanted, limits, now)


def view(
    reading: Reading,
    operation: Operation,
    wanted: Look,
    limits: Limits,
    now: Moment,
    *,
    idempotent: bool | None = None,
) -> views.OperationView:
    # Codex asks while it works, and at no other time.
    pending = (
        open_questions(reading, [operation.id])[operation.id] if operation.status in ACTIVE else []
    )
    events, next_after_seq = _progress(reading, operation, wanted)
    request = operation.request
    is_away = host_is_away(reading, operation)
    return views.OperationView(
        operation_id=operation.id,
        client_request_id=operation.client_request_id,
        operation_type=request.type,
        status=operation.status,
        phase=phase(operation.status),
        project_id=request.project_id,
        thread_id=operation.thread_id,
        turn_id=operation.turn_id,
        workflow_id=operation.workflow_id,
        cwd=operation.cwd,
        created_at=operation.created_at,
        updated_at=operation.updated_at,
        started_at=operation.started_at,
        completed_at=operation.completed_at,
        idempotent=idempotent,
        queue_state=_queue_state(reading, operation, limits, now),
        pending_interactions=tuple(show(interaction) for interaction in pending),
        latest_messages=_messages(reading, operation, wanted),
        progress_events=events,
        latest_seq=operation.last_seq,
        next_after_seq=next_after_seq,
        token_usage=operation.token_usage,
        final_report=_report(operation, wanted.report_offset),
        last_error=last_error(operation),
        evidence=_evidence(operation, now, is_away=is_away),
        effective_policy=operation.policy,
        output_schema_state=_output_schema_state(operation),
        input_item_state=_input_item_state(request),
        steer_state=_steer_state(operation),
        fork_state=_fork_state(operation),
        worktree=_worktree(operation),
        next_recommended_action=next_action(operation.status, bool(pending), is_left=is_away),
        poll_recommended=not operation.is_final,
        recommended_poll_after_seconds=poll_after(operation.status),
    )


def lines(reading: Reading, found_ones: Sequence[Operation]) -> tuple[views.OperationLine, ...]:
    """Several operations, each in short."""
    pending = open_questions(reading, [operation.id for operation in found_ones])
    left = _left(reading, found_ones)
    return tuple(
        views.OperationLine(
            operation_id=operation.id,
            status=operation.status,
            phase=phase(operation.status),
            project_id=operation.request.project_id,
            thread_id=operation.thread_id,
            turn_id=operation.turn_id,
            updated_at=operation.updated_at,
            completed_at=operation.completed_at,
            pending_interaction_count=len(pending[operation.id]),
            latest_seq=operation.last_seq,
            last_error=last_error(operation),
            next_recommended_action=next_action(
                operation.status, bool(pending[operation.id]), is_left=operation.id in left
            ),
        )
        for operation in found_ones
    )


def found(reading: Reading, operation_id: OperationId) -> Operation:
    operation = lookup.get(reading, operation_id)
    if operation is None:
        raise not_found([operation_id])
    return operation


def not_found(ids: Sequence[OperationId]) -> OperationNotFound:
    return OperationNotFound(
        f"there is no operation {', '.join(ids)}; use the operationId that codex_submit_task "
        "returned",
        operationIds=list(ids),
    )


def phase(status: Status) -> str:
    """The status in fewer words: queued, starting, running, waiting, done."""
    return _PHASES[status]


def next_action(status: Status, is_asked: bool, *, is_left: bool = False) -> str:
    """`is_left`: its host is not there, which an answer would wait for."""
    if is_asked:
        return "answer_pending_interaction"
    return "inspect_diagnostics" if is_left else _NEXT[status]


def last_error(operation: Operation) -> views.LastError | None:
    trouble = operation.trouble
    return None if trouble is None else views.LastError(trouble.code, trouble.message)


def poll_after(status: Status) -> int | None:
    """When to look again, in seconds, for those who do not wait; None when nothing will change."""
    return _POLL_AFTER.get(status)


_PHASES = {
    Status.QUEUED: "queued",
    Status.STARTING_THREAD: "starting",
    Status.STARTING_TURN: "starting",
    Status.RUNNING: "running",
    Status.WAITING_FOR_APPROVAL: "waiting",
    Status.WAITING_FOR_USER_INPUT: "waiting",
    Status.COMPLETED: "done",
    Status.FAILED: "done",
    Status.INTERRUPTED: "done",
    Status.CANCELLED: "done",
    Status.UNKNOWN: "done",
}

_NEXT = {
    Status.QUEUED: "wait",
    Status.STARTING_THREAD: "wait",
    Status.STARTING_TURN: "wait",
    Status.RUNNING: "wait",
    # Answered already, and the answer is on its way.
    Status.WAITING_FOR_APPROVAL: "wait",
    Status.WAITING_FOR_USER_INPUT: "wait",
    Status.COMPLETED: "read_final_report",
    Status.FAILED: "inspect_last_error",
    Status.INTERRUPTED: "none",
    Status.CANCELLED: "none",
    Status.UNKNOWN: "inspect_thread_before_resubmitting",
}

#: For those who poll without `wait_seconds`.
_POLL_AFTER = {
    Status.QUEUED: 5,
    Status.STARTING_THREAD: 2,
    Status.STARTING_TURN: 2,
    Status.RUNNING: 10,
    Status.WAITING_FOR_APPROVAL: 30,
    Status.WAITING_FOR_USER_INPUT: 30,
}


def open_questions(
    reading: Reading, ids: Sequence[OperationId]
) -> dict[OperationId, list[Interaction]]:
    """The questions that still want an answer: those on their way to Codex do not."""
    asked = interactions.open_of_many(reading, ids)
    if not any(asked.values()):
        return asked
    answered = wishes.answers_on_their_way(reading)
    return {id_: [one for one in asked[id_] if one.id not in answered] for id_ in ids}


def _queue_state(
    reading: Reading, operation: Operation, limits: Limits, now: Moment
) -> views.QueueState:
    if operation.status in ACTIVE:
        return views.QueueState("active")
    if operation.status not in QUEUED:
        return views.QueueState("done")
    waiting = queue.waiting(reading, operation, limits, now)
    if waiting is None:
        return views.QueueState("queued", last_obstacle(reading, operation), 1)
    return views.QueueState("queued", waiting.reason, waiting.position)


def _progress(
    reading: Reading, operation: Operation, wanted: Look
) -> tuple[tuple[views.ProgressEvent, ...] | None, int | None]:
    most = wanted.progress_events
    if most is None:
        is_news = wanted.after_seq is not None or operation.status is not Status.COMPLETED
        most = EVENTS if is_news else EVENTS_OF_COMPLETED
    if most == 0:
        return None, None
    if wanted.after_seq is None:
        # What the agent says is in the latest messages, put together.
        written = journal.newest(reading, operation.id, most, without=Category.ASSISTANT)
        next_after_seq = operation.last_seq
    else:
        written = journal.after(reading, operation.id, wanted.after_seq, most)
        next_after_seq = written[-1].seq if written else wanted.after_seq
    events = tuple(
        views.ProgressEvent(
            one.seq, one.at, one.category.value, start_of(one.text, wanted.progress_max_chars)[0]
        )
        for one in written
    )
    return events, next_after_seq


def _messages(reading: Reading, operation: Operation, wanted: Look) -> tuple[views.Message, ...]:
    """The last messages, each put together from its parts; the final report is not repeated."""
    if wanted.last_messages == 0 or operation.status in QUEUED:
        return ()
    groups, is_cut = _newest_parts(reading, operation, wanted)
    report = "" if operation.report is None else operation.report.text
    messages: list[views.Message] = []
    for number, group in enumerate(groups):
        text = "".join(part.text for part in group)
        lacks_start = is_cut and number == 0
        if text != report and not (lacks_start and report.endswith(text)):
            messages.append(_message(group, text, wanted.message_max_chars, lacks_start))
    return tuple(messages[-wanted.last_messages :])


def _newest_parts(
    reading: Reading, operation: Operation, wanted: Look
) -> tuple[list[list[Written]], bool]:
    """The parts of the newest messages, by message, and whether the first lacks its start.

    Mostly a few parts are enough; more are read only where messages are long.
    """
    groups: list[list[Written]] = []
    for limit in MESSAGE_PARTS:
        parts = journal.newest(reading, operation.id, limit, Category.ASSISTANT)
        whole: dict[str, list[Written]] = {}
        for part in parts:
            whole.setdefault(part.item_id or str(part.seq), []).append(part)
        groups = list(whole.values())
        if len(parts) < limit:
            return groups, False
        if _is_enough(groups, wanted):
            break
    return groups, True


def _is_enough(groups: Sequence[Sequence[Written]], wanted: Look) -> bool:
    """Whether the messages wanted are whole, as far as they are shown: of the first the start is
    missing. One more is wanted, for the last may turn out to be the report."""
    asked_for = groups[-wanted.last_messages :]
    if len(groups) > wanted.last_messages + 1:
        return True
    return len(asked_for) == wanted.last_messages and all(
        sum(len(part.text) for part in group) > wanted.message_max_chars for group in asked_for
    )


def _message(
    parts: Sequence[Written], text: str, max_chars: int, lacks_start: bool
) -> views.Message:
    """A running message is interesting at its end, so that is what is kept."""
    shown, shortened = end_of(text, max_chars)
    return views.Message(parts[-1].seq, parts[-1].at, shown, shortened or lacks_start or None)


def _report(operation: Operation, offset: int) -> views.FinalReport | None:
    report = operation.report
    if report is None:
        return None
    total = len(report.text)
    if offset > total:
        raise InvalidArgument(
            f"report_offset is beyond the end: the report has {total} characters",
            field="report_offset",
        )
    page = report.text[offset : offset + REPORT_PAGE_CHARS]
    end = offset + len(page)
    next_offset = end if end < total else None
    return views.FinalReport(
        text=page,
        structured=_structured(report),
        structured_status=report.structured,
        thread_id=operation.thread_id,
        turn_id=report.turn_id,
        offset=offset,
        total_chars=total,
        next_offset=next_offset,
        read_full_via=views.FollowUp(
            STATUS_TOOL, {"operation_id": operation.id, "report_offset": next_offset or 0}
        ),
    )


def _structured(report: Report) -> dict[str, object] | None:
    """The answer as JSON; left out where it is so long that it would crowd out the rest."""
    if report.structured is not StructuredStatus.VALID:
        return None
    answer: dict[str, object] = json.loads(report.text)
    shown = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return answer if len(shown) <= REPORT_PAGE_CHARS else None


def _output_schema_state(operation: Operation) -> views.OutputSchemaState | None:
    if output_schema_of(operation.request) is None:
        return None
    report = operation.report
    return views.OutputSchemaState(
        provided=True,
        applied=operation.turn_id is not None,
        structured_status=None if report is None else report.structured,
    )


def _input_item_state(request: TaskRequest) -> views.InputItemState | None:
    pictures = attachments_of(request)
    local = sum(isinstance(picture, LocalImage) for picture in pictures)
    count = len(pictures)
    return views.InputItemState(count, local, count - local) if pictures else None


def _steer_state(operation: Operation) -> views.SteerState | None:
    request = operation.request
    if not isinstance(request, SteerTurn):
        return None
    return views.SteerState(
        operation.turn_id is not None, request.thread_id, request.expected_turn_id
    )


def _fork_state(operation: Operation) -> views.ForkState | None:
    request = operation.request
    if not isinstance(request, ForkThread):
        return None
    return views.ForkState(
        operation.thread_id is not None,
        request.source_thread_id,
        operation.thread_id,
        bool(request.message),
    )


def _worktree(operation: Operation) -> views.WorktreeView | None:
    made = operation.worktree
    if made is not None:
        # Whoever asked for it removes it with git, and tells nobody.
        state = "kept" if Path(made.path).is_dir() else "gone"
        return views.WorktreeView(state, made.path, made.branch, made.base_commit)
    wanted = isinstance(operation.request, StartChat) and operation.request.worktree
    return views.WorktreeView("pending") if wanted else None


def _evidence(operation: Operation, now: Moment, *, is_away: bool) -> views.Evidence:
    """Codex's word where there is one, else our own record."""
    heard_at = operation.heard_at
    quiet = operation.status in WITH_TURN and heard_at is not None
    return views.Evidence(
        source="state_database" if heard_at is None else "app_server",
        observed_at=operation.updated_at if heard_at is None else heard_at,
        app_server=operation.app_server_id,
        quiet_for_seconds=seconds_between(heard_at, now) if quiet and heard_at else None,
        host=operation.host or None,
        owner="owner_gone" if is_away else None,
    )


def host_is_away(reading: Reading, operation: Operation) -> bool:
    """Whether the host that has it is not in the fleet now."""
    return operation.id in _left(reading, [operation])


def _left(reading: Reading, among: Sequence[Operation]) -> Set[OperationId]:
    """Those that are in the hands of a host that is not in the fleet now."""
    in_hand = [one for one in among if one.status in ACTIVE and one.host]
    there = hosts.present(reading) if in_hand else frozenset[HostId]()
    return {one.id for one in in_hand if one.host not in there}

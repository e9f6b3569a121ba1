"""Everything at a glance, for people: what runs, what waits and why, what wants somebody.

Looks into the book, and nothing else. Each look is one read transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Final

from codex_control_plane_mcp.clock import Clock, Moment, later, seconds_between
from codex_control_plane_mcp.desk import status
from codex_control_plane_mcp.desk.fleet import front, host_lines
from codex_control_plane_mcp.desk.interactions import show
from codex_control_plane_mcp.desk.recent import title_of
from codex_control_plane_mcp.desk.texts import end_of
from codex_control_plane_mcp.desk.usage import usage
from codex_control_plane_mcp.desk.views import QueueState
from codex_control_plane_mcp.desk.views_overview import (
    AskedCard,
    Board,
    ClosedCard,
    FileDiff,
    Inbox,
    OperationCard,
    OperationCards,
    Sheet,
    Timeline,
    TimelineEntry,
    UsageView,
    Waiting,
    WorkflowCard,
    WorkflowCards,
)
from codex_control_plane_mcp.desk.workflows.standing import present, undecided
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId, WorkflowId
from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import (
    ACTIVE,
    FINAL,
    QUEUED,
    Operation,
    Status,
)
from codex_control_plane_mcp.model.request import options_of
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.model.workflow import Stand, Workflow
from codex_control_plane_mcp.store import (
    interactions,
    journal,
    lookup,
    queue,
    wishes,
    workflows,
)
from codex_control_plane_mcp.store.bell import Listener
from codex_control_plane_mcp.store.book import Book, Reading

#: Of those that wait in the queue, so many are shown.
QUEUE_SHOWN: Final = 50
ENDED_SHOWN: Final = 12
CLOSED_SHOWN: Final = 50
THREAD_SHOWN: Final = 20
LATEST_CHARS: Final = 200
#: Plans that nobody decided on for longer than this are in the list of plans only.
FRESH_SECONDS: Final = 14 * 86_400

#: Which operations a list is of, by a name that people choose from.
STATES: Final[Mapping[str, frozenset[Status]]] = {
    "all": frozenset(),
    "active": ACTIVE | QUEUED,
    "completed": frozenset({Status.COMPLETED}),
    "failed": FINAL - {Status.COMPLETED},
}


@dataclass(frozen=True, slots=True)
class Listing:
    """Which page of operations."""

    state: str = "all"
    project_id: str | None = None
    limit: int = 100
    cursor: str | None = None


class Overview:
    """The desk's methods for people who look at everything."""

    def __init__(self, book: Book, clock: Clock, limits: Limits) -> None:
        self._book = book
        self._clock = clock
        self._limits = limits

    @contextmanager
    def changes(self, *operation_ids: OperationId) -> Iterator[Listener]:
        """Hear of each change of these operations, or of all."""
        with self._book.bell.listening(*operation_ids) as listener:
            yield listener

    async def now(self) -> Board:
        """What goes on."""
        at = self._clock.now()
        return await self._book.read(lambda reading: _board(reading, self._limits, at))

    async def waiting(self) -> Waiting:
        """How much waits for somebody."""
        at = self._clock.now()

        def look(reading: Reading) -> Waiting:
            return Waiting(len(_open(reading)), len(undecided(reading, _fresh(at))))

        return await self._book.read(look)

    async def inbox(self) -> Inbox:
        """Codex's questions, and what became of the last ones."""

        def look(reading: Reading) -> Inbox:
            closed = interactions.closed_last(reading, CLOSED_SHOWN)
            return Inbox(_asked_cards(reading, _open(reading)), _closed_cards(reading, closed))

        return await self._book.read(look)

    async def operations(self, wanted: Listing) -> OperationCards:
        """A page of operations. Raises InvalidArgument for a state or cursor that is none."""
        if wanted.state not in STATES:
            raise InvalidArgument(f"state must be one of: {', '.join(STATES)}", field="state")
        before = None if wanted.cursor is None else OperationId(_checked(wanted.cursor, "op_"))
        at = self._clock.now()

        def look(reading: Reading) -> OperationCards:
            found = lookup.newest(
                reading,
                wanted.limit + 1,
                before=before,
                project_id=wanted.project_id,
                statuses=STATES[wanted.state],
            )
            shown = found[: wanted.limit]
            more = len(found) > wanted.limit
            return OperationCards(
                tuple(_card(reading, one, at) for one in shown), shown[-1].id if more else None
            )

        return await self._book.read(look)

    async def workflows(self, cursor: str | None, limit: int = 50) -> WorkflowCards:
        """A page of workflows. Raises InvalidArgument for a cursor that is none."""
        before = None if cursor is None else WorkflowId(_checked(cursor, "wf_"))

        def look(reading: Reading) -> WorkflowCards:
            found = workflows.newest(reading, limit + 1, before=before)
            shown = found[:limit]
            return WorkflowCards(
                tuple(_workflow_card(one, present(reading, one)) for one in shown),
                shown[-1].id if len(found) > limit else None,
            )

        return await self._book.read(look)

    async def sheet(self, operation_id: OperationId) -> Sheet:
        """All of one operation. Raises OperationNotFound."""
        at = self._clock.now()
        return await self._book.read(
            lambda reading: _sheet(reading, operation_id, self._limits, at)
        )

    async def timeline(self, operation_id: OperationId, after_seq: int, limit: int) -> Timeline:
        """What happened in an operation behind `after_seq`. Raises OperationNotFound."""

        def look(reading: Reading) -> Timeline:
            status.found(reading, operation_id)
            written = journal.after(reading, operation_id, after_seq, limit + 1)
            shown = tuple(
                TimelineEntry(one.seq, one.at, one.category, one.text, one.item_id)
                for one in written[:limit]
            )
            return Timeline(shown, shown[-1].seq if shown else after_seq, len(written) > limit)

        return await self._book.read(look)

    async def usage(self, days: int, zone: tzinfo | None = None) -> UsageView:
        """What was used in the last days."""
        at = self._clock.now()
        return await self._book.read(lambda reading: usage(reading, days, at, zone))


def _checked(cursor: str, prefix: str) -> str:
    if not cursor.startswith(prefix) or not cursor.isascii():
        raise InvalidArgument("cursor is none that was given out; leave it out", field="cursor")
    return cursor


# --- The board -----------------------------------------------------------------------------------


def _board(reading: Reading, limits: Limits, now: Moment) -> Board:
    active = lookup.many(reading, [job.id for job in queue.active_jobs(reading)])
    waiting = front(reading, limits, now, QUEUE_SHOWN)
    return Board(
        questions=_asked_cards(reading, _open(reading)),
        decisions=tuple(_workflow_card(*one) for one in undecided(reading, _fresh(now))),
        running=tuple(
            replace(_card(reading, one, now), latest=_latest(reading, one.id))
            for one in sorted(active, key=lambda one: one.started_at or 0, reverse=True)
        ),
        queued=tuple(
            replace(
                _card(reading, one, now),
                queue=QueueState("queued", reason, place),
            )
            for place, (one, reason) in enumerate(waiting, 1)
        ),
        queued_count=queue.queued_count(reading),
        ended=tuple(_card(reading, one, now) for one in lookup.ended_last(reading, ENDED_SHOWN)),
        limit=limits.everywhere,
        hosts=host_lines(reading),
    )


def _card(reading: Reading, operation: Operation, now: Moment) -> OperationCard:
    request = operation.request
    # Codex that waits for a person has nothing to say.
    heard = operation.heard_at if operation.status is Status.RUNNING else None
    return OperationCard(
        operation_id=operation.id,
        title=_title(reading, operation),
        operation_type=request.type,
        status=operation.status,
        project_id=request.project_id,
        agent_id=operation.agent_id,
        priority=operation.priority,
        thread_id=operation.thread_id,
        workflow_id=operation.workflow_id,
        created_at=operation.created_at,
        started_at=operation.started_at,
        completed_at=operation.completed_at,
        quiet_for_seconds=None if heard is None else seconds_between(heard, now),
        latest=None,
        queue=None,
        tokens=None if operation.token_usage is None else operation.token_usage.total,
        last_error=status.last_error(operation),
        host=operation.host or None,
    )


def _title(reading: Reading, operation: Operation) -> str:
    """The workflow's, where it is part of one that has a title."""
    if operation.workflow_id is not None:
        workflow = workflows.get(reading, operation.workflow_id)
        if workflow is not None and workflow.title:
            return workflow.title
    return title_of(operation.request)


def _latest(reading: Reading, operation_id: OperationId) -> str | None:
    """What happened last. Of what streams in, the last words."""
    last = journal.newest(reading, operation_id, 1, without=Category.REASONING)
    return end_of(last[0].text.strip(), LATEST_CHARS)[0] if last else None


def _fresh(now: Moment) -> Moment:
    """What has not moved since then is no news."""
    return later(now, -FRESH_SECONDS)


def _workflow_card(workflow: Workflow, at: Stand) -> WorkflowCard:
    first = at.planning or at.operation
    return WorkflowCard(
        workflow_id=workflow.id,
        workflow_kind=workflow.kind,
        title=workflow.title or title_of(first.request),
        phase=at.phase,
        project_id=workflow.project_id,
        created_at=workflow.created_at,
        updated_at=max(workflow.updated_at, at.newest.updated_at),
        plan_hash=at.proposal.hash if at.proposal and at.is_valid else None,
        approved_by=workflow.approval.by if workflow.approval else None,
    )


# --- Questions -----------------------------------------------------------------------------------


def _open(reading: Reading) -> list[Interaction]:
    """The questions that want an answer, oldest first: those on their way to Codex do not."""
    answered = wishes.answers_on_their_way(reading)
    everything = interactions.Search()
    found = interactions.listed(reading, everything, behind=None, limit=QUEUE_SHOWN)
    return [one for one in found if one.id not in answered]


def _asked_cards(reading: Reading, asked: Sequence[Interaction]) -> tuple[AskedCard, ...]:
    known = _operations_of(reading, asked)
    return tuple(
        AskedCard(
            show(one),
            _title(reading, known[one.operation_id]),
            known[one.operation_id].request.project_id,
            _changes(one),
            _in_words(one),
        )
        for one in asked
    )


def _closed_cards(reading: Reading, closed: Sequence[Interaction]) -> tuple[ClosedCard, ...]:
    known = _operations_of(reading, closed)
    return tuple(
        ClosedCard(
            interaction_id=one.id,
            operation_id=one.operation_id,
            title=_title(reading, known[one.operation_id]),
            prompt=one.asked.prompt,
            command=one.asked.command,
            status=one.status,
            asked_at=one.created_at,
            closed_at=one.closed_at,
            answered_by=one.answered_by,
            answer=one.answer,
        )
        for one in closed
    )


def _operations_of(reading: Reading, asked: Sequence[Interaction]) -> dict[OperationId, Operation]:
    ids = list(dict.fromkeys(one.operation_id for one in asked))
    return {one.id: one for one in lookup.many(reading, ids)}


def _changes(interaction: Interaction) -> tuple[FileDiff, ...]:
    """The changes that an approval is about, as far as Codex told them before it asked."""
    match interaction.asked.details:
        case {"changes": list(changes)}:
            return tuple(
                FileDiff(str(one.get("path")), str(one.get("kind")), str(one.get("diff")))
                for one in changes
                if isinstance(one, dict)
            )
        case _:
            return ()


def _in_words(interaction: Interaction) -> frozenset[str]:
    """Those that offer nothing, and those that offer more than what they name."""
    free = {question.id for question in interaction.asked.questions if not question.options}
    match interaction.asked.details:
        case {"questions": list(questions)}:
            open_ = {str(one.get("id")) for one in questions if one.get("isOther") is True}
            return frozenset(free | open_)
        case _:
            return frozenset(free)


# --- One operation -------------------------------------------------------------------------------


def _sheet(reading: Reading, operation_id: OperationId, limits: Limits, now: Moment) -> Sheet:
    operation = status.found(reading, operation_id)
    wanted = status.Look(operation_id=operation_id, last_messages=0, progress_events=0)
    asked = status.open_questions(reading, [operation_id])[operation_id]
    closed = interactions.closed_last(reading, CLOSED_SHOWN, operation_id=operation_id)
    same_thread = (
        lookup.newest(reading, THREAD_SHOWN, thread_id=operation.thread_id)
        if operation.thread_id
        else []
    )
    return Sheet(
        card=_card(reading, operation, now),
        view=status.view(reading, operation, wanted, limits, now),
        message=str(getattr(operation.request, "message", "")),
        report=operation.report.text if operation.report else None,
        changes=_size_of_changes(reading, operation_id),
        questions=_asked_cards(reading, asked),
        closed=_closed_cards(reading, closed),
        in_thread=tuple(_card(reading, one, now) for one in same_thread if one.id != operation_id),
        options=_options(operation),
    )


def _size_of_changes(reading: Reading, operation_id: OperationId) -> str | None:
    """Codex's word on all changes of the turn; it names no item."""
    written = journal.newest(reading, operation_id, QUEUE_SHOWN, Category.FILE_CHANGE)
    return next((one.text for one in reversed(written) if one.item_id is None), None)


def _options(operation: Operation) -> dict[str, str]:
    """How it runs by Codex's word, or was asked to run."""
    if operation.policy is not None:
        policy = operation.policy
        told = {
            "sandbox": policy.sandbox,
            "approvals": policy.approval_policy,
            "model": policy.model,
        }
    elif (options := options_of(operation.request)) is not None:
        told = {
            "sandbox": options.sandbox.value,
            "approvals": options.approval_policy.value,
            "model": options.model or "",
        }
    else:
        told = {}
    return {name: value for name, value in told.items() if value}
